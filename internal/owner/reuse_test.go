package owner

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"rstwhy/internal/event"
)

// fakeProc makes a procfs of files, in which pids can be reused at will.
type fakeProc struct {
	t    *testing.T
	root string
}

func newFakeProc(t *testing.T) fakeProc {
	f := fakeProc{t, t.TempDir()}
	f.write("self", "stat", "")
	return f
}

func (f fakeProc) write(pid, name, text string) {
	f.t.Helper()
	dir := filepath.Join(f.root, pid)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f fakeProc) process(pid uint32, comm, cmdline string, ticks uint64) {
	f.t.Helper()
	name := strconv.Itoa(int(pid))
	f.write(name, "stat", statLine(pid, comm, ticks))
	f.write(name, "cmdline", cmdline)
	f.write(name, "cgroup", "0::/docker/"+idA+"\n")
}

func (f fakeProc) resolver(size int) *Resolver {
	f.t.Helper()
	r, err := New(Options{Proc: f.root, Size: size})
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

func TestReusedPID(t *testing.T) {
	f := newFakeProc(t)
	r := f.resolver(0)
	f.process(42, "old", "old\x00one\x00", 100)
	r.Remember(42, 100*nsPerTick+7)
	f.process(42, "new", "new\x00one\x00", 900)

	old := event.Process{PID: 42, StartBoot: 100*nsPerTick + 7, Comm: "old"}
	r.now = func() time.Time { return time.Now().Add(time.Hour) }
	r.Complete(&old)
	if old.Cmdline != "old one" || old.ContainerID != idA {
		t.Errorf("the old process: %+v", old)
	}
	stranger := event.Process{PID: 42, StartBoot: 500 * nsPerTick, Comm: "new"}
	r.Complete(&stranger)
	if stranger.Cmdline != "" || stranger.Cgroup != "" {
		t.Errorf("a process that was never seen: %+v", stranger)
	}
	current := event.Process{PID: 42, StartBoot: 900*nsPerTick + 1, Comm: "new"}
	r.Complete(&current)
	if current.Cmdline != "new one" {
		t.Errorf("the new process: %+v", current)
	}
}

// The pid may be reused between the first look at the start time and the last.
// A FIFO in the place of cmdline holds the reading up at that point.
func TestReusedWhileReading(t *testing.T) {
	f := newFakeProc(t)
	f.process(42, "same", "", 100)
	dir := filepath.Join(f.root, "42")
	fifo := filepath.Join(dir, "cmdline")
	if err := os.Remove(fifo); err != nil {
		t.Fatal(err)
	}
	mkfifo(t, fifo)
	r := f.resolver(0)
	p := event.Process{PID: 42, StartBoot: 100 * nsPerTick, Comm: "same"}
	var done sync.WaitGroup
	done.Go(func() { r.Complete(&p) })
	w, err := os.OpenFile(fifo, os.O_WRONLY, 0) // opens once the reader has
	if err != nil {
		t.Fatal(err)
	}
	f.write("42", "stat", statLine(42, "same", 900))
	w.WriteString("new\x00one\x00")
	w.Close()
	done.Wait()
	if p.Cmdline != "" || p.Cgroup != "" {
		t.Errorf("described by another process: %+v", p)
	}
}

func TestVanishing(t *testing.T) {
	f := newFakeProc(t)
	r := f.resolver(0)
	f.process(42, "x", "x\x00", 100)
	dir := filepath.Join(f.root, "42")
	for _, name := range []string{"cmdline", "cgroup"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	p := event.Process{PID: 42, StartBoot: 100 * nsPerTick}
	r.Complete(&p)
	if p.Comm != "x" || p.Cmdline != "" || p.Cgroup != "" {
		t.Errorf("without cmdline and cgroup: %+v", p)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	q := event.Process{PID: 42, StartBoot: 100 * nsPerTick, Comm: "x"}
	r.now = func() time.Time { return time.Now().Add(time.Hour) }
	r.Complete(&q)
	if s, ok := r.Lookup(42, 100*nsPerTick); !ok || s.Comm != "x" {
		t.Errorf("gone: %+v", s)
	}
}

// Something other than the end of the process must not be taken for it.
func TestUnreadableIsNotGone(t *testing.T) {
	f := newFakeProc(t)
	r := f.resolver(0)
	f.process(42, "x", "x\x00", 100)
	f.write("42", "stat", "rubbish")
	p := event.Process{PID: 42, StartBoot: 100 * nsPerTick, Comm: "x"}
	r.Complete(&p)
	if p.Cmdline != "" {
		t.Fatalf("described without a start time: %+v", p)
	}
	f.process(42, "x", "x\x00y\x00", 100)
	r.Complete(&p)
	if p.Cmdline != "" {
		t.Error("looked at again at once")
	}
	r.now = func() time.Time { return time.Now().Add(freshFor) }
	r.Complete(&p)
	if p.Cmdline != "x y" {
		t.Errorf("never looked at again: %+v", p)
	}
}

func TestBounded(t *testing.T) {
	f := newFakeProc(t)
	r := f.resolver(3)
	for pid := uint32(1); pid <= 5; pid++ {
		f.process(pid, "x", "x\x00", 100)
		r.Remember(pid, 100*nsPerTick)
		r.Lookup(1, 100*nsPerTick) // used again and again, so it stays
	}
	for pid, want := range map[uint32]bool{1: true, 2: false, 3: false, 4: true, 5: true} {
		if _, got := r.Lookup(pid, 100*nsPerTick); got != want {
			t.Errorf("pid %d is remembered: %v, want %v", pid, got, want)
		}
	}
	big := f.resolver(0)
	for pid := uint32(1); pid <= 100; pid++ {
		f.process(pid, "x", string(make([]byte, maxArgv))+"x", 100)
		big.Remember(pid, 100*nsPerTick)
	}
	if big.cache.total > maxBytes || big.cache.len() < 1 {
		t.Errorf("%d processes hold %d bytes, want at most %d", big.cache.len(), big.cache.total, maxBytes)
	}
	if _, ok := big.Lookup(1, 100*nsPerTick); ok {
		t.Error("nothing was given up")
	}
}

// TestShortStringsStandAlone: the tallies of a session keep name and label of
// thousands of processes, which must not keep their command lines with them.
func TestShortStringsStandAlone(t *testing.T) {
	const processes, long = 200, 60 << 10
	f := newFakeProc(t)
	r := f.resolver(0)
	var kept [processes]struct{ comm, label string }
	before := heap()
	for i := range kept {
		pid := uint32(i + 1)
		f.process(pid, "python3", "python3\x00/opt/serve.py\x00"+strings.Repeat("x", long), 100)
		p := event.Process{PID: pid, StartBoot: 100 * nsPerTick}
		r.Complete(&p)
		kept[i].comm, kept[i].label = p.Comm, p.Label
	}
	r = nil
	grown := heap() - before
	for _, k := range kept {
		if k.comm != "python3" || k.label != "serve.py" {
			t.Fatalf("%+v", k)
		}
	}
	if grown > processes*long/4 {
		t.Errorf("%d names and labels keep %d bytes", processes, grown)
	}
}

// heap is what is reachable, in bytes.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
