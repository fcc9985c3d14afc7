package lab

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rstwhy/internal/event"
)

// bothEnds is one RST as both ends of this host saw it, told rightly.
func bothEnds() ([]Truth, []event.Reset) {
	t, r := example()
	r.ID, r.Hook, r.Packets = "s1", event.HookSend, 1
	r.Actor = &event.Actor{Kind: event.ActorProcess, Process: r.Owner}
	t.Hook, t.Actor, t.ActorPIDs = event.HookSend, event.ActorProcess, []int{42}
	u, q := t, r
	u.Direction, u.Local, u.Peer, u.Owners, u.Comm = event.Received, t.Peer, t.Local, []int{50}, "lab-cli-2"
	u.Cause, u.EndedBy, u.Hook, u.Actor, u.ActorPIDs = "peer-reset", nil, event.HookReceive, event.ActorPeer, nil
	u.Effect = event.EffectKilled
	killed := event.EffectKilled
	q.ID, q.Direction, q.Local, q.Peer, q.Hook, q.Cause, q.EndedBy, q.Effect = "r1", event.Received, r.Peer, r.Local, event.HookReceive, "peer-reset", nil, &killed
	q.Owner = &event.Process{PID: 50, Comm: "lab-cli-2", StartTime: r.Owner.StartTime}
	q.Actor = &event.Actor{Kind: event.ActorPeer, Process: r.Owner}
	r.Twin, q.Twin = &q.ID, &r.ID
	r.TwinOwner, q.TwinOwner = q.Owner, r.Owner
	truths, resets := []Truth{t, u}, []event.Reset{r, q}
	resets[0].Twin, resets[1].Twin = &resets[1].ID, &resets[0].ID
	pairUp(truths)
	return truths, resets
}

func TestCompareTruth(t *testing.T) {
	stranger := event.Process{PID: 99, Comm: "stranger"}
	ignored, nobody := event.EffectIgnored, "x9"
	nat := &event.NAT{Source: event.Endpoint{Address: netip.MustParseAddr("10.0.0.1"), Port: 1}}
	for _, tt := range []struct {
		name  string
		lie   func(t []Truth, r []event.Reset)
		whats []Field
	}{
		{"right", func([]Truth, []event.Reset) {}, nil},
		{"hook", func(_ []Truth, r []event.Reset) { r[0].Hook = event.HookFirewall }, []Field{HookField}},
		{"effect", func(_ []Truth, r []event.Reset) { r[1].Effect = &ignored }, []Field{EffectField}},
		{"no effect", func(_ []Truth, r []event.Reset) { r[1].Effect = nil }, []Field{EffectField}},
		{"effect of two", func(t []Truth, r []event.Reset) { t[1].Effect, r[1].Effect = "killed|ignored", &ignored }, nil},
		{"no actor", func(_ []Truth, r []event.Reset) { r[0].Actor = nil }, []Field{ActorField}},
		{"actor of another kind", func(_ []Truth, r []event.Reset) { r[0].Actor = &event.Actor{Kind: event.ActorTimer} }, []Field{ActorField}},
		{"wrong actor", func(_ []Truth, r []event.Reset) {
			r[0].Actor = &event.Actor{Kind: event.ActorProcess, Process: &stranger}
		}, []Field{ActorField}},
		{"actor without its process", func(_ []Truth, r []event.Reset) { r[0].Actor = &event.Actor{Kind: event.ActorProcess} }, []Field{ActorField}},
		{"a process for a timer", func(t []Truth, r []event.Reset) {
			t[0].Actor, t[0].ActorPIDs = event.ActorTimer, nil
			r[0].Actor = &event.Actor{Kind: event.ActorTimer, Process: &stranger}
		}, []Field{ActorField}},
		{"no twin", func(_ []Truth, r []event.Reset) { r[0].Twin = nil }, []Field{TwinField}},
		{"unknown twin", func(_ []Truth, r []event.Reset) { r[1].Twin = &nobody }, []Field{TwinField}},
		{"itself for a twin", func(_ []Truth, r []event.Reset) { r[0].Twin = &r[0].ID }, []Field{TwinField}},
		{"twin of another pair", func(t []Truth, _ []event.Reset) { t[0].Pair += 1000 }, []Field{TwinField, TwinField}},
		{"wrong twin owner", func(_ []Truth, r []event.Reset) { r[0].TwinOwner = &stranger }, []Field{TwinField}},
		{"no twin owner", func(_ []Truth, r []event.Reset) { r[0].TwinOwner = nil }, []Field{TwinField}},
		{"packets", func(t []Truth, _ []event.Reset) { t[0].Packets = 2 }, []Field{PacketsField}},
		{"more packets", func(t []Truth, r []event.Reset) { t[0].Packets, r[0].Packets = 2, 3 }, nil},
		{"no nat", func(t []Truth, _ []event.Reset) { t[0].NAT = nat }, []Field{NATField}},
		{"nat", func(t []Truth, r []event.Reset) { t[0].NAT = nat; n := *nat; r[0].NAT = &n }, nil},
		{"other nat", func(t []Truth, r []event.Reset) { t[0].NAT, r[0].NAT = nat, &event.NAT{} }, []Field{NATField}},
		{"others", func(t []Truth, r []event.Reset) { t[0].Others, r[0].Others = []int{99}, []event.Process{stranger} }, nil},
		{"no others", func(t []Truth, _ []event.Reset) { t[0].Others = []int{99} }, []Field{OthersField}},
		{"the owner among the others", func(_ []Truth, r []event.Reset) { r[0].Others = []event.Process{*r[0].Owner} }, []Field{OthersField}},
		{"only one end told", func(t []Truth, r []event.Reset) {
			t[1].Optional, r[1].Local.Port = true, 9
			r[1].Owner, r[0].Twin = &stranger, nil
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			truths, told := bothEnds()
			tt.lie(truths, told)
			j := Compare(truths, told, func(pid int) bool { return pid == 42 || pid == 50 })
			var whats []Field
			for _, f := range j.Findings {
				whats = append(whats, f.Field)
			}
			if d := cmp.Diff(tt.whats, whats); d != "" {
				t.Errorf("findings (-want +got):\n%s%v", d, j.Findings)
			}
		})
	}
}

// TestPairUp: only where both sides are sure, and in order.
func TestPairUp(t *testing.T) {
	a, z := netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2")
	s := Truth{Direction: event.Sent, Local: a, Peer: z}
	r := Truth{Direction: event.Received, Local: z, Peer: a}
	for _, tt := range []struct {
		name   string
		truths []Truth
		want   [][2]int
	}{
		{"one", []Truth{s, r}, [][2]int{{0, 1}}},
		{"two in order", []Truth{s, s, r, r}, [][2]int{{0, 2}, {1, 3}}},
		{"no receiver", []Truth{s}, nil},
		{"one of two arrived", []Truth{s, s, r}, nil},
		{"repeats", []Truth{s, r.repeats()}, nil},
		{"one that may come before", []Truth{s.maybe(), s, r}, nil},
		{"one that may follow", []Truth{s, r, s.maybe(), r.maybe()}, [][2]int{{0, 1}}},
		{"the other way", []Truth{s, {Direction: event.Received, Local: a, Peer: z}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pairUp(tt.truths)
			var got [][2]int
			for i := range tt.truths {
				for j := i + 1; j < len(tt.truths); j++ {
					if tt.truths[i].Pair != 0 && tt.truths[i].Pair == tt.truths[j].Pair {
						got = append(got, [2]int{i, j})
					}
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("pairs (-want +got):\n%s", d)
			}
		})
	}
}

func TestToldAsStorms(t *testing.T) {
	truth, _ := example()
	missing := Finding{Field: Missing, Truth: &truth}
	storm := event.Storm{
		Count: 1, Direction: event.Sent, Cause: "unread-data", LocalPort: 2181, NetNS: 7,
		Remote: netip.MustParsePrefix("127.0.0.0/24"), Owner: &event.Process{PID: 42},
	}
	with := func(change func(*event.Storm)) event.Storm {
		s := storm
		change(&s)
		return s
	}
	for _, tt := range []struct {
		name     string
		findings []Finding
		storm    event.Storm
		told     int
	}{
		{"told", []Finding{missing}, storm, 1},
		{"one too many", []Finding{missing, missing}, storm, 1},
		{"found, but wrong", []Finding{{Field: CauseField, Truth: &truth}}, storm, 0},
		{"another cause", []Finding{missing}, with(func(s *event.Storm) { s.Cause = "linger-zero" }), 0},
		{"another direction", []Finding{missing}, with(func(s *event.Storm) { s.Direction = event.Received }), 0},
		{"another port", []Finding{missing}, with(func(s *event.Storm) { s.LocalPort = 1 }), 0},
		{"any port", []Finding{missing}, with(func(s *event.Storm) { s.LocalPort = 0 }), 1},
		{"another owner", []Finding{missing}, with(func(s *event.Storm) { s.Owner = &event.Process{PID: 43} }), 0},
		{"another remote", []Finding{missing}, with(func(s *event.Storm) { s.Remote = netip.MustParsePrefix("10.0.0.0/8") }), 0},
		{"another namespace", []Finding{missing}, with(func(s *event.Storm) { s.NetNS = 8 }), 0},
	} {
		rest, told := ToldAsStorms(tt.findings, []event.Storm{tt.storm})
		if told != tt.told || len(rest) != len(tt.findings)-tt.told {
			t.Errorf("%s: %d told, %d left", tt.name, told, len(rest))
		}
	}
}

// TestSteer: the means to steer softirqs work where the kernel has RPS.
func TestSteer(t *testing.T) {
	needRoot(t)
	l, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.holder("one").try("steer", -1, "lo"); err != nil {
		t.Skipf("no RPS here: %v", err)
	}
	if _, err := l.holder("one").try("steer", -1, "no-such-device"); err == nil {
		t.Error("a device that is not there was steered")
	}
}
