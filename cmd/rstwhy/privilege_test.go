package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
	"rstwhy/internal/lab"
	"rstwhy/internal/privilege"
)

const nobody = 65534

// openTo lets a user into a directory of the test, which is root's.
func openTo(t *testing.T, dir string, uid int) {
	t.Helper()
	if err := os.Chown(dir, uid, -1); err != nil {
		t.Fatal(err)
	}
	for ; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// numbers are those of include/uapi/linux/capability.h, apart from the table of
// internal/privilege.
var numbers = map[string]uintptr{
	"CAP_BPF": unix.CAP_BPF, "CAP_PERFMON": unix.CAP_PERFMON, "CAP_SYS_PTRACE": unix.CAP_SYS_PTRACE,
	"CAP_DAC_READ_SEARCH": unix.CAP_DAC_READ_SEARCH, "CAP_SYS_ADMIN": unix.CAP_SYS_ADMIN, "CAP_NET_ADMIN": unix.CAP_NET_ADMIN,
	"CAP_SYSLOG": unix.CAP_SYSLOG, "CAP_SYS_RESOURCE": unix.CAP_SYS_RESOURCE, "CAP_DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "CAP_NET_RAW": unix.CAP_NET_RAW,
}

func number(t *testing.T, name string) uintptr {
	t.Helper()
	n, ok := numbers[name]
	if !ok {
		t.Fatalf("the number of %s is not known to this test", name)
	}
	return n
}

// needPrivileges is needRoot, and leaves out what attaches to the kernel.
func needPrivileges(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("attaches to the kernel: left out by -short")
	}
	needRoot(t)
}

// nobodyWith is a user without any privilege but those capabilities.
func nobodyWith(t *testing.T, names ...string) *syscall.SysProcAttr {
	t.Helper()
	attr := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	for _, name := range names {
		attr.AmbientCaps = append(attr.AmbientCaps, number(t, name))
	}
	return attr
}

// fewer gives the names of all capabilities that trace asks for on this kernel,
// but for some.
func fewer(without ...string) (names []string) {
	for _, h := range privilege.Survey() {
		if !h.Needless && !slices.Contains(without, h.Name) {
			names = append(names, h.Name)
		}
	}
	return names
}

// told is what a session tells of resets that the test provoked.
type told struct{ Owner, Exe, Survival, NAT bool }

// TestEachCapability takes one capability away at a time. Resets are told with
// their owners as long as the essential ones are there, and what else is lost is
// what the table says, and nothing more.
func TestEachCapability(t *testing.T) {
	needPrivileges(t)
	binary := cliBin(t)
	all := told{Owner: true, Exe: true, Survival: true, NAT: true}
	for _, tt := range []struct {
		name string
		caps []string
		want told
	}{
		{"all of the table", fewer(), all},
		{"no more than is needed", fewer("CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYSLOG"), told{Owner: true}},
		{"CAP_SYS_PTRACE", fewer("CAP_SYS_PTRACE"), told{Owner: true}},
		{"CAP_DAC_READ_SEARCH", fewer("CAP_DAC_READ_SEARCH"), all},
		{"CAP_SYS_ADMIN", fewer("CAP_SYS_ADMIN"), told{Owner: true, Exe: true}},
		{"CAP_NET_ADMIN", fewer("CAP_NET_ADMIN"), told{Owner: true, Exe: true, Survival: true}},
		{"CAP_SYS_ADMIN in place of the needed ones", fewer("CAP_BPF", "CAP_PERFMON"), all},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// One end only: the two ends of a connection tell its translation, too.
			tr := startTracerAs(t, nobodyWith(t, tt.caps...), binary, "--received")
			tr.hasOnly(t, tt.caps)
			port := refusedConnection(t)
			truths := provoked(t, "connect-abandoned", lab.Own)
			nat := provoked(t, "nat/unread-data", lab.IPv4)
			resets, summary, _ := tr.stop(t)
			got := told{
				Owner:    slices.ContainsFunc(resets, func(r event.Reset) bool { return ours(r, port) }),
				Exe:      slices.ContainsFunc(resets, func(r event.Reset) bool { return ours(r, port) && r.Owner.Exe != "" }),
				Survival: answered(resets, truths, func(r *event.Reset) bool { return r.Effect != nil && *r.Effect != event.EffectUnknown }),
				NAT:      answered(resets, nat, func(r *event.Reset) bool { return r.NAT != nil }),
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v\n%s", got, tt.want, tr.log(t))
			}
			for _, c := range privilege.Capabilities {
				said := strings.Contains(tr.log(t), "without "+c.Name+":") && slices.ContainsFunc(summary.Warnings, func(w string) bool { return strings.HasPrefix(w, "without "+c.Name+":") })
				lost := slices.Contains(fewer(tt.caps...), c.Name) && !c.Admin
				if said != lost {
					t.Errorf("%s: lost %v, said %v", c.Name, lost, said)
				}
			}
		})
	}
}

// TestHooksNeedNoMore: what is needed attaches every hook that root's tracer
// attaches (before 5.17 with CAP_SYSLOG), but for those on functions of kernel
// modules, which CAP_SYS_ADMIN has.
func TestHooksNeedNoMore(t *testing.T) {
	needPrivileges(t)
	bin := cliBin(t)
	root := attachedHooks(t, cliCommand(bin, "check", "-o", "json"))
	inModule := func(hook string) bool { return strings.HasPrefix(hook, "firewall-ipv") }
	for _, tt := range []struct {
		name    string
		caps    []string
		modules bool
	}{
		{"needed", fewer("CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN", "CAP_NET_ADMIN"), false},
		{"with CAP_SYS_ADMIN", fewer("CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_NET_ADMIN"), true},
	} {
		attr := nobodyWith(t, tt.caps...)
		r := cliCommand(bin, "check", "-o", "json")
		r.cmd.SysProcAttr = attr
		got, want := attachedHooks(t, r), root
		if !tt.modules {
			got, want = slices.DeleteFunc(got, inModule), slices.DeleteFunc(slices.Clone(root), inModule)
		}
		if len(want) == 0 || !slices.Equal(got, want) {
			why := cliCommand(bin, "trace", "--debug", "--duration", "1ms")
			why.cmd.SysProcAttr = attr
			why.run(t)
			t.Errorf("%s: attached %v; as root %v\n%s", tt.name, got, want, &why.stderr)
		}
	}
}

func ours(r event.Reset, port uint16) bool {
	return r.Peer.Port == port && r.Owner != nil && int(r.Owner.PID) == os.Getpid()
}

// refusedConnection draws a reset from a port where nobody listens, to this
// process, and gives the port.
func refusedConnection(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(l.Addr().String())
	l.Close()
	if c, err := net.Dial("tcp4", at.String()); err == nil {
		c.Close()
		t.Fatalf("somebody listens at %v", at)
	}
	return at.Port()
}

func provoked(t *testing.T, id string, place lab.Place) []lab.Truth {
	t.Helper()
	s, ok := lab.ScenarioByID(id)
	if !ok {
		t.Fatalf("no scenario %s", id)
	}
	l, err := lab.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	truths, err := s.Run(t.Context(), l, place)
	if err != nil || len(truths) == 0 {
		t.Fatalf("%s: %d resets, %v", id, len(truths), err)
	}
	return truths
}

// answered tells whether a reset that one of the truths is about has it.
func answered(resets []event.Reset, truths []lab.Truth, has func(*event.Reset) bool) bool {
	for i := range resets {
		r := &resets[i]
		for _, t := range truths {
			if r.NetNS == t.NetNS && r.Local.Port == t.Local.Port() && r.Peer.Port == t.Peer.Port() && has(r) {
				return true
			}
		}
	}
	return false
}

// capabilities reads the permitted, effective and inheritable sets of all
// threads, and whether they may gain any.
func (tr *tracer) capabilities(t *testing.T) (sets map[string]uint64, gains bool) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", tr.cmd.Process.Pid))
	if err != nil || len(tasks) < 2 {
		t.Fatalf("%d threads: %v", len(tasks), err)
	}
	sets = map[string]uint64{}
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			continue // gone
		}
		for line := range strings.Lines(string(b)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
			switch name {
			case "CapPrm", "CapEff", "CapInh", "CapAmb":
				v, err := strconv.ParseUint(value, 16, 64)
				if err != nil {
					t.Fatal(err)
				}
				if old, seen := sets[name]; seen && old != v {
					t.Errorf("%s: %x in one thread, %x in another", name, old, v)
				}
				sets[name] = v
			case "NoNewPrivs":
				gains = gains || value != "1"
			}
		}
	}
	return sets, gains
}

// hasOnly fails unless the tracer kept, of those capabilities, what the table
// says that it keeps, on all threads, and can gain no other.
func (tr *tracer) hasOnly(t *testing.T, had []string) {
	t.Helper()
	var want uint64
	for _, c := range privilege.Kept("--ready-file") {
		if slices.Contains(had, c.Name) {
			want |= 1 << number(t, c.Name)
		}
	}
	sets, gains := tr.capabilities(t)
	if sets["CapEff"] != want || sets["CapPrm"] != want || sets["CapInh"]|sets["CapAmb"] != 0 || gains {
		t.Errorf("sets %x, want %x permitted and effective; may gain others: %v", sets, want, gains)
	}
}

// TestRootGivesUp: root's trace keeps what the table says and no more, and what
// comes later still works.
func TestRootGivesUp(t *testing.T) {
	needPrivileges(t)
	dir := t.TempDir()
	// A directory that only somebody else may write to, for a recording.
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	tr := startTracer(t, cliBin(t), "--debug", "--record", filepath.Join(dir, "a.rec"))
	var all []string
	for _, c := range privilege.Capabilities {
		all = append(all, c.Name)
	}
	tr.hasOnly(t, all)
	port := refusedConnection(t)
	truths := provoked(t, "nat/unread-data", lab.IPv4)
	resets, _, _ := tr.stop(t)
	if !slices.ContainsFunc(resets, func(r event.Reset) bool { return ours(r, port) && r.Owner.Exe != "" }) {
		t.Error("the reset of this process is not told, or without its executable")
	}
	if !answered(resets, truths, func(r *event.Reset) bool { return r.NAT != nil }) {
		t.Error("the translation of a connection in another network namespace is not told")
	}
	for _, c := range privilege.Kept("--record", "--ready-file") {
		if !strings.Contains(tr.log(t), "kept for: "+c.Keep) {
			t.Errorf("the debug log does not say what %s is kept for:\n%s", c.Name, tr.log(t))
		}
	}
}

// TestProofWithoutRoot runs check --prove as a user who has just what the table
// says that it needs.
func TestProofWithoutRoot(t *testing.T) {
	needPrivileges(t)
	var names, older []string
	for _, h := range privilege.Survey() {
		switch {
		case h.Prove != "":
			names = append(names, h.Name)
		case h.Until != "" && !h.Needless:
			older = append(older, h.Name)
		}
	}
	r := cliCommand(cliBin(t), "check", "--prove")
	r.cmd.SysProcAttr = nobodyWith(t, slices.Concat(names, older)...)
	if status := r.run(t); status != exitOK && status != exitUnfinished {
		t.Errorf("with %v: status %d\n%s%s", names, status, &r.stdout, &r.stderr)
	}
	if strings.Contains(r.stdout.String(), "permi") {
		t.Errorf("something is not permitted:\n%s", &r.stdout)
	}
	for _, name := range names {
		r := cliCommand(cliBin(t), "check", "--prove")
		r.cmd.SysProcAttr = nobodyWith(t, slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })...)
		if status := r.run(t); status == exitOK || !strings.Contains(r.stderr.String(), name) {
			t.Errorf("without %s: status %d, %s", name, status, &r.stderr)
		}
	}
}
