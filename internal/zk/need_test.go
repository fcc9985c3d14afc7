package zk

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"rstwhy/internal/event"
)

// conf follows srvr where a rule needs it, once, and its limit stays with the
// server.
func TestNeed(t *testing.T) {
	f := listen(t, "127.0.0.1:0", answers(t, "3.9.3/all"))
	p := NewProber(Options{Timeout: time.Second})
	defer p.Close()
	key := Key{Addr: netip.AddrPortFrom(netip.AddrFrom16(f.addr.Addr().As16()), f.addr.Port())} // v4-mapped
	p.Need(key, Conf)                                                                           // never wanted: nothing
	p.Want(Target{Addr: f.addr})
	for range 50 {
		p.Need(key, Conf) // before srvr is answered
	}
	if s := next(t, p); s.Word != "srvr" || s.Server.MaxConnections.Known {
		t.Errorf("got %+v", s)
	}
	if s := next(t, p); s.Word != "conf" || s.Server.MaxConnections != event.Num(60) || s.Server.Version == "" || s.PerAddress != event.Num(60) {
		t.Errorf("got %+v", s)
	}
	for range 50 {
		p.Want(Target{Addr: f.addr})
		p.Need(key, Conf)
	}
	for _, w := range []Word{Srvr, Stat, Ruok, Envi, {}, {index: 200}} {
		p.Need(key, w) // no rule may
	}
	p.Need(key, Isro)
	if s := next(t, p); s.Word != "isro" || s.Server.MaxConnections != event.Num(60) {
		t.Errorf("got %+v", s)
	}
	if s, ok := p.Lookup(key); !ok || s.Word != "srvr" || s.Server.MaxConnections != event.Num(60) || s.Outcome != event.OutcomeOK {
		t.Errorf("Lookup: %v %+v", ok, s)
	}
	if told, ok := p.Told(key, Isro); !ok || told.ReadOnly == nil || *told.ReadOnly || told.At.IsZero() {
		t.Errorf("Told: %v %+v", ok, told)
	}
	if told, ok := p.Told(key, Srvr); !ok || told.Release() != "3.9.3" {
		t.Errorf("Told: %v %+v", ok, told)
	}
	if _, ok := p.Told(key, Mntr); ok {
		t.Error("told a word that nobody needed")
	}
	if h := f.heard(); !slices.Equal(h, []string{"srvr", "conf", "isro"}) {
		t.Errorf("the server heard %q", h)
	}
}

// A server that is not serving, or no ZooKeeper, is asked nothing more; one
// whose whitelist refuses conf has no known limit.
func TestNeedOfOthers(t *testing.T) {
	for dir, heard := range map[string][]string{
		"3.9.3/not-serving": {"srvr"},
		"unknown words":     {"srvr", "stat"},
		"3.9.3/default":     {"srvr", "conf"},
	} {
		f := listen(t, "127.0.0.1:0", answers(t, dir))
		p := NewProber(Options{Timeout: time.Second})
		p.Want(Target{Addr: f.addr})
		p.Need(Key{Addr: f.addr}, Conf)
		next(t, p)
		p.Need(Key{Addr: f.addr}, Conf)
		if len(heard) == 2 && heard[1] == "conf" {
			if s := next(t, p); s.Outcome != event.OutcomeNotWhitelisted || s.Server.MaxConnections.Known || s.Server.Outcome != event.OutcomeOK {
				t.Errorf("%s: %+v", dir, s)
			}
		}
		time.Sleep(short)
		if h := f.heard(); !slices.Equal(h, heard) {
			t.Errorf("%s: the server heard %q, want %q", dir, h, heard)
		}
		p.Close()
	}
}

// Nothing is asked while this host holds more than 80 % of what the server is
// known to allow: 60 where nothing is known, then what conf told.
func TestWithheld(t *testing.T) {
	f := listen(t, "127.0.0.1:0", func(c *net.TCPConn, word string) {
		c.Write([]byte(map[string]string{
			"srvr": "Zookeeper version: 3.4.6-1569965, built on x\nMode: follower\n",
			"conf": "tickTime=2000\nserverId=1\nmaxClientCnxns=10\n",
		}[word]))
		c.CloseWrite()
	})
	var held atomic.Int64
	held.Store(49)
	p := NewProber(Options{Timeout: time.Second, TTL: time.Second, Connections: func(target Target) (int, bool) {
		if target.Addr != f.addr {
			t.Errorf("counted for %v", target.Addr)
		}
		return int(held.Load()), true
	}})
	defer p.Close()
	key := Key{Addr: f.addr}
	want := func(held64 int64, w Word, outcome event.Outcome) Snapshot {
		t.Helper()
		held.Store(held64)
		var s Snapshot
		for end := time.Now().Add(10 * time.Second); s.Word != w.String() || s.Outcome != outcome; time.Sleep(10 * time.Millisecond) {
			if p.Want(Target{Addr: f.addr}); w != Srvr {
				p.Need(key, w)
			}
			select {
			case s = <-p.Results():
			default:
			}
			if time.Now().After(end) {
				t.Fatalf("%d connections: %s is not %s; last %s: %s (%s)", held64, w, outcome, s.Word, s.Outcome, s.Detail)
			}
		}
		return s
	}
	if s := want(49, Srvr, event.OutcomeWithheld); s.Server.Outcome != event.OutcomeWithheld || s.Detail == "" || len(f.heard()) != 0 {
		t.Errorf("got %+v, heard %q", s, f.heard())
	}
	want(48, Srvr, event.OutcomeOK) // a little later, not only after the usual time
	want(48, Conf, event.OutcomeOK) // which tells the limit of 10
	want(9, Srvr, event.OutcomeWithheld)
	before := len(f.heard())
	want(9, Srvr, event.OutcomeWithheld)
	if h := f.heard(); len(h) != before {
		t.Errorf("the server heard %q", h[before:])
	}
	// The old answer holds.
	if s, ok := p.Lookup(key); !ok || s.Outcome != event.OutcomeOK || s.Server.MaxConnections != event.Num(10) {
		t.Errorf("Lookup: %v %+v", ok, s)
	}
	want(8, Srvr, event.OutcomeOK)
}

// No limit is one that cannot be reached, and no multiple of a limit overflows.
func TestWithholdLimits(t *testing.T) {
	key := Key{Addr: netip.MustParseAddrPort("192.0.2.1:2181")}
	for _, tt := range []struct {
		limit    event.Number
		held     int
		withheld bool
	}{
		{event.Number{}, 48, false}, {event.Number{}, 49, true}, {event.Num(0), 1 << 30, false},
		{event.Num(1), 0, false}, {event.Num(1), 1, true}, {event.Num(1<<63 - 1), 1 << 30, false},
	} {
		p := &Prober{count: func(Target) (int, bool) { return tt.held, false }, servers: map[Key]*server{key: {perAddress: tt.limit}}}
		if a, got := p.withhold(Target{Addr: key.Addr}); got != tt.withheld || got && a.Outcome != event.OutcomeWithheld {
			t.Errorf("%+v: %v %+v", tt, got, a)
		}
	}
}

// Attempt and answer of a Prober's question share one time-out.
func TestWholeQuestion(t *testing.T) {
	f := listen(t, "127.0.0.1:0", answers(t, "3.4.13/default"))
	for _, whole := range []bool{true, false} {
		var attempt time.Time
		d := dialer{timeout: time.Minute, whole: whole, ended: func(func(), bool) {}, register: func(_, _ netip.AddrPort, _ uint32) func() {
			time.Sleep(20 * time.Millisecond)
			attempt = time.Now()
			return nil
		}}
		d.over(context.Background(), Target{Addr: f.addr}, func(c *net.TCPConn, end time.Time) Answer {
			if shared := end.Before(attempt.Add(time.Minute)); shared != whole {
				t.Errorf("whole %v: the answer has until %v after the attempt", whole, end.Sub(attempt))
			}
			c.Write([]byte("srvr"))
			return Answer{}
		})
	}
}

// A server that does not answer is no reason not to ask the next.
func TestSlowServer(t *testing.T) {
	full := fullBacklog(t)
	stopped := listen(t, "127.0.0.1:0", func(*net.TCPConn, string) { time.Sleep(2 * time.Second) })
	quick := listen(t, "127.0.0.1:0", answers(t, "3.4.13/default"))
	const timeout = 400 * time.Millisecond
	p := NewProber(Options{Timeout: timeout})
	defer p.Close()
	for _, addr := range []netip.AddrPort{full, stopped.addr, quick.addr} {
		p.Want(Target{Addr: addr})
	}
	for _, want := range []event.Outcome{event.OutcomeTimeout, event.OutcomeTimeout, event.OutcomeOK} {
		if s := next(t, p); s.Outcome != want {
			t.Errorf("%v: %s (%s), want %s", s.Key.Addr, s.Outcome, s.Detail, want)
		}
	}
}
