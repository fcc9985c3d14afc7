package pipeline

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"rstwhy/internal/diagnose"
	"rstwhy/internal/event"
	"rstwhy/internal/netns"
	"rstwhy/internal/probe"
)

// TestCountedIn: which counters a record must have grown, by what the kernel's
// functions do.
func TestCountedIn(t *testing.T) {
	killed, ignored := event.EffectKilled, event.EffectIgnored
	for _, tt := range []struct {
		name  string
		state string
		r     event.Reset
		want  []string
	}{
		{"received while open", "ESTABLISHED", event.Reset{Hook: event.HookReceive}, []string{"EstabResets"}},
		{"received after the peer's FIN", "CLOSE_WAIT", event.Reset{Hook: event.HookReceive}, []string{"EstabResets"}},
		{"received after our FIN", "FIN_WAIT2", event.Reset{Hook: event.HookReceive}, nil},
		{"refused", "SYN_SENT", event.Reset{Hook: event.HookReceive}, []string{"AttemptFails"}},
		{"subflow", "ESTABLISHED", event.Reset{Hook: event.HookReceive, Facts: event.Facts{MPTCP: true}}, nil},
		{"unread", "ESTABLISHED", event.Reset{Hook: event.HookSend, Cause: diagnose.UnreadData, Socket: event.SocketFull}, []string{"TCPAbortOnClose", "EstabResets"}},
		{"unread after our FIN", "FIN_WAIT2", event.Reset{Hook: event.HookSend, Cause: diagnose.UnreadData}, []string{"TCPAbortOnClose"}},
		{"linger", "CLOSE_WAIT", event.Reset{Hook: event.HookSend, Cause: diagnose.LingerZero}, []string{"TCPAbortOnData", "EstabResets"}},
		{"late data, socket there", "FIN_WAIT2", event.Reset{Hook: event.HookSend, Cause: diagnose.LateData, Socket: event.SocketFull, Facts: event.Facts{TriggerSeen: true}}, []string{"TCPAbortOnData"}},
		{"late data, socket gone", "", event.Reset{Hook: event.HookSend, Cause: diagnose.LateData, Socket: event.SocketTimewait, Facts: event.Facts{TriggerSeen: true}}, nil},
		{"closed port", "", event.Reset{Hook: event.HookSend, Cause: diagnose.ClosedPort, Socket: event.SocketNone, Facts: event.Facts{TriggerSeen: true}}, nil},
		{"keepalive", "ESTABLISHED", event.Reset{Hook: event.HookSend, Cause: diagnose.KeepaliveTimeout}, []string{"TCPAbortOnTimeout", "EstabResets"}},
		{"request killed", "LISTEN", event.Reset{Hook: event.HookDrop, Effect: &killed}, []string{"EmbryonicRsts", "AttemptFails"}},
		{"request lives", "LISTEN", event.Reset{Hook: event.HookDrop, Effect: &ignored}, nil},
		{"TIME_WAIT killed", "TIME_WAIT", event.Reset{Hook: event.HookDrop, Effect: &killed, Socket: event.SocketTimewait}, nil},
		{"firewall", "", event.Reset{Hook: event.HookFirewall}, nil},
	} {
		if tt.state != "" {
			tt.r.State = &tt.state
		}
		if got := countedIn(&tt.r); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestNoHits: where the kernel side's counts cannot be read, nothing is held
// against them, and the reason is told.
func TestNoHits(t *testing.T) {
	k := startCounters(netns.NewSpaces())
	k.attached(func() (map[uint32]probe.Hits, error) { return nil, errors.New("map is gone") })
	if c, err := net.Dial("tcp", refusing(t)); err == nil { // OutRsts of this namespace grows
		c.Close()
		t.Fatal("the port is open")
	}
	k.detaching()
	k.detached()
	own, err := netns.Own()
	if err != nil {
		t.Fatal(err)
	}
	told := false
	for _, c := range k.checks(probe.Counts{}) {
		if c.Counter != "OutRsts" {
			continue
		}
		told = told || c.NetNS == own
		if c.Agree != nil || !strings.HasSuffix(c.Explanation, "map is gone") {
			t.Errorf("held against nothing: %+v", c)
		}
	}
	if !told {
		t.Error("that OutRsts of this namespace was not compared is not told")
	}
	var none *counters
	none.tick(1)
	none.count(&event.Reset{})
	none.detaching()
	if got := none.checks(probe.Counts{}); got == nil || len(got) != 0 {
		t.Errorf("without counters: %v", got)
	}
}

// refusing is an address of this host on which nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// dropped is a RST that the kernel dropped on a listener, with its request's
// fate unknown.
func dropped(at uint64, seq uint32) probe.ResetEvent {
	e := rawReset(at)
	e.Hook, e.Direction, e.State, e.TriggerSeq, e.Cookie = hookDrop, received, stateListen, seq, 0
	return e
}

func newAskingSession(t *testing.T) (*session, *memory) {
	s, out := newTestSession(t, &fakeKernel{}, Options{})
	s.asks = newAsks(netns.NewSpaces(), false)
	t.Cleanup(s.asks.close)
	return s, out
}

// TestOvertaken: an inexact RST does not kill the request that a later one still
// meets, whatever is left when the kernel is asked.
func TestOvertaken(t *testing.T) {
	for _, tt := range []struct {
		name string
		seq  uint32
		want event.Effect
	}{{"same connection", 1500, event.EffectIgnored}, {"another one with its ports", 1500 + 1<<20, event.EffectUnknown}} {
		s, out := newAskingSession(t)
		feed(s, dropped(5*ms, 1000), dropped(6*ms, tt.seq))
		s.tick(900*ms, 900*ms, false)
		if len(out.resets) != 2 {
			t.Fatalf("%d records", len(out.resets))
		}
		if got := *out.resets[0].Effect; got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		if got := *out.resets[1].Effect; got != event.EffectUnknown { // an answer that may have come is not an earlier tick's
			t.Errorf("the last one: %s", got)
		}
		if len(s.asks.open) != 0 {
			t.Errorf("%d connections are still remembered", len(s.asks.open))
		}
	}
}

// TestAnswerWaits: a dropped RST waits for its answer and one tick more, and not
// for ever.
func TestAnswerWaits(t *testing.T) {
	own, err := netns.Own()
	if err != nil {
		t.Fatal(err)
	}
	s, out := newAskingSession(t)
	e := dropped(5*ms, 1000)
	e.Netns = own // 192.0.2.1 has no connection here
	feed(s, e)
	if s.tick(50*ms, 50*ms, false); len(out.resets) != 0 {
		t.Fatal("did not wait")
	}
	for range 100 {
		time.Sleep(5 * time.Millisecond)
		if s.tick(60*ms, 60*ms, false); len(out.resets) > 0 {
			break
		}
	}
	if len(out.resets) != 1 {
		t.Fatalf("%d records", len(out.resets))
	}
	want := event.EffectKilled
	if netns.NewModules().Survivors() != nil {
		want = event.EffectUnknown
	}
	if got := *out.resets[0].Effect; got != want {
		t.Errorf("effect %s, want %s", got, want)
	}

	s, out = newAskingSession(t)
	e.TimeNs, e.TriggerSeq = 5*ms, 1000
	feed(s, e)
	if s.tick(900*ms, 900*ms, false); len(out.resets) != 1 || *out.resets[0].Effect != event.EffectUnknown {
		t.Errorf("past its time: %d records", len(out.resets))
	}
}

// TestOthersNamespaceNotAsked: of a namespace that --netns leaves out nothing is
// asked, so that no answer is waited for and no trouble with it told.
func TestOthersNamespaceNotAsked(t *testing.T) {
	s, _ := newAskingSession(t)
	s.opts.Select.NetNS = Terms[uint32]{Any: []uint32{1}}
	for _, space := range []uint32{1, 2} {
		e := dropped(uint64(space)*ms, 1000)
		e.Netns = space
		feed(s, e)
	}
	if len(s.queue) != 2 {
		t.Fatalf("%d records wait", len(s.queue))
	}
	for _, p := range s.queue {
		if asked := p.ask != nil; asked != (p.raw.Netns == 1) {
			t.Errorf("namespace %d: asked %v", p.raw.Netns, asked)
		}
	}
}

// TestNATKept: a translation becomes part of the raw record, so that a replay
// has it.
func TestNATKept(t *testing.T) {
	e := rawReset(1)
	if probe.NATOpen(&e) {
		t.Error("a record of no hook asks")
	}
	e.Hook = 1
	if !probe.NATOpen(&e) {
		t.Fatal("a full socket does not ask")
	}
	local, peer := probe.Ends(&e)
	want := event.NAT{
		Source: event.Endpoint{Address: local.Addr(), Port: 1}, Destination: event.Endpoint{Address: peer.Addr(), Port: 2},
		ReplySource: event.Endpoint{Address: peer.Addr(), Port: 3}, ReplyDestination: event.Endpoint{Address: local.Addr(), Port: 4},
	}
	probe.SetNAT(&e, &want)
	names := testNames()
	r, err := names.Reset(&e, probe.Clock{})
	if err != nil || r.NAT == nil || *r.NAT != want || probe.NATOpen(&e) {
		t.Errorf("%+v, %v", r.NAT, err)
	}
}
