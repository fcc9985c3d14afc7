package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// result is what was seen on one kernel. Its exported fields are kept in
// docs/kernels; docs/kernels.md is made of them.
type result struct {
	Series  string    `json:"series"`
	Arch    string    `json:"arch"`
	Release string    `json:"release"`
	Package string    `json:"package"`
	Date    string    `json:"date"`
	Size    int64     `json:"binary_bytes"`
	StartMS int64     `json:"start_ms"` // process start to ready file, the median
	Hooks   []hook    `json:"hooks"`
	Causes  []verdict `json:"causes"`
	Tests   []tested  `json:"tests"`
	Again   []string  `json:"again,omitempty"` // what failed, and did not when it was run again

	text    string // what check and check --prove printed
	trouble []error
}

// hook is one of rstwhy check -o json.
type hook struct {
	Name     string `json:"name"`
	Attached bool   `json:"attached"`
	Required bool   `json:"required,omitempty"`
	Needless bool   `json:"needless,omitempty"` // others tell the same on this kernel
	Flag     string `json:"flag,omitempty"`
	Without  string `json:"without,omitempty"`
	Why      string `json:"why,omitempty"`
	Limits   []struct {
		ID   string `json:"id"`
		Lost string `json:"lost"`
	} `json:"limits,omitempty"` // what it cannot tell on this kernel
}

// verdict is what check --prove found about one cause.
type verdict struct {
	Direction string   `json:"direction"`
	Cause     string   `json:"cause"`
	Outcome   string   `json:"outcome"`
	Made      int      `json:"made"`
	Why       []string `json:"why,omitempty"`
}

// The outcomes of a cause on a kernel.
const (
	outcomeRight      = "right"
	outcomeWrong      = "wrong"
	outcomeLost       = "lost"
	outcomeInvisible  = "invisible" // the kernel shows nothing of it: a loss that check names
	outcomeCannot     = "cannot"    // be provoked in the guest
	outcomeUnfinished = "not finished"
)

// tested is one test suite.
type tested struct {
	Name    string   `json:"name"`
	Passed  int      `json:"passed"`
	Failed  []string `json:"failed,omitempty"`
	Skipped []string `json:"skipped,omitempty"`
	seconds float64
}

func (r *result) name() string { return r.Series + "-" + r.Arch }

// failures are what must not be.
func (r *result) failures() []error {
	all := slices.Clone(r.trouble)
	for _, c := range r.Causes {
		if c.bad() {
			all = append(all, fmt.Errorf("%s: %s %s is %s: %s", r.name(), c.Direction, c.Cause, c.Outcome, strings.Join(c.Why, "; ")))
		}
	}
	for _, h := range r.Hooks {
		if h.Required && !h.Attached {
			all = append(all, fmt.Errorf("%s: required hook %s is not attached: %s", r.name(), h.Name, h.Why))
		}
	}
	return all
}

// readResult reads what the guest wrote: a line for each step.
func readResult(k kernel, size int64, steps []step, output []byte) (*result, error) {
	r := &result{Series: k.series, Arch: k.arch, Release: k.release, Package: k.version, Date: time.Now().UTC().Format(time.DateOnly), Size: size}
	var starts []time.Duration
	dec := json.NewDecoder(bytes.NewReader(output))
	for _, s := range steps {
		var o outcome
		if err := dec.Decode(&o); errors.Is(err, io.EOF) {
			return r, fmt.Errorf("%s: the guest ended before the step %q", r.name(), s.Name)
		} else if err != nil {
			return r, fmt.Errorf("%s: step %q: %w: %.300q", r.name(), s.Name, err, output)
		}
		if o.Name == stepStart && o.Error == "" {
			starts = append(starts, o.Took)
		}
		r.take(&o)
	}
	if len(starts) > 0 {
		slices.Sort(starts)
		r.StartMS = starts[len(starts)/2].Milliseconds()
	}
	return r, nil
}

func (r *result) take(o *outcome) {
	failed := o.failed()
	complain := func() {
		why := o.Error
		if o.TimedOut {
			why += ", time was over"
		}
		r.trouble = append(r.trouble, fmt.Errorf("%s: %s: exit status %d%s\n%s", r.name(), o.Name, o.Status, why, indent(o.Output)))
	}
	var err error
	switch test, isTest := strings.CutPrefix(o.Name, "test "); {
	case isTest:
		t := readTests(test, o)
		r.Tests = append(r.Tests, t)
		for _, e := range o.Earlier {
			for _, name := range readTests(test, &e).Failed {
				r.Again = append(r.Again, "test "+test+": "+name)
			}
		}
		if failed || len(t.Failed) > 0 || t.Passed == 0 {
			complain()
		}
		return
	case o.Name == stepCheck, o.Name == stepProve:
		r.text += "$ rstwhy " + o.Name + "\n" + o.Output
		if o.Name == stepProve {
			err = r.readProofs(o)
			failed = false // its rows say it
		}
	case o.Name == stepCheckJSON:
		var check struct{ Hooks []hook }
		err = json.Unmarshal([]byte(o.Output), &check)
		r.Hooks = check.Hooks
	}
	if failed {
		complain()
	}
	if err != nil {
		r.trouble = append(r.trouble, fmt.Errorf("%s: %s: its JSON: %w", r.name(), o.Name, err))
	}
}

// readProofs takes a cause as right where one of the tries had it right: what a
// kernel makes wrong is wrong each time, what the emulator's delays make wrong is not.
func (r *result) readProofs(o *outcome) error {
	for i := range o.Earlier {
		if err := r.readProof(&o.Earlier[i], false); err != nil {
			return err
		}
	}
	return r.readProof(o, true)
}

func (r *result) readProof(o *outcome, last bool) error {
	var proof struct {
		Rows []struct {
			Direction, Cause, Result string
			Expected, Seen, Right    int
			Why                      []string
		}
	}
	if err := json.Unmarshal([]byte(o.Kept[proveJSON]), &proof); err != nil {
		return fmt.Errorf("%w (exit status %d %s)\n%s", err, o.Status, o.Error, indent(o.Output))
	}
	for _, row := range proof.Rows {
		v := verdict{Direction: row.Direction, Cause: row.Cause, Made: row.Expected, Why: row.Why}
		switch {
		case row.Result == "pass":
			v.Outcome, v.Why = outcomeRight, nil
		case row.Result == "not-visible":
			v.Outcome = outcomeInvisible
		case row.Result == "not-provable":
			v.Outcome = outcomeCannot
		case row.Result == "not-finished":
			v.Outcome = outcomeUnfinished
		case row.Seen < row.Expected:
			v.Outcome = outcomeLost
		default:
			v.Outcome = outcomeWrong
		}
		switch { // rows without a direction are no causes: scenarios that broke, or what nothing provokes
		case v.Direction != "" || last && v.bad():
			r.add(v)
		case v.bad():
			r.Again = append(r.Again, v.Cause+": "+strings.Join(v.Why, "; "))
		}
	}
	return nil
}

// add keeps the better verdict of two about a cause.
func (r *result) add(v verdict) {
	i := slices.IndexFunc(r.Causes, func(c verdict) bool { return c.Direction == v.Direction && c.Cause == v.Cause })
	if i < 0 {
		r.Causes = append(r.Causes, v)
		return
	}
	was := r.Causes[i]
	if was.bad() || !v.bad() {
		r.Causes[i] = v
	}
	for _, bad := range []verdict{was, v} {
		if bad.bad() && !(was.bad() && v.bad()) {
			r.Again = append(r.Again, fmt.Sprintf("%s %s was %s: %s", bad.Direction, bad.Cause, bad.Outcome, strings.Join(bad.Why, "; ")))
		}
	}
}

func (v verdict) bad() bool {
	return v.Outcome == outcomeWrong || v.Outcome == outcomeLost || v.Outcome == outcomeUnfinished
}

var testLine = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\S+)`)

// readTests counts tests of the first level in what go test -v prints; of what
// was skipped it gives the reason too, which stands before.
func readTests(name string, o *outcome) tested {
	t := tested{Name: name, seconds: o.Took.Seconds()}
	lines := strings.Split(o.Output, "\n")
	for i, line := range lines {
		m := testLine.FindStringSubmatch(line)
		switch {
		case m == nil:
		case m[1] == "PASS":
			t.Passed++
		case m[1] == "FAIL":
			t.Failed = append(t.Failed, m[2])
		default:
			why := ""
			if i > 0 {
				why = ": " + strings.TrimSpace(lines[i-1])
			}
			t.Skipped = append(t.Skipped, m[2]+why)
		}
	}
	return t
}

// tests is what the run prints about a kernel's test suites.
func (r *result) tests() string {
	var b strings.Builder
	for _, t := range r.Tests {
		fmt.Fprintf(&b, "  test %-8s %3d passed, %d failed, %d skipped, %.0f s\n", t.Name, t.Passed, len(t.Failed), len(t.Skipped), t.seconds)
		for _, s := range t.Skipped {
			fmt.Fprintf(&b, "    skipped %s\n", s)
		}
	}
	for _, a := range r.Again {
		fmt.Fprintf(&b, "  failed, and did not when it was run again: %s\n", a)
	}
	return strings.TrimRight(b.String(), "\n")
}

func indent(s string) string {
	const most = 12_000 // the end is where a failure is told
	if len(s) > most {
		s = "...\n" + s[len(s)-most:]
	}
	return "    " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n    ")
}
