package diagnose

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"rstwhy/internal/event"
)

func TestActorOf(t *testing.T) {
	byName := map[string]event.ActorKind{
		"closed port": event.ActorKernel, "close with 100 unread": event.ActorProcess, "SO_LINGER 0": event.ActorProcess,
		"connect(AF_UNSPEC)": event.ActorProcess, "listener closed, child not accepted": event.ActorProcess,
		"TCP_LINGER2 -1": event.ActorProcess, "orphan in FIN_WAIT2, timer, linger2": event.ActorTimer,
		"the ACK of our FIN with linger2": event.ActorKernel, "orphan over the limit at close": event.ActorProcess,
		"orphan's timer out of resources": event.ActorTimer, "keepalive": event.ActorTimer, "user timeout, idle": event.ActorTimer,
		"ss -K established": event.ActorKiller, "MPTCP close unread": event.ActorProcess, "MPTCP listener closed, second RST": event.ActorKernel,
		"MP_JOIN refused": event.ActorKernel, "overflow with abort_on_overflow": event.ActorKernel, "ACK to listener": event.ActorKernel,
		"orphan in FIN_WAIT2, peer data": event.ActorKernel, "shutdown both ways, peer data": event.ActorKernel,
		"refused": event.ActorPeer, "received while established": event.ActorPeer, "nothing known": event.ActorUnknown,
	}
	for _, c := range slices.Concat(observed, derived) {
		r := c.reset()
		r.Cause = c.want
		got, want := ActorOf(r), byName[c.name]
		delete(byName, c.name)
		if want != "" && got != want {
			t.Errorf("%s (%s): actor %s, want %s", c.name, c.want, got, want)
		}
		// A passive reset answers a segment: no process, timer or killer acted.
		if r.Direction == event.Sent && r.Facts.TriggerSeen && c.want != Unknown && got != event.ActorKernel {
			t.Errorf("%s (%s): actor %s of a passive reset", c.name, c.want, got)
		}
	}
	for name := range byName {
		t.Errorf("no classified reset is called %q", name)
	}
	for i := range rejected {
		want := event.ActorPeer
		switch rejected[i].want {
		case FirewallReject:
			want = event.ActorFirewall
		case Unknown, ResetNotSentHere:
			want = event.ActorUnknown
		}
		if got := ActorOf(rejected[i].reset()); got != want {
			t.Errorf("%s: actor %s, want %s", rejected[i].name, got, want)
		}
	}
	for _, c := range causes {
		if c.Actor == "" {
			t.Errorf("cause %s has no actor", c.ID)
		}
	}
	if ActorOf(&event.Reset{Cause: "no-such-cause"}) != event.ActorUnknown {
		t.Error("an unknown cause has an actor")
	}
}

func TestExpected(t *testing.T) {
	from := func(addr string) event.Endpoint { return event.Endpoint{Address: netip.MustParseAddr(addr), Port: 1} }
	twin, none := "1", event.Num(0)
	quick := event.Evidence{SentBytes: none, ReceivedBytes: none, AgeNS: event.Num(int64(5 * time.Millisecond))}
	slow := quick
	slow.AgeNS = event.Num(int64(5 * time.Second))
	accepted := event.Facts{ActiveOpenKnow: true}
	verdict := func(rule string, c event.Confidence) *event.Verdict { return &event.Verdict{Rule: rule, Confidence: c} }
	for _, c := range []struct {
		name string
		r    event.Reset
		want bool
	}{
		{"closed port, from outside", event.Reset{Cause: ClosedPort, Peer: from("203.0.113.9")}, true},
		{"closed port, from outside, IPv6", event.Reset{Cause: ClosedPort, Peer: from("2a00:1450::1")}, true},
		{"closed port, from the same network", event.Reset{Cause: ClosedPort, Peer: from("10.1.2.3")}, false},
		{"closed port, from a cloud's inside", event.Reset{Cause: ClosedPort, Peer: from("100.64.7.7")}, false},
		{"closed port, unique local", event.Reset{Cause: ClosedPort, Peer: from("fd00::1")}, false},
		{"closed port, loopback", event.Reset{Cause: ClosedPort, Peer: from("127.0.0.1")}, false},
		{"closed port, this host's public address", event.Reset{Cause: ClosedPort, Peer: from("203.0.113.9"), Local: from("203.0.113.9")}, false},
		{"closed port, the client is on this host", event.Reset{Cause: ClosedPort, Peer: from("203.0.113.9"), Twin: &twin}, false},
		{"closed port, no address", event.Reset{Cause: ClosedPort}, false},
		{"half-open scan", event.Reset{Cause: PeerResetHandshake, Peer: from("203.0.113.9")}, true},
		{"half-open, inside", event.Reset{Cause: PeerResetHandshake, Peer: from("192.168.1.1")}, false},
		{"port check", event.Reset{Cause: PeerResetBeforeAccept, Facts: accepted, Evidence: quick}, true},
		{"client that gave up waiting", event.Reset{Cause: PeerResetBeforeAccept, Facts: accepted, Evidence: slow}, false},
		{"port check, accepted", event.Reset{Cause: PeerReset, Facts: accepted, Evidence: quick}, true},
		{"our connection, reset at once", event.Reset{Cause: PeerReset, Facts: event.Facts{ActiveOpenKnow: true, ActiveOpen: true}, Evidence: quick}, false},
		{"who connected is not known", event.Reset{Cause: PeerReset, Evidence: quick}, false},
		{"with a request", event.Reset{Cause: PeerReset, Facts: accepted, Evidence: event.Evidence{SentBytes: none, ReceivedBytes: event.Num(9), AgeNS: none}}, false},
		{"to nobody", event.Reset{Cause: ResetToNobody}, true},
		{"out of window", event.Reset{Cause: ResetOutOfWindow}, false},
		{"challenged", event.Reset{Cause: ResetChallenged}, false},
		{"TIME_WAIT", event.Reset{Cause: PeerResetTimewait, Facts: event.Facts{TWSubstate: "TIME_WAIT"}}, true},
		{"FIN_WAIT2", event.Reset{Cause: PeerResetTimewait, Facts: event.Facts{TWSubstate: "FIN_WAIT2"}}, false},
		{"late FIN", event.Reset{Cause: LateData, EndedBy: closeEnd, Evidence: event.Evidence{SegmentBytes: none}}, true},
		{"late FIN of a killed process", event.Reset{Cause: LateData, EndedBy: sigkill, Evidence: event.Evidence{SegmentBytes: none}}, false},
		{"late data", event.Reset{Cause: LateData, EndedBy: closeEnd, Evidence: event.Evidence{SegmentBytes: event.Num(20)}}, false},
		{"late segment of unknown size", event.Reset{Cause: LateData, EndedBy: closeEnd}, false},
		{"late data, harmless by rule", event.Reset{Cause: LateData, Verdict: verdict("zookeeper-late-server-data", event.Likely), Evidence: event.Evidence{SegmentBytes: event.Num(20)}}, true},
		{"a rule that warns", event.Reset{Cause: UnreadData, Verdict: verdict("zookeeper-1702", event.Proven)}, false},
		{"no more than possibly harmless", event.Reset{Cause: UnreadData, Verdict: verdict("zookeeper-c-client-close", event.Possible)}, false},
		{"unknown", event.Reset{Cause: Unknown}, false},
	} {
		if got := Expected(&c.r); got != c.want {
			t.Errorf("%s: expected %t, want %t", c.name, got, c.want)
		}
	}
}

func TestHarmlessRulesSaySo(t *testing.T) {
	n := 0
	for _, r := range rules {
		if said := strings.Contains(r.Title, "harmless"); said != r.Harmless {
			t.Errorf("rule %s: harmless %t, and its title is %q", r.ID, r.Harmless, r.Title)
		}
		if r.Harmless {
			n++
		}
	}
	if n == 0 {
		t.Error("no rule is harmless")
	}
	for _, x := range expectations {
		if _, ok := LookupCause(x.Cause); x.Cause != "" && !ok || x.When == "" || x.Because == "" {
			t.Errorf("expectation %+v names no cause or gives no reason", x)
		}
	}
}
