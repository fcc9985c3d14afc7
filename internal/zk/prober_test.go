package zk

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"rstwhy/internal/event"
	"rstwhy/internal/netns"
)

func next(t *testing.T, p *Prober) Snapshot {
	t.Helper()
	select {
	case s := <-p.Results():
		return s
	case <-time.After(5 * time.Second):
		t.Fatal("no result")
	}
	return Snapshot{}
}

func TestProber(t *testing.T) {
	f := listen(t, "127.0.0.1:0", answers(t, "3.4.13/default"))
	own, err := netns.Own()
	if err != nil {
		t.Fatal(err)
	}
	p := NewProber(Options{Timeout: time.Second})
	defer p.Close()
	key := Key{own, f.addr}
	if _, ok := p.Lookup(key); ok {
		t.Error("an answer before the question")
	}
	mapped := netip.AddrPortFrom(netip.AddrFrom16(f.addr.Addr().As16()), f.addr.Port())
	for range 50 {
		p.Want(Target{NetNS: own, Addr: mapped})
	}
	s := next(t, p)
	zxid := "0x1"
	want := event.Server{Address: f.addr.Addr(), Port: f.addr.Port(), Version: "3.4.13-6--1", Mode: "standalone", Outcome: event.OutcomeOK,
		Connections: event.Num(2), LatencyMS: &event.Latency{Min: 4, Avg: 9, Max: 14}, Outstanding: event.Num(0), Zxid: &zxid}
	if d := cmp.Diff(want, s.Server, cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Error(d)
	}
	if s.Key != key || s.Word != "srvr" || s.Outcome != event.OutcomeOK || time.Since(s.At) > time.Minute {
		t.Errorf("got %+v", s)
	}
	// A recording keeps snapshots as JSON.
	var back Snapshot
	if b, err := json.Marshal(s); err != nil || json.Unmarshal(b, &back) != nil {
		t.Errorf("as JSON: %v %s", err, b)
	}
	if d := cmp.Diff(s, back, cmpopts.IgnoreUnexported(Answer{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
	if again, ok := p.Lookup(Key{own, mapped}); !ok || again != s {
		t.Errorf("Lookup: %v %+v", ok, again)
	}
	if _, ok := p.Lookup(Key{own + 1, f.addr}); ok {
		t.Error("the answer of one namespace was given for another")
	}
	for range 50 {
		p.Want(Target{NetNS: own, Addr: f.addr})
	}
	time.Sleep(short)
	if h := f.heard(); !slices.Equal(h, []string{"srvr"}) {
		t.Errorf("the server heard %q", h)
	}
}

// Where srvr is closed without a byte, stat follows, once; not after a reset.
func TestProberFallsBackOnce(t *testing.T) {
	old := listen(t, "127.0.0.1:0", func(c *net.TCPConn, word string) {
		if word == "stat" {
			c.Write([]byte("Zookeeper version: 3.2.2-888565, built on 12/08/2009 21:51 GMT\nClients:\n\nMode: leader\n"))
		}
		c.CloseWrite()
	})
	mute := listen(t, "127.0.0.1:0", func(c *net.TCPConn, _ string) { c.CloseWrite() })
	resets := listen(t, "127.0.0.1:0", func(c *net.TCPConn, _ string) { c.SetLinger(0); c.Close() })
	p := NewProber(Options{Timeout: time.Second})
	defer p.Close()
	for _, tt := range []struct {
		f       *fake
		outcome event.Outcome
		word    string
		heard   []string
	}{
		{old, event.OutcomeOK, "stat", []string{"srvr", "stat"}},
		{mute, event.OutcomeReset, "srvr", []string{"srvr", "stat"}},
		{resets, event.OutcomeReset, "srvr", []string{"srvr"}},
	} {
		p.Want(Target{Addr: tt.f.addr})
		s := next(t, p)
		if s.Outcome != tt.outcome || s.Word != tt.word || !slices.Equal(tt.f.heard(), tt.heard) {
			t.Errorf("got %q by %q, heard %q; want %q by %q, %q", s.Outcome, s.Word, tt.f.heard(), tt.outcome, tt.word, tt.heard)
		}
	}
}

// A slow server is never asked on two connections at once, negative answers
// count as answers, and a server is asked again after its time.
func TestProberAsksAgain(t *testing.T) {
	f := listen(t, "127.0.0.1:0", func(c *net.TCPConn, _ string) {
		time.Sleep(50 * time.Millisecond)
		c.SetLinger(0)
		c.Close()
	})
	p := NewProber(Options{Timeout: time.Second, TTL: 300 * time.Millisecond})
	defer p.Close()
	end := time.Now().Add(time.Second)
	for time.Now().Before(end) {
		p.Want(Target{Addr: f.addr})
		time.Sleep(time.Millisecond)
	}
	// 50 ms for the answer and 300 to 360 ms of peace: at most 3 in a second.
	if h := f.heard(); len(h) < 2 || len(h) > 3 || f.most != 1 {
		t.Errorf("asked %d times, %d at once", len(h), f.most)
	}
}

func TestProberRate(t *testing.T) {
	var asking, most atomic.Int32
	f := listen(t, "0.0.0.0:0", func(c *net.TCPConn, _ string) {
		n := asking.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(100 * time.Millisecond)
		asking.Add(-1) // before the answer, after which the next may come
		c.Write([]byte("x\n"))
		c.CloseWrite()
	})
	p := NewProber(Options{Timeout: time.Second})
	defer p.Close()
	start := time.Now()
	for i := range 200 { // 200 servers: every address of 127.0.0.0/8 is this host
		p.Want(Target{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 1, byte(i)}), f.addr.Port())})
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("Want blocked for %v", d)
	}
	time.Sleep(time.Second)
	n := float64(len(f.heard()))
	if allowed := burst + perSecond*time.Since(start).Seconds() + 1; n < burst || n > allowed {
		t.Errorf("%v probes in %v, at most %v allowed", n, time.Since(start), allowed)
	}
	if n := most.Load(); n != 1 {
		t.Errorf("%d connections at once, want 1", n)
	}
}

func TestProberIsBounded(t *testing.T) {
	p := NewProber(Options{Timeout: 10 * time.Millisecond})
	defer p.Close()
	for i := range 2 * maxServers {
		p.Want(Target{NSPath: fmt.Sprint(i), Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 9, byte(i >> 8), byte(i)}), 1)})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.servers) != maxServers {
		t.Errorf("%d servers", len(p.servers))
	}
}

// The 4-tuple stays registered for the hold time, and Close releases at once.
func TestProberHoldsRegistrations(t *testing.T) {
	f := listen(t, "127.0.0.1:0", answers(t, "3.4.13/default"))
	for _, tt := range []struct {
		hold  time.Duration
		close bool
	}{{short, false}, {time.Hour, true}} {
		var mu sync.Mutex
		registered, released := 0, 0
		count := func() (int, int) { mu.Lock(); defer mu.Unlock(); return registered, released }
		p := NewProber(Options{Timeout: time.Second, Hold: tt.hold,
			Register: func(_, _ netip.AddrPort, _ uint32) func() {
				mu.Lock()
				defer mu.Unlock()
				registered++
				return func() { mu.Lock(); defer mu.Unlock(); released++ }
			}})
		p.Want(Target{Addr: f.addr})
		next(t, p)
		if a, b := count(); a != 1 || b != 0 {
			t.Errorf("registered %d, released %d just after the answer", a, b)
		}
		if !tt.close {
			for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
				if _, released := count(); released > 0 {
					break
				}
			}
		} else {
			p.Close()
		}
		if a, b := count(); a != 1 || b != 1 {
			t.Errorf("hold %v: registered %d, released %d", tt.hold, a, b)
		}
		p.Close()
		if _, b := count(); b != 1 {
			t.Errorf("released %d times", b)
		}
	}
}

func TestProberClose(t *testing.T) {
	f := listen(t, "127.0.0.1:0", func(*net.TCPConn, string) { time.Sleep(short) })
	p := NewProber(Options{Timeout: 30 * time.Second})
	p.Want(Target{Addr: f.addr})
	for len(f.heard()) == 0 {
		time.Sleep(time.Millisecond)
	}
	start := time.Now()
	p.Close()
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("Close took %v", d)
	}
	if s, open := <-p.Results(); open {
		t.Errorf("an unfinished probe gave %+v", s)
	}
	p.Want(Target{Addr: f.addr}) // harmless
	p.Close()                    // too
}

func TestJitter(t *testing.T) {
	lo, hi := time.Hour, time.Duration(0)
	for range 1000 {
		d := jitter(5 * time.Minute)
		lo, hi = min(lo, d), max(hi, d)
	}
	if lo < 5*time.Minute || hi > 6*time.Minute || hi-lo < 30*time.Second {
		t.Errorf("from %v to %v", lo, hi)
	}
}
