package probe

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/rs/zerolog"

	"rstwhy/internal/lab"
)

func TestMain(m *testing.M) {
	lab.Main() // this test binary is also the lab's worker
	os.Exit(m.Run())
}

func needRoot(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("attaches to the kernel: left out by -short")
	}
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" || os.Getenv("RSTWHY_ROOT") == "1" {
		t.Fatal("attaching needs root; run make test")
	}
	t.Skip("attaching needs root; make test runs this")
}

const (
	attachWarm = 5                // rounds after which nothing may grow any more
	attachTime = 20 * time.Second // unless RSTWHY_ATTACH_ROUNDS asks for more
)

// rounds gives how often to attach, and for how long at most.
func rounds(t *testing.T) (int, time.Duration) {
	t.Helper()
	s := os.Getenv("RSTWHY_ATTACH_ROUNDS")
	if s == "" {
		return 100, attachTime
	}
	n, err := strconv.Atoi(s)
	if err != nil || n <= attachWarm {
		t.Fatalf("RSTWHY_ATTACH_ROUNDS=%q is no number above %d", s, attachWarm)
	}
	return n, time.Hour
}

// TestAttachLeavesNothing attaches and detaches over and over, beside
// connections and resets (a thousand times: RSTWHY_ATTACH_ROUNDS=1000). None of
// our programs, maps and links stays in the kernel, no descriptor in this
// process, and no memory.
func TestAttachLeavesNothing(t *testing.T) {
	needRoot(t)
	n, limit := rounds(t)
	stop := traffic(t)
	defer stop()
	ours := objects{}
	var descriptors, rss int
	began, done, hits := time.Now(), 0, uint64(0)
	for ; done < n && (done < 4*attachWarm || time.Since(began) < limit); done++ {
		l, err := Open(Options{Log: zerolog.Nop()})
		if err != nil {
			t.Fatalf("round %d: %v", done, err)
		}
		until := time.Now().Add(10 * time.Millisecond)
		for i := 0; err == nil && i < 1000; i++ {
			_, err = l.Read(until)
		}
		ours.add(t, l)
		l.Close()
		hits += l.Counts().Seen
		if done == attachWarm {
			descriptors, rss = openFiles(t), resident(t)
		}
	}
	fds, now := openFiles(t), resident(t)
	t.Logf("%d rounds in %v, %d hits; descriptors %d, then %d; resident %d kB, then %d kB",
		done, time.Since(began).Round(time.Millisecond), hits, descriptors, fds, rss, now)
	if hits == 0 {
		t.Error("no hook saw anything: there was no traffic")
	}
	if fds > descriptors {
		t.Errorf("%d descriptors after %d rounds, %d after %d", fds, done, descriptors, attachWarm)
	}
	// The heap's high-water mark moves by a reading of the kernel's types.
	if now > rss+16<<10 {
		t.Errorf("%d kB resident after %d rounds, %d kB after %d", now, done, rss, attachWarm)
	}
	ours.gone(t)
}

// traffic makes connections and resets until it is stopped.
func traffic(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if _, err := lab.RunLoad(ctx, lab.Linger, 20*time.Millisecond); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
	return func() { cancel(); wg.Wait() }
}

// objects are the ids of what was ours in the kernel. An id is not used again
// before 2^31 others (idr_alloc_cyclic, kernel/bpf/syscall.c), so one that is
// still there is a leak, whatever other programs the host runs.
type objects struct {
	programs map[ebpf.ProgramID]string
	maps     map[ebpf.MapID]string
	links    map[link.ID]bool
}

func (o *objects) add(t *testing.T, l *Live) {
	t.Helper()
	if o.programs == nil {
		o.programs, o.maps, o.links = map[ebpf.ProgramID]string{}, map[ebpf.MapID]string{}, map[link.ID]bool{}
	}
	for _, c := range append([]*ebpf.Collection{l.coll}, l.extra...) {
		for name, p := range c.Programs {
			info, err := p.Info()
			if err != nil {
				t.Fatal(err)
			}
			id, _ := info.ID()
			o.programs[id] = name
		}
		for name, m := range c.Maps {
			info, err := m.Info()
			if err != nil {
				t.Fatal(err)
			}
			id, _ := info.ID()
			o.maps[id] = name
		}
	}
	for _, lnk := range l.links {
		info, err := lnk.Info()
		if errors.Is(err, ebpf.ErrNotSupported) {
			continue // a kprobe before 5.15 is no link: its program tells
		}
		if err != nil {
			t.Fatal(err)
		}
		o.links[info.ID] = true
	}
}

// gone waits for the kernel, which frees after a grace period.
func (o *objects) gone(t *testing.T) {
	t.Helper()
	if len(o.programs) < 10 || len(o.maps) < 10 || len(o.links) < 10 {
		t.Fatalf("%d programs, %d maps and %d links were counted: too few", len(o.programs), len(o.maps), len(o.links))
	}
	// The library unmaps .bss and .rodata when their variables are collected.
	runtime.GC()
	until := time.Now().Add(5 * time.Second)
	for id, name := range o.programs {
		freed(t, "program "+name, until, func() (interface{ Close() error }, error) { return ebpf.NewProgramFromID(id) })
	}
	for id, name := range o.maps {
		freed(t, "map "+name, until, func() (interface{ Close() error }, error) { return ebpf.NewMapFromID(id) })
	}
	for id := range o.links {
		freed(t, "a link", until, func() (interface{ Close() error }, error) { return link.NewFromID(id) })
	}
	t.Logf("%d programs, %d maps, %d links came and went", len(o.programs), len(o.maps), len(o.links))
}

func freed(t *testing.T, what string, until time.Time, open func() (interface{ Close() error }, error)) {
	t.Helper()
	for {
		x, err := open()
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		x.Close()
		if time.Now().After(until) {
			t.Errorf("%s is still in the kernel", what)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// openFiles counts what attaching opens: programs, maps, links, iterators and
// the poller of the ring buffer, but not the pipes of the load beside it.
func openFiles(t *testing.T) (n int) {
	t.Helper()
	const dir = "/proc/self/fd/"
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		to, err := os.Readlink(dir + f.Name())
		if err == nil && strings.HasPrefix(to, "anon_inode:") && !strings.Contains(to, "pidfd") {
			n++
		}
	}
	return n
}

// resident gives VmRSS in kB.
func resident(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no VmRSS in /proc/self/status")
	return 0
}

// TestOwnProbesFull: more probe connections than the map holds. Those that find
// no room are not hidden; the others are, and all places are free afterwards.
func TestOwnProbesFull(t *testing.T) {
	needRoot(t)
	l, err := Open(Options{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m := l.coll.Maps["own_probes"]
	server := netip.MustParseAddrPort("192.0.2.1:2181")
	var releases []func()
	for i := range int(m.MaxEntries()) { // two entries each
		releases = append(releases, l.RegisterProbe(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), uint16(1024+i)), server))
	}
	if n := entries(t, m); n != int(m.MaxEntries()) {
		t.Errorf("%d entries, %d have room", n, m.MaxEntries())
	}
	for _, release := range releases {
		release()
	}
	if n := entries(t, m); n != 0 {
		t.Errorf("%d entries stay", n)
	}
}

func entries(t *testing.T, m *ebpf.Map) (n int) {
	t.Helper()
	var k kernelTuple
	var v uint32
	it := m.Iterate()
	for it.Next(&k, &v) {
		n++
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}
