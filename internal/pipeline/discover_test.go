package pipeline

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rstwhy/internal/event"
	"rstwhy/internal/hsperf"
	"rstwhy/internal/zk"
)

// fakeFinder knows one process, pid 7, and looks at none.
type fakeFinder struct {
	process zk.Process
	busy    bool
	wanted  int
}

func (f *fakeFinder) Want(zk.ProcessID)      { f.wanted++ }
func (f *fakeFinder) Busy(zk.ProcessID) bool { return f.busy }
func (f *fakeFinder) Trouble() []string      { return nil }
func (f *fakeFinder) Close()                 {}
func (f *fakeFinder) Lookup(id zk.ProcessID) (zk.Process, bool) {
	if f.busy || id != (zk.ProcessID{PID: 7, Start: 8}) {
		return zk.Process{}, false
	}
	return f.process, true
}

// known makes servers that know that process.
func known(p zk.Process) *servers {
	s := newServers(Options{NoProbe: true, ZKPorts: []uint16{2181}}, nil, nil)
	s.finder = &fakeFinder{process: p}
	return &s
}

func resetOf(opened bool, local, peer string) *event.Reset {
	at := func(s string) event.Endpoint {
		a := netip.MustParseAddrPort(s)
		return event.Endpoint{Address: a.Addr(), Port: a.Port()}
	}
	return &event.Reset{
		Local: at(local), Peer: at(peer), Owner: &event.Process{PID: 7, StartBoot: 8},
		Facts: event.Facts{ActiveOpen: opened, ActiveOpenKnow: true},
	}
}

func TestPart(t *testing.T) {
	server := zk.Process{Server: true, Config: zk.ParseConfig([]byte(
		"clientPort=10245\nsecureClientPort=2281\nserver.1=192.0.2.1:2888:3888\nserver.2=192.0.2.2:2888:3888\n"))}
	server.Config.Admin = 8080
	client := zk.Process{JVM: true, Client: &event.Client{Version: "3.4.5"}, Endpoints: []zk.Endpoint{{Host: "zk", Port: 10245}}}
	bare := client
	bare.Endpoints = nil
	noLibrary := client
	noLibrary.Client = nil
	python := bare
	python.JVM = false
	const here, there = "192.0.2.1:", "192.0.2.2:"
	send, other := "main-SendThread", "http-nio-8080-"
	for _, tt := range []struct {
		name        string
		self        zk.Process
		opened      bool
		local, peer string
		thread      *string
		role        event.Role // empty: ZooKeeper is not concerned
		kind        event.PortKind
		plain       bool
	}{
		{"a client of a well-known port", zk.Process{}, true, here + "40000", there + "2181", nil, event.RoleClient, "", true},
		{"some other connection", zk.Process{}, true, here + "40000", there + "10245", nil, "", "", false},
		{"configured", client, true, here + "40000", there + "10245", nil, event.RoleClient, "", true},
		{"configured, without a library", noLibrary, true, here + "40000", there + "10245", nil, "", "", false},
		{"another port of a client", client, true, here + "40000", there + "3306", nil, "", "", false},
		{"ZooKeeper's own thread acted", bare, true, here + "40000", there + "9999", &send, event.RoleClient, "", true},
		{"another thread acted", bare, true, here + "40000", there + "9999", &other, "", "", false},
		{"a thread of that name outside a JVM", python, true, here + "40000", there + "9999", &send, "", "", false},
		{"server, client port", server, false, here + "10245", there + "40000", nil, event.RoleServer, event.PortClient, true},
		{"server, TLS port", server, false, here + "2281", there + "40000", nil, event.RoleServer, event.PortSecureClient, false},
		{"server, quorum port", server, false, here + "2888", there + "40000", nil, event.RoleServer, event.PortQuorum, false},
		{"server, election port", server, false, here + "3888", there + "40000", nil, event.RoleServer, event.PortElection, false},
		{"server, AdminServer", server, false, here + "8080", there + "40000", nil, event.RoleServer, event.PortAdmin, false},
		{"server, another port", server, false, here + "9010", there + "40000", nil, "", "", false},
		{"server, well-known port", server, false, here + "2181", there + "40000", nil, event.RoleServer, "", true},
		{"server, to another member", server, true, here + "40000", there + "3888", nil, event.RoleClient, event.PortElection, false},
		{"server, to somebody else", server, true, here + "40000", "192.0.2.9:3888", nil, "", "", false},
		{"no server on a well-known port", client, false, here + "2181", there + "40000", nil, "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := resetOf(tt.opened, tt.local, tt.peer)
			r.Thread = tt.thread
			p, ok := known(tt.self).part(r)
			if !ok {
				p = part{}
			}
			if p.role != tt.role || p.kind != tt.kind || p.plain != tt.plain && ok {
				t.Errorf("role %q, kind %q, plain %v", p.role, p.kind, p.plain)
			}
			r.Owner = nil
			if _, ok := known(tt.self).part(r); ok {
				t.Error("a part of nobody")
			}
		})
	}
}

// What ZooKeeper's own thread showed once holds for resets in which no thread
// acted, of that process and endpoint.
func TestPartIsLearned(t *testing.T) {
	s := known(zk.Process{JVM: true, Client: &event.Client{Version: "3.4.5"}})
	passive := resetOf(true, "192.0.2.1:40000", "192.0.2.2:9999")
	if _, ok := s.part(passive); ok {
		t.Error("known before it was learned")
	}
	acted := resetOf(true, "192.0.2.1:40001", "192.0.2.2:9999")
	send := "main-SendThread"
	acted.Thread = &send
	if _, ok := s.part(acted); !ok {
		t.Error("not learned")
	}
	if p, ok := s.part(passive); !ok || p.role != event.RoleClient {
		t.Error("forgotten")
	}
	for _, r := range []*event.Reset{resetOf(true, "192.0.2.1:40000", "192.0.2.3:9999"), resetOf(true, "192.0.2.1:40000", "192.0.2.2:9998")} {
		if _, ok := s.part(r); ok {
			t.Errorf("%v was not learned", r.Peer)
		}
	}
	if c := clientOf(&zk.Process{JVM: true, Client: &event.Client{Source: "x"}}, &send); c.Transport != "nio" {
		t.Errorf("the thread that acted tells NIO: %+v", c)
	}
}

// The other end's process tells a server's record which library its client has.
func TestTwinLibrary(t *testing.T) {
	s := known(zk.Process{Client: &event.Client{Version: "3.4.5", Transport: "nio"}})
	for _, tt := range []struct {
		name string
		z    *event.ZooKeeper
		twin *event.Process
		want string
	}{
		{"server", &event.ZooKeeper{Role: event.RoleServer, PortKind: new(event.PortClient)}, &event.Process{PID: 7, StartBoot: 8}, "3.4.5"},
		{"another process", &event.ZooKeeper{Role: event.RoleServer}, &event.Process{PID: 7, StartBoot: 9}, ""},
		{"members", &event.ZooKeeper{Role: event.RoleServer, PortKind: new(event.PortQuorum)}, &event.Process{PID: 7, StartBoot: 8}, ""},
		{"elsewhere", &event.ZooKeeper{Role: event.RoleServer}, nil, ""},
		{"a client's own record", &event.ZooKeeper{Role: event.RoleClient}, &event.Process{PID: 7, StartBoot: 8}, ""},
	} {
		s.twin(&Resolution{ZooKeeper: tt.z, TwinOwner: tt.twin})
		if got := tt.z.Client; (got == nil) != (tt.want == "") || got != nil && got.Version != tt.want {
			t.Errorf("%s: %+v, want %q", tt.name, got, tt.want)
		}
	}
	s.twin(&Resolution{TwinOwner: &event.Process{PID: 7, StartBoot: 8}})
}

func TestPauseBefore(t *testing.T) {
	at := time.Unix(1000, 0)
	pause := func(start, end float64) hsperf.Pause {
		return hsperf.Pause{
			Collector: "c", Start: at.Add(time.Duration(start * 1e9)),
			Duration: time.Duration((end - start) * 1e9),
		}
	}
	for _, tt := range []struct {
		name   string
		pauses []hsperf.Pause
		want   *event.Pause
	}{
		{"none", nil, nil},
		{"the longest", []hsperf.Pause{pause(-3, -2), pause(-20, -8), pause(-1, 0)}, &event.Pause{Collector: "c", Start: at.Add(-20 * time.Second), DurationNS: 12e9}},
		{"the reset came within it", []hsperf.Pause{pause(-2, 3)}, &event.Pause{Collector: "c", Start: at.Add(-2 * time.Second), DurationNS: 5e9}},
		{"short", []hsperf.Pause{pause(-1, -0.6)}, nil},
		{"long ago", []hsperf.Pause{pause(-80, -61)}, nil},
		{"after the reset", []hsperf.Pause{pause(0.1, 9)}, nil},
	} {
		p := zk.Process{Pauses: tt.pauses}
		if d := cmp.Diff(tt.want, p.PauseBefore(at)); d != "" {
			t.Error(tt.name, d)
		}
	}
}

// A record is held while its process is looked at, and takes what that told.
func TestHeldForLook(t *testing.T) {
	live := &fakeKernel{}
	s, out := newTestSession(t, live, Options{ZKPorts: []uint16{2000}})
	f := &fakeFinder{busy: true, process: zk.Process{Client: &event.Client{Version: "3.4.5", Transport: "nio"}}}
	s.servers.finder = f
	const connected = 1 << 8 // RESET_ACTIVE_OPEN of bpf/event.h
	raw := rawReset(1000)
	raw.Owner.Tgid, raw.Owner.StartNs, raw.Flags = 7, 8, connected
	s.reset(&raw)
	if f.wanted == 0 {
		t.Fatal("no look was asked for")
	}
	s.tick(2000, 2000, false)
	if len(out.resets) != 0 {
		t.Fatal("not held")
	}
	f.busy = false
	s.tick(2001, 2001, false)
	if len(out.resets) != 1 {
		t.Fatalf("%d records after the look", len(out.resets))
	}
	if z := out.resets[0].ZooKeeper; z == nil || z.Client == nil || z.Client.Version != "3.4.5" {
		t.Errorf("%+v", z)
	}
	if len(s.servers.looked) != 0 {
		t.Errorf("%d records still wait", len(s.servers.looked))
	}

	// One that takes too long is not waited for.
	f.busy = true
	raw = rawReset(10_000)
	raw.Owner.Tgid, raw.Owner.StartNs, raw.Flags = 7, 8, connected
	s.reset(&raw)
	s.tick(10_000+holdMax, 10_000+holdMax, false)
	if len(out.resets) != 2 || out.resets[1].ZooKeeper == nil || out.resets[1].ZooKeeper.Client != nil {
		t.Errorf("%d records, the last %+v", len(out.resets), out.resets[len(out.resets)-1].ZooKeeper)
	}
}

// However many servers the command lines name, what is kept of them is bounded.
func TestNamedServersAreBounded(t *testing.T) {
	s := servers{named: map[zk.ProcessID][]zk.Endpoint{}}
	for i := range uint32(2 * localMax) {
		list := make([]zk.Endpoint, i%64)
		s.remember(zk.ProcessID{PID: i, Start: 1}, list)
		if len(s.named[zk.ProcessID{PID: i, Start: 1}]) != len(list) {
			t.Fatal("the last one is not kept")
		}
		n := 0
		for _, l := range s.named {
			n += len(l)
		}
		if n != s.names || n > namesMax || len(s.named) > localMax {
			t.Fatalf("%d servers of %d processes, counted %d", n, len(s.named), s.names)
		}
	}
}
