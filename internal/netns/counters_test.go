package netns

import (
	"fmt"
	"maps"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
)

// book is what the hooks would have seen; the test keeps it by hand.
type book struct {
	mu   sync.Mutex
	seen map[uint32]Seen
}

func (b *book) sent(netns uint32, n uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.seen[netns]
	b.seen[netns] = Seen{Hits: map[event.Hook]uint64{event.HookSend: s.sends() + n}, Must: s.Must}
}

func (b *book) snapshot() map[uint32]Seen {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.seen)
}

// closedPorts makes n connections to a closed port: one RST each.
func (r room) closedPorts(t *testing.T, n int) {
	t.Helper()
	r.inside(t, func() error {
		for range n {
			if c, err := net.DialTimeout("tcp", "127.0.0.1:1", time.Second); err == nil {
				c.Close()
				return fmt.Errorf("port 1 is open")
			}
		}
		return nil
	})
}

// TestCounters: real resets in real namespaces, one there before the start, one
// made after it, one that goes away.
func TestCounters(t *testing.T) {
	old, dying := newRoom(t), newRoom(t)
	b := &book{seen: map[uint32]Seen{}}
	c := NewCounters(NewSpaces())
	old.closedPorts(t, 3) // before the start: no concern of ours
	c.Attaching()
	c.Attached(b.snapshot)
	time.Sleep(20 * time.Millisecond) // start times of processes have steps of 10 ms
	young := newRoom(t)

	old.closedPorts(t, 5)
	b.sent(old.inode, 5)
	dying.closedPorts(t, 2)
	b.sent(dying.inode, 2)
	young.closedPorts(t, 4)
	b.sent(young.inode, 4)
	c.Round()
	dying.end()
	old.closedPorts(t, 1)
	b.sent(old.inode, 1)
	c.Detaching()
	c.Detached()

	checks := map[uint32]map[string]event.CounterCheck{}
	for _, check := range c.Checks(Losses{}) {
		if checks[check.NetNS] == nil {
			checks[check.NetNS] = map[string]event.CounterCheck{}
		}
		checks[check.NetNS][check.Counter] = check
	}
	for _, tt := range []struct {
		name string
		room room
		n    int64
		why  string
	}{{"there before", old, 6, ""}, {"made after", young, 4, ""}, {"gone", dying, 2, "the namespace is gone"}} {
		got := checks[tt.room.inode]["OutRsts"]
		if !is(got.Agree, true) || got.Kernel != tt.n || got.Seen != tt.n || !strings.HasPrefix(got.Explanation, tt.why) {
			t.Errorf("%s: %+v, want %d", tt.name, got, tt.n)
		}
		// Each refused connect() is a failed attempt that the test did not enter.
		if got := checks[tt.room.inode]["AttemptFails"]; !is(got.Agree, true) || got.Kernel != tt.n {
			t.Errorf("%s: %+v, want %d failed attempts", tt.name, got, tt.n)
		}
	}
	if _, ok := checks[young.inode]; !ok || c.tracks[young.inode].late {
		t.Error("a namespace made after the start was not counted from zero")
	}
}

// TestCountersMiss: a reset that the hooks did not see is told.
func TestCountersMiss(t *testing.T) {
	r := newRoom(t)
	b := &book{seen: map[uint32]Seen{}}
	c := NewCounters(NewSpaces())
	c.Attaching()
	c.Attached(b.snapshot)
	r.closedPorts(t, 3)
	b.sent(r.inode, 2)
	c.Detaching()
	c.Detached()
	for _, check := range c.Checks(Losses{}) {
		if check.NetNS == r.inode && check.Counter == "OutRsts" {
			if !is(check.Agree, false) || check.Kernel != 3 || check.Seen != 2 || !strings.Contains(check.Explanation, "1 were sent that no hook saw") {
				t.Errorf("%+v", check)
			}
			return
		}
	}
	t.Error("the namespace was not told")
}

// TestReadIsCheap: a round must not be felt, and holds no descriptor.
func TestReadIsCheap(t *testing.T) {
	r := newRoom(t)
	s := NewSpaces()
	s.Note(r.inode, r.pid)
	before := descriptors(t)
	var best time.Duration = time.Hour
	for range 20 {
		var v values
		start := time.Now()
		if _, err := s.read(r.inode, &v); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(start))
	}
	if best > time.Millisecond {
		t.Errorf("a reading takes %v", best)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	t.Logf("a reading takes %v", best)
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestBoundName: a namespace without a process is read through its bind mount's
// name.
func TestBoundName(t *testing.T) {
	r := newRoom(t)
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", r.pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	r.closedPorts(t, 2)
	r.end()
	s := NewSpaces()
	s.names = []string{fmt.Sprintf("/proc/self/fd/%d", fd)}
	s.Scan()
	var v values
	if _, err := s.read(r.inode, &v); err != nil {
		t.Fatal(err)
	}
	if got := v[slotOf("OutRsts")]; got != 2 {
		t.Errorf("OutRsts is %d, want 2", got)
	}
}
