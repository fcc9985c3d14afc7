package owner

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"rstwhy/internal/event"

	"github.com/google/go-cmp/cmp"
)

const testOffset = 1_700_000_000 * time.Second

func newLive(t testing.TB) *Resolver {
	t.Helper()
	r, err := New(Options{Offset: func() time.Duration { return testOffset }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// startBootOf gives what the kernel would say of a live process, but for the
// part of a tick that /proc does not tell.
func startBootOf(t testing.TB, pid int) uint64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	st, err := parseStat(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return st.start*nsPerTick + nsPerTick - 1
}

func processOf(t testing.TB, cmd *exec.Cmd) event.Process {
	return event.Process{PID: uint32(cmd.Process.Pid), StartBoot: startBootOf(t, cmd.Process.Pid)}
}

// ready is a shell program that says so and waits.
const ready = "echo; read x"

// startShell starts a shell whose program prints a line once it is ready.
func startShell(t testing.TB, args ...string) *exec.Cmd {
	cmd, _ := startShellInput(t, args...)
	return cmd
}

func startShellInput(t testing.TB, args ...string) (*exec.Cmd, io.Writer) {
	t.Helper()
	cmd := exec.Command("/bin/sh", args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the shell did not start: %v", err)
	}
	return cmd, in
}

func TestCompleteKeepsWhatTheDeadWas(t *testing.T) {
	script := filepath.Join(t.TempDir(), "tell.sh")
	if err := os.WriteFile(script, []byte(ready), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := startShell(t, script, "--token", "S3CRET", "end")
	r := newLive(t)
	p := processOf(t, cmd)
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.PID))
	if err != nil {
		t.Fatal(err)
	}
	want := event.Process{
		PID: p.PID, StartBoot: p.StartBoot, Comm: "sh", Label: "tell.sh", Exe: exe,
		Cmdline:   "/bin/sh " + script + " --token *** end",
		StartTime: time.Unix(0, int64(p.StartBoot)).Add(testOffset).Round(time.Millisecond).UTC(),
	}
	check := func(when string) {
		t.Helper()
		got := p
		r.Complete(&got)
		if got.Cgroup == "" {
			t.Errorf("%s: no cgroup", when)
		}
		got.Cgroup, got.ContainerID = "", ""
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	r.Remember(p.PID, p.StartBoot)
	check("alive")
	if got := r.Argv(p.PID, p.StartBoot); !cmp.Equal(got, []string{"/bin/sh", script, "--token", "S3CRET", "end"}) {
		t.Errorf("argv is %q", got)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	waitForState(t, cmd.Process.Pid, 'Z')
	r.now = func() time.Time { return time.Now().Add(time.Hour) } // so that it looks again
	check("zombie")
	cmd.Wait()
	r.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	check("gone")
	check("gone, asked again")
	if e := r.get(key{p.PID, p.StartBoot}); !e.gone {
		t.Error("a process that is gone is looked for again and again")
	}
}

func waitForState(t *testing.T, pid int, state byte) {
	t.Helper()
	for range 500 {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		if rest := text[strings.LastIndexByte(string(text), ')')+2:]; rest[0] == state {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("process %d is not in state %c after 5 s", pid, state)
}

func TestCompleteHostile(t *testing.T) {
	for name, arg := range map[string]string{
		"escapes":       "\x1b]0;owned\x07\x1b[2J",
		"newlines":      "a\nb\r\nrst fake line",
		"invalid UTF-8": "\xff\xfe\xc3(",
		"long":          strings.Repeat("\xff\n", 60<<10), // one argument may be 128 KiB (MAX_ARG_STRLEN)
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"-c", ready, "x", arg}
			if name == "long" {
				args = append(args, strings.Split(strings.TrimSuffix(strings.Repeat(arg+"\x00", 9), "\x00"), "\x00")...) // 1 MiB in all
			}
			r := newLive(t)
			p := processOf(t, startShell(t, args...))
			p.Comm = "sh"
			r.Complete(&p)
			prefix := "/bin/sh -c " + ready + " x "
			rest, ok := strings.CutPrefix(p.Cmdline, prefix)
			if !ok || rest == "" {
				t.Fatalf("got %q", p.Cmdline)
			}
			if len(p.Cmdline) > maxCmdline || !utf8.ValidString(p.Cmdline) || strings.ContainsAny(p.Cmdline, "\n\r\x00") {
				t.Errorf("%d bytes: %q", len(p.Cmdline), p.Cmdline)
			}
			if name == "escapes" && rest != arg {
				t.Errorf("got %q, want %q as it is: escaping is the sinks' job", rest, arg)
			}
			if n := len(strings.Join(r.Argv(p.PID, p.StartBoot), "\x00")); n > maxArgv {
				t.Errorf("%d bytes of arguments", n)
			}
		})
	}
}

// The name of a process may look like the fields after it.
func TestCompleteHostileComm(t *testing.T) {
	cmd := startShell(t, "-c", `printf ') S 1 (\n\377' > /proc/$$/comm; echo; read x`)
	p := processOf(t, cmd)
	r := newLive(t)
	r.Complete(&p)
	if want := ") S 1 (\n\uFFFD"; p.Comm != want || p.Exe == "" {
		t.Errorf("got comm %q and exe %q, want %q and one", p.Comm, p.Exe, want)
	}
}

// A process that executes another program keeps pid and start time: neither
// may be described as the other.
func TestCompleteAcrossExec(t *testing.T) {
	cmd, in := startShellInput(t, "-c", "echo; read x; exec sleep 100")
	p := processOf(t, cmd)
	as := func(r *Resolver, comm string) event.Process {
		q := p
		q.Comm = comm
		r.Complete(&q)
		return q
	}
	r := newLive(t)
	if got := as(r, "sh"); !strings.HasPrefix(got.Cmdline, "/bin/sh -c") {
		t.Fatalf("before: %q", got.Cmdline)
	}
	if _, err := io.WriteString(in, "\n"); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		// The name changes before the arguments are there (fs/exec.c, begin_new_exec).
		if text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID)); strings.HasPrefix(string(text), "sleep\x00") {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got := as(r, "sh"); !strings.HasPrefix(got.Cmdline, "/bin/sh -c") {
		t.Errorf("an event from before, with a reading from before: %q", got.Cmdline)
	}
	if got := as(newLive(t), "sh"); got.Cmdline != "" || got.Exe != "" {
		t.Errorf("an event from before, with a reading from after: %q, %q", got.Cmdline, got.Exe)
	}
	if got := as(r, "sleep"); got.Cmdline != "sleep 100" {
		t.Errorf("after: %q", got.Cmdline)
	}
	if got := as(r, "sh"); got.Cmdline != "" {
		t.Errorf("a late event from before: %q", got.Cmdline)
	}
}

func TestCompleteWrongStart(t *testing.T) {
	r := newLive(t)
	p := event.Process{PID: uint32(os.Getpid()), Comm: "x"}
	p.StartBoot = startBootOf(t, os.Getpid()) + nsPerTick // started a tick later: another process
	got := p
	r.Complete(&got)
	got.StartTime = time.Time{}
	if diff := cmp.Diff(p, got); diff != "" {
		t.Errorf("another process with this pid was described (-want +got):\n%s", diff)
	}
	got = event.Process{PID: uint32(os.Getpid()), Comm: "x"}
	r.Complete(&got)
	if want := (event.Process{PID: uint32(os.Getpid()), Comm: "x"}); got != want {
		t.Errorf("without a start time: got %+v", got)
	}
	if r.Argv(uint32(os.Getpid()), p.StartBoot) != nil {
		t.Error("another process's arguments were given")
	}
}

func TestRefusesWithoutProc(t *testing.T) {
	if _, err := New(Options{Proc: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "no procfs at") {
		t.Errorf("got %v", err)
	}
}

func TestCompleteCgroup(t *testing.T) {
	_, dir, id := liveTree(t)
	r := newLive(t)
	cmd := startShell(t, "-c", ready)
	p := processOf(t, cmd)
	r.Remember(p.PID, p.StartBoot)
	// The kernel saw it in a cgroup that it was moved to after Remember.
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		t.Skipf("cannot move a process: %v", err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	want := "/" + filepath.Base(dir)
	moved := p
	moved.CgroupID = id
	r.Complete(&moved)
	if moved.Cgroup != want {
		t.Errorf("moved: got %q, want %q", moved.Cgroup, want)
	}
	// A process that nothing is known of but the id of its cgroup.
	dead := event.Process{PID: 1 << 30, StartBoot: 1, CgroupID: id}
	r.Complete(&dead)
	if dead.Cgroup != want {
		t.Errorf("dead: got %q, want %q", dead.Cgroup, want)
	}
	// An id that no cgroup has: rather none than where it was some other time.
	elsewhere := p
	elsewhere.CgroupID = 1 << 60
	r.Complete(&elsewhere)
	if elsewhere.Cgroup != "" {
		t.Errorf("id of no cgroup: got %q", elsewhere.Cgroup)
	}
	now := newLive(t)
	q := p
	now.Complete(&q)
	if q.Cgroup != want {
		t.Errorf("read now: got %q, want %q", q.Cgroup, want)
	}
}

func TestReplay(t *testing.T) {
	r := newLive(t)
	p := processOf(t, startShell(t, "-c", ready))
	p.Comm = "sh"
	live := p
	r.Complete(&live)
	s, ok := r.Lookup(p.PID, p.StartBoot)
	if !ok {
		t.Fatal("nothing to record")
	}
	replay := NewReplay()
	if _, ok := replay.Lookup(p.PID, p.StartBoot); ok {
		t.Error("a new replay knows the process")
	}
	nobody := p
	replay.Complete(&nobody)
	if nobody != p {
		t.Errorf("replay looked at /proc: %+v", nobody)
	}
	replay.Restore(s)
	again := p
	replay.Complete(&again)
	if diff := cmp.Diff(live, again); diff != "" {
		t.Errorf("replay prints other than live (-live +replay):\n%s", diff)
	}
	if replay.Argv(p.PID, p.StartBoot) != nil {
		t.Error("a recording holds unmasked arguments")
	}
	replay.Restore(Snapshot{PID: 1, StartBoot: 1, Cmdline: strings.Repeat("\xff", 1<<20)})
	if s, _ := replay.Lookup(1, 1); len(s.Cmdline) > maxCmdline || !utf8.ValidString(s.Cmdline) {
		t.Errorf("a forged recording gave %d bytes", len(s.Cmdline))
	}
}

func BenchmarkCompleteCached(b *testing.B) {
	r := newLive(b)
	p := event.Process{PID: uint32(os.Getpid()), StartBoot: startBootOf(b, os.Getpid())}
	r.Complete(&p)
	at := time.Now()
	r.now = func() time.Time { return at }
	b.ReportAllocs()
	for b.Loop() {
		r.Complete(&p)
	}
}

func BenchmarkRead(b *testing.B) {
	r := newLive(b)
	start := startBootOf(b, os.Getpid())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.read(uint32(os.Getpid()), start); err != nil {
			b.Fatal(err)
		}
	}
}
