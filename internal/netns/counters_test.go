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

func TestParse(t *testing.T) {
	var v values
	ok := "Ip: A B\nIp: 1 2\nTcp: MaxConn OutRsts InCsumErrors\nTcp: -1 7 3\nTcpExt: EmbryonicRsts New\nTcpExt: 9 5\nIcmp: InCsumErrors\nIcmp: 77\n"
	if err := parse([]byte(ok), &v); err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for i, c := range counters {
		if v[i] != 0 {
			got[c.name] = v[i]
		}
	}
	if want := map[string]uint64{"OutRsts": 7, "InCsumErrors": 3, "EmbryonicRsts": 9}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, bad := range []string{"Tcp: OutRsts\nTcpExt: 1\n", "Tcp: OutRsts\nTcp: 1 2\n", "Tcp: OutRsts\nTcp: x\n", "Tcp OutRsts\n", "Tcp: OutRsts\n"} {
		if err := parse([]byte(bad), &v); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("Tcp: OutRsts\nTcp: 7\n"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		var v values
		_ = parse(b, &v)
	})
}

// TestKernelHasThem: a counter of the table that this kernel does not have would
// never be reconciled.
func TestKernelHasThem(t *testing.T) {
	var both []byte
	for _, file := range []string{"snmp", "netstat"} {
		b, err := readWhole("/proc/thread-self/net/" + file)
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, b...)
	}
	for _, c := range counters {
		if !strings.Contains(string(both), " "+c.name+" ") && !strings.Contains(string(both), " "+c.name+"\n") {
			t.Errorf("%s: %s is not among the kernel's", c.group, c.name)
		}
	}
}

func at(name string, n uint64) values {
	var v values
	v[slotOf(name)] = n
	return v
}

func slotOf(name string) int {
	for i := range counters {
		if counters[i].name == name {
			return i
		}
	}
	panic(name)
}

// TestExact: OutRsts against the hits, at the edges and beyond them.
func TestExact(t *testing.T) {
	edge := func(startLo, startHi, endLo, endHi, seenLo, seenHi uint64) track {
		return track{
			startLo: at("OutRsts", startLo), startHi: at("OutRsts", startHi), endLo: at("OutRsts", endLo), endHi: at("OutRsts", endHi),
			seenEndLo: seenLo, seenEndHi: seenHi,
		}
	}
	for _, tt := range []struct {
		name  string
		track track
		lost  Losses
		agree bool
		why   string
	}{
		{"same", edge(10, 10, 15, 15, 5, 5), Losses{}, true, ""},
		{"at the edges", edge(10, 12, 15, 16, 4, 4), Losses{}, true, "2 within the moments"},
		{"lowest of the edges", edge(10, 12, 15, 16, 3, 3), Losses{}, true, "3 within"},
		{"below the edges", edge(10, 12, 15, 16, 2, 2), Losses{}, false, "1 were sent that no hook saw"},
		{"highest of the edges", edge(10, 12, 15, 16, 6, 6), Losses{}, true, ""},
		{"above the edges", edge(10, 12, 15, 16, 7, 7), Losses{}, false, "1 more were seen than counted"},
		{"recursion", edge(10, 10, 15, 15, 3, 3), Losses{Recursion: 2}, true, "recursion misses"},
		{"too little recursion", edge(10, 10, 15, 15, 3, 3), Losses{Recursion: 1}, false, "no hook saw"},
		{"blind", edge(10, 10, 15, 15, 3, 3), Losses{Blind: "before Linux 6.10 ..."}, true, "before Linux 6.10"},
		{"late start", track{startLo: at("OutRsts", 10), startHi: at("OutRsts", 10), endLo: at("OutRsts", 12), endHi: at("OutRsts", 12), seenStartLo: 7, seenStartHi: 8, seenEndLo: 9, seenEndHi: 9, late: true}, Losses{}, true, "counted from"},
		{"gone", track{startLo: at("OutRsts", 10), startHi: at("OutRsts", 10), endLo: at("OutRsts", 12), endHi: at("OutRsts", 12), seenEndLo: 2, seenEndHi: 2, gone: true}, Losses{}, true, "cannot be reconciled"},
	} {
		got, ok := tt.track.check(slotOf("OutRsts"), &tt.lost)
		if !ok || got.Agree != tt.agree || !strings.Contains(got.Explanation, tt.why) || (tt.why == "" && got.Explanation != "") {
			t.Errorf("%s: %+v, want agree %v because %q", tt.name, got, tt.agree, tt.why)
		}
	}
	failed := edge(10, 10, 15, 15, 3, 3)
	failed.endHi[slotOf("TCPAbortFailed")] = 2
	if got, _ := failed.check(slotOf("OutRsts"), &Losses{}); !got.Agree || !strings.Contains(got.Explanation, "no memory") {
		t.Errorf("resets that could not be made: %+v", got)
	}
	lost := Losses{Recursion: 2}
	for i, want := range []bool{true, false} { // one recursion miss explains one reset, not one of each namespace
		tr := edge(10, 10, 12, 12, 0, 0)
		if got, _ := tr.check(slotOf("OutRsts"), &lost); got.Agree != want {
			t.Errorf("namespace %d: %+v", i, got)
		}
	}
}

// TestOthers: the counters that count more than resets, and those that know
// alone.
func TestOthers(t *testing.T) {
	tr := track{endLo: at("EstabResets", 5), endHi: at("EstabResets", 5), mustEnd: map[string]uint64{"EstabResets": 3}}
	got, _ := tr.check(slotOf("EstabResets"), &Losses{})
	if !got.Agree || got.Kernel != 5 || got.Seen != 3 || !strings.Contains(got.Explanation, "timed out without a reset") {
		t.Errorf("more than seen: %+v", got)
	}
	tr.mustEnd["EstabResets"] = 6
	if got, _ = tr.check(slotOf("EstabResets"), &Losses{}); got.Agree {
		t.Errorf("fewer than seen: %+v", got)
	}
	tr.mustStart = map[string]uint64{"EstabResets": 1}
	if got, _ = tr.check(slotOf("EstabResets"), &Losses{}); !got.Agree || got.Explanation != "" {
		t.Errorf("as many as seen: %+v", got)
	}
	tr = track{endHi: at("TCPChallengeACK", 2)}
	if got, ok := tr.check(slotOf("TCPChallengeACK"), &Losses{}); !ok || !got.Agree || !strings.Contains(got.Explanation, "challenge ACK") {
		t.Errorf("only the counter knows: %+v", got)
	}
	if _, ok := tr.check(slotOf("TCPSYNChallenge"), &Losses{}); ok {
		t.Error("a counter that did not grow is told")
	}
}

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
		if !got.Agree || got.Kernel != tt.n || got.Seen != tt.n || !strings.HasPrefix(got.Explanation, tt.why) {
			t.Errorf("%s: %+v, want %d", tt.name, got, tt.n)
		}
		// Each refused connect() is a failed attempt that the test did not enter.
		if got := checks[tt.room.inode]["AttemptFails"]; !got.Agree || got.Kernel != tt.n {
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
			if check.Agree || check.Kernel != 3 || check.Seen != 2 || !strings.Contains(check.Explanation, "1 were sent that no hook saw") {
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

// TestReusedNumber: the kernel reuses namespace numbers; what the hooks saw in
// a namespace that is gone, read or not, must not be held against the new one.
func TestReusedNumber(t *testing.T) {
	for name, old := range map[string]*track{"read": {gone: true, seenEndLo: 5, seenEndHi: 5}, "never read": nil} {
		c := NewCounters(NewSpaces())
		if old != nil {
			c.tracks[7] = old
		} else {
			c.spaces.spaces[7] = &space{young: true}
		}
		v := at("OutRsts", 2)
		seen := Seen{Hits: map[event.Hook]uint64{event.HookSend: 7}}
		tr := c.begin(7, &v, seen, seen)
		tr.endLo, tr.endHi, tr.seenEndLo, tr.seenEndHi = v, v, 7, 7
		if got, _ := tr.check(slotOf("OutRsts"), &Losses{}); !got.Agree || got.Seen != 2 {
			t.Errorf("%s: %+v", name, got)
		}
		more := at("OutRsts", 9)
		tr.endLo, tr.endHi = more, more
		if got, _ := tr.check(slotOf("OutRsts"), &Losses{}); got.Agree {
			t.Errorf("%s, more counted than ever seen: %+v", name, got)
		}
	}
}
