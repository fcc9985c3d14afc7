package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"rstwhy/internal/event"
	"rstwhy/internal/owner"
	"rstwhy/internal/probe"
	"rstwhy/internal/sink"
)

const containerNeeds = "this is not the host's pid namespace, so that pids would be taken for other processes'. " +
	"Start the container with the host's pid namespace (docker run --pid=host, in Kubernetes hostPID: true), " +
	"with /sys/kernel/btf and /sys/fs/cgroup of the host mounted read-only, and with the capabilities BPF, PERFMON, SYS_PTRACE, DAC_READ_SEARCH and SYS_ADMIN (the last one only to ask ZooKeeper servers in other network namespaces)"

// checkReport is what check prints as JSON.
type checkReport struct {
	Type                string       `json:"type"` // always "check"
	Schema              int          `json:"schema"`
	Host                string       `json:"host"`
	OK                  bool         `json:"ok"` // every required hook is attached
	Hooks               []checkHook  `json:"hooks"`
	MissingCapabilities []capability `json:"missing_capabilities"`
	HostPIDNamespace    bool         `json:"host_pid_namespace"`
	Error               string       `json:"error,omitempty"`
	Warnings            []string     `json:"warnings"`
}

type checkHook struct {
	Name     string       `json:"name"`
	Attached bool         `json:"attached"`
	Required bool         `json:"required"`
	Purpose  string       `json:"purpose"`
	Without  string       `json:"without"`            // what is lost without it
	Why      string       `json:"why,omitempty"`      // why it is not attached
	Program  string       `json:"program,omitempty"`  // what serves it
	Limits   []checkLimit `json:"limits,omitempty"`   // what it cannot tell on this kernel
	Needless bool         `json:"needless,omitempty"` // other hooks tell the same on this kernel
	Flag     string       `json:"flag,omitempty"`     // the flag of trace without which it is not attached
}

type checkLimit struct {
	ID   string `json:"id"`
	Lost string `json:"lost"`
}

type capability struct {
	Name    string `json:"name"`
	Without string `json:"without"`
}

func newCheckCommand() *cobra.Command {
	var output string
	var proof bool
	var prove proveOptions
	c := &cobra.Command{
		Use:   "check",
		Short: "Tell what this host's kernel and privileges allow, and what is lost",
		Long: `check attaches every hook, says which ones this kernel and these privileges
allow and what is lost without the others, and detaches again. It traces nothing.

--prove provokes each cause of a reset on this kernel, with processes and in
network namespaces of its own, and compares what rstwhy tells with the truth that
it knows: cause, process, who acted, what the reset did. It takes less than 20
seconds; what a slow or busy host does not finish in that time is "not finished",
with what it waited for, and says nothing about rstwhy. The proof touches no
interface, port, firewall rule or sysctl of the host, loads no kernel module and
leaves nothing behind; a cause that it cannot provoke here within these limits is
"not provable here". It needs root.

Exit status: 0 every required hook can be attached (--prove: and everything that
can be proved here was), 1 --prove failed, 3 a required hook cannot be attached, 4
--prove was not finished in time, and nothing failed.`,
		Example: `  rstwhy check                what works on this host
  rstwhy check --prove        show it, with resets of its own making`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return usagef("--output %q is no format; use text or json", output)
			}
			if proof {
				return runProve(c.Context(), c.OutOrStdout(), output, prove)
			}
			return runCheck(c.OutOrStdout(), output)
		},
	}
	c.Flags().BoolVar(&proof, "prove", false, "provoke each cause in namespaces of its own, and compare with the truth")
	c.Flags().StringVarP(&output, "output", "o", "text", "format: text or json")
	// For emulated machines (make test-vm), where everything takes longer and
	// both forms of one proof are kept.
	c.Flags().DurationVar(&prove.time, "prove-time", proveTime, "how long all scenarios of a proof may take")
	c.Flags().StringVar(&prove.json, "prove-json", "", "write the proof as JSON to this file too")
	for _, hidden := range []string{"prove-time", "prove-json"} {
		if err := c.Flags().MarkHidden(hidden); err != nil {
			panic(err)
		}
	}
	return c
}

func runCheck(w io.Writer, output string) error {
	rep, err := inspect()
	if output == "json" {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		if e := enc.Encode(rep); e != nil {
			return fmt.Errorf("write report: %w", e)
		}
	} else if e := rep.text(w); e != nil {
		return fmt.Errorf("write report: %w", e)
	}
	if err != nil {
		return silently{probe.ErrRequiredHook} // the report has said why
	}
	return nil
}

// silently keeps an error's identity without its text.
type silently struct{ err error }

func (s silently) Error() string { return "" }
func (s silently) Unwrap() error { return s.err }

func inspect() (*checkReport, error) {
	rep := &checkReport{Type: "check", Schema: event.Schema, Host: hostName(), Hooks: []checkHook{}, MissingCapabilities: []capability{}, Warnings: []string{}}
	rep.MissingCapabilities = append(rep.MissingCapabilities, missingCapabilities()...)
	host, err := owner.InHostPIDNamespace()
	if err != nil {
		rep.Warnings = append(rep.Warnings, err.Error())
	}
	if rep.HostPIDNamespace = host; !host {
		rep.Warnings = append(rep.Warnings, "processes are not named: "+containerNeeds)
	}
	live, err := probe.Open(probe.Options{Log: zerolog.Nop()})
	if live != nil {
		defer live.Close()
		for _, h := range live.Hooks() {
			ch := checkHook{Name: h.Hook.Name, Attached: h.Attached, Required: h.Hook.Required, Purpose: h.Hook.Purpose, Without: h.Hook.Without, Program: h.Program, Flag: h.Hook.OnRequest}
			if h.Err != nil {
				ch.Why = explainHook(h.Err, rep.MissingCapabilities)
			}
			for _, l := range h.Limits() {
				ch.Limits = append(ch.Limits, checkLimit{l.ID, l.Lost})
			}
			ch.Needless = errors.Is(h.Err, probe.ErrNotNeeded)
			rep.Hooks = append(rep.Hooks, ch)
		}
	}
	rep.OK = err == nil
	if err != nil && len(rep.Hooks) == 0 {
		rep.Error = withCapabilities(err).Error()
	}
	return rep, err
}

// explainHook turns EPERM into what is missing.
func explainHook(err error, missing []capability) string {
	if need := essential(missing); len(need) > 0 {
		return "missing capabilities: " + capabilityNames(need)
	}
	if isPermission(err) && len(missing) > 0 {
		return "missing capabilities: " + capabilityNames(missing)
	}
	return firstLine(err)
}

// essential are those of the missing capabilities without which no hook can be
// attached. The libraries' errors do not tell it: without CAP_BPF a map that
// needs a flag is said to need Linux 4.6.
func essential(missing []capability) []capability {
	return slices.DeleteFunc(slices.Clone(missing), func(c capability) bool { return c.Name != "CAP_BPF" && c.Name != "CAP_PERFMON" })
}

func (r *checkReport) text(w io.Writer) error {
	var b []byte
	add := func(format string, args ...any) { b = fmt.Appendf(b, format+"\n", args...) }
	for _, h := range r.Hooks {
		mark := "ok     "
		switch {
		case h.Needless:
			mark = "unused "
		case !h.Attached && h.Flag != "":
			mark = "off    "
		case !h.Attached:
			mark = "missing"
		}
		need := ""
		if h.Required && !h.Attached {
			need = " (required)"
		}
		add("%s  %-16s %s%s", mark, h.Name, h.Purpose, need)
		if !h.Attached {
			add("         %-16s why: %s", "", sink.Escape(h.Why, 400))
			if !h.Needless {
				add("         %-16s lost: %s", "", h.Without)
			}
		}
		for _, l := range h.Limits {
			add("         %-16s but: %s", "", l.Lost)
		}
	}
	for _, c := range r.MissingCapabilities {
		add("missing  %-16s %s", c.Name, c.Without)
	}
	for _, s := range r.Warnings {
		add("warning  %s", sink.Escape(s, 1000))
	}
	switch {
	case r.OK && len(r.MissingCapabilities) == 0 && r.HostPIDNamespace && r.limited():
		add("Every reset that this kernel reports can be traced here; what it does not tell stands above.")
	case r.OK && len(r.MissingCapabilities) == 0 && r.HostPIDNamespace:
		add("Every reset that this kernel reports can be traced here.")
	case r.OK:
		add("rstwhy trace works here, with what is missing above.")
	case r.Error != "":
		add("rstwhy trace cannot work here: %s", sink.Escape(r.Error, 1000))
	default:
		add("rstwhy trace cannot work here: a required hook is missing.")
	}
	_, err := w.Write(b)
	return err
}

// limited tells that this kernel does not tell all that a newer one would.
func (r *checkReport) limited() bool {
	return slices.ContainsFunc(r.Hooks, func(h checkHook) bool { return len(h.Limits) > 0 })
}

func capabilityNames(missing []capability) string {
	s := ""
	for i, c := range missing {
		if i > 0 {
			s += ", "
		}
		s += c.Name
	}
	return s
}

// withCapabilities says which capabilities are missing where the kernel only
// said "operation not permitted".
func withCapabilities(err error) error {
	missing := missingCapabilities()
	hook := errors.Is(err, probe.ErrRequiredHook) && len(essential(missing)) > 0
	if !hook && (!isPermission(err) || len(missing) == 0) {
		return err
	}
	return permissionError{err, capabilityNames(missing)}
}

type permissionError struct {
	err     error
	missing string
}

func (e permissionError) Error() string {
	return fmt.Sprintf("missing capabilities: %s; run as root, or see 'rstwhy check'", e.missing)
}
func (e permissionError) Unwrap() error { return e.err }

func missingCapabilities() []capability {
	var out []capability
	for _, line := range owner.Missing() {
		name, lost, _ := strings.Cut(line, ": ")
		out = append(out, capability{name, lost})
	}
	return out
}
