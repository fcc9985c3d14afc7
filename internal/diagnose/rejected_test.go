package diagnose

import (
	"strings"
	"testing"

	"rstwhy/internal/event"
)

// refusal is a reset that the kernel did not accept, or that no socket sent.
type refusal struct {
	name   string
	hook   event.Hook
	socket event.SocketKind
	state  string
	drop   string
	facts  event.Facts
	effect event.Effect
	want   string
	says   string // what its sentence must hold
}

func (c *refusal) reset() *event.Reset {
	r := &event.Reset{Direction: event.Received, Hook: c.hook, Socket: c.socket, Facts: c.facts, Cause: c.want, Local: local, Peer: peer}
	if c.hook == event.HookFirewall {
		r.Direction = event.Sent
	}
	if c.state != "" {
		r.State = &c.state
	}
	if c.drop != "" {
		r.DropReason = &c.drop
	}
	if c.effect != "" {
		r.Effect = &c.effect
	}
	return r
}

func substate(s string) event.Facts { return event.Facts{TWSubstate: s, SegmentRST: true} }

var theRST = event.Facts{SegmentRST: true}

// rejected are the rows of KERNEL.md 9a as 6.18 shows them, what older kernels
// show of them, and the near misses.
var rejected = []refusal{
	{"kills SYN_RECV", event.HookDrop, event.SocketFull, "LISTEN", "", theRST, event.EffectKilled, PeerResetHandshake, "ended its connection attempt"},
	{"kills SYN_RECV, reason given", event.HookDrop, event.SocketFull, "LISTEN", "NOT_SPECIFIED", theRST, event.EffectKilled, PeerResetHandshake, "ended its connection attempt"},
	{"SYN_RECV, in window, inexact", event.HookDrop, event.SocketFull, "LISTEN", "", theRST, event.EffectIgnored, PeerResetHandshake, "was ignored"},
	{"SYN_RECV, fate not known", event.HookDrop, event.SocketFull, "LISTEN", "", theRST, event.EffectUnknown, PeerResetHandshake, "is not known"},
	{"SYN_RECV, out of window", event.HookDrop, event.SocketFull, "LISTEN", "TCP_OVERWINDOW", theRST, event.EffectIgnored, PeerResetHandshake, "was ignored"},
	{"a request socket", event.HookDrop, event.SocketRequest, "NEW_SYN_RECV", "", theRST, event.EffectKilled, PeerResetHandshake, "ended its connection attempt"},
	{"answer to a SYN cookie", event.HookDrop, event.SocketFull, "LISTEN", "TCP_RESET", theRST, event.EffectIgnored, ResetToNobody, "listening port 8080"},
	{"RST and ACK to a listener", event.HookDrop, event.SocketFull, "LISTEN", "TCP_FLAGS", theRST, event.EffectIgnored, ResetToNobody, "listening port 8080"},
	{"listener, a reason that nobody knows", event.HookDrop, event.SocketFull, "LISTEN", "TCP_NEW_IN_9", theRST, event.EffectUnknown, Unknown, "TCP_NEW_IN_9"},
	{"TIME_WAIT, exact", event.HookDrop, event.SocketTimewait, "TIME_WAIT", "", substate("TIME_WAIT"), event.EffectKilled, PeerResetTimewait, "both sides had closed"},
	{"TIME_WAIT, inexact", event.HookDrop, event.SocketTimewait, "TIME_WAIT", "", substate("TIME_WAIT"), event.EffectIgnored, PeerResetTimewait, "was ignored"},
	{"FIN_WAIT2 minisocket", event.HookDrop, event.SocketTimewait, "TIME_WAIT", "", substate("FIN_WAIT2"), event.EffectKilled, PeerResetTimewait, "the peer had not"},
	{"TIME_WAIT, old time stamp", event.HookDrop, event.SocketTimewait, "TIME_WAIT", "TCP_RFC7323_TW_PAWS", substate("TIME_WAIT"), event.EffectUnknown, PeerResetTimewait, "is not known"},
	{"in window, inexact", event.HookDrop, event.SocketFull, "ESTABLISHED", "TCP_RESET", theRST, event.EffectIgnored, ResetChallenged, "not believed; the connection goes on"},
	{"in window, inexact, closing", event.HookDrop, event.SocketFull, "FIN_WAIT1", "TCP_RESET", theRST, event.EffectIgnored, ResetChallenged, "not believed"},
	{"out of window, right", event.HookDrop, event.SocketFull, "ESTABLISHED", "TCP_INVALID_SEQUENCE", theRST, event.EffectIgnored, ResetOutOfWindow, "outside the window"},
	{"out of window, left", event.HookDrop, event.SocketFull, "CLOSE_WAIT", "TCP_OLD_SEQUENCE", theRST, event.EffectIgnored, ResetOutOfWindow, "outside the window"},
	{"out of window, 6.1 names no socket", event.HookDrop, event.SocketNone, "", "TCP_INVALID_SEQUENCE", theRST, event.EffectUnknown, ResetOutOfWindow, "outside the window"},
	{"bad checksum", event.HookDrop, event.SocketNone, "", "TCP_CSUM", theRST, event.EffectIgnored, ResetFiltered, "checksum is wrong (TCP_CSUM)"},
	{"no socket", event.HookDrop, event.SocketNone, "", "NO_SOCKET", theRST, event.EffectIgnored, ResetToNobody, "does not have"},
	{"socket closed while it waited", event.HookDrop, event.SocketFull, "CLOSE", "TCP_CLOSE", theRST, event.EffectIgnored, ResetToNobody, "just ended"},
	{"no MD5 signature", event.HookDrop, event.SocketFull, "ESTABLISHED", "TCP_MD5NOTFOUND", theRST, event.EffectIgnored, ResetFiltered, "has no TCP-MD5"},
	{"MD5 signature, no key", event.HookDrop, event.SocketFull, "ESTABLISHED", "TCP_MD5UNEXPECTED", theRST, event.EffectIgnored, ResetFiltered, "knows no key"},
	{"MD5 wrong", event.HookDrop, event.SocketFull, "ESTABLISHED", "TCP_MD5FAILURE", theRST, event.EffectIgnored, ResetFiltered, "signature is wrong"},
	{"AO wrong", event.HookDrop, event.SocketFull, "ESTABLISHED", "TCP_AOFAILURE", theRST, event.EffectIgnored, ResetFiltered, "TCP-AO signature is wrong"},
	{"IPsec", event.HookDrop, event.SocketNone, "", "XFRM_POLICY", theRST, event.EffectIgnored, ResetFiltered, "IPsec"},
	{"nft drop", event.HookDrop, event.SocketNone, "", "NETFILTER_DROP", theRST, event.EffectIgnored, ResetFiltered, "netfilter rule of this host dropped it"},
	{"socket filter", event.HookDrop, event.SocketFull, "ESTABLISHED", "SOCKET_FILTER", theRST, event.EffectIgnored, ResetFiltered, "filter on the socket"},
	{"filtered before a listener", event.HookDrop, event.SocketFull, "LISTEN", "SOCKET_FILTER", theRST, event.EffectIgnored, ResetFiltered, "filter on the socket"},
	{"SYN_SENT, no ACK", event.HookDrop, event.SocketFull, "SYN_SENT", "TCP_RESET", theRST, event.EffectIgnored, ResetUnexpectedHandshake, "does not fit"},
	{"SYN_SENT, bad ACK", event.HookDrop, event.SocketFull, "SYN_SENT", "TCP_INVALID_ACK_SEQUENCE", theRST, event.EffectIgnored, ResetUnexpectedHandshake, "does not acknowledge"},
	{"6.1: one of four, nobody knows which", event.HookDrop, event.SocketNone, "", "TCP_RESET", theRST, event.EffectUnknown, Unknown, "drop reason is TCP_RESET"},
	{"5.10: nothing known", event.HookDrop, event.SocketNone, "", "", theRST, event.EffectUnknown, Unknown, "did not accept it"},
	{"local sender is none", event.HookReceive, event.SocketFull, "ESTABLISHED", "", event.Facts{HasSocket: true, NoLocalSender: true}, event.EffectKilled, ResetNotSentHere, "no socket here sent one"},
	{"refused by no local sender", event.HookReceive, event.SocketFull, "SYN_SENT", "", event.Facts{HasSocket: true, NoLocalSender: true}, event.EffectRefused, ResetNotSentHere, "no socket here sent one"},
	{"not accepted, no local sender", event.HookDrop, event.SocketFull, "ESTABLISHED", "TCP_RESET", event.Facts{SegmentRST: true, NoLocalSender: true}, event.EffectIgnored, ResetChallenged, "not believed"},
	{"firewall", event.HookFirewall, event.SocketNone, "", "", theRST, "", FirewallReject, "from [2001:db8::1]:2181 to 192.168.1.143:8080"},
	{"firewall, forwarded", event.HookFirewall, event.SocketNone, "", "", event.Facts{SegmentRST: true, Forwarded: true}, "", FirewallReject, "that this host was forwarding"},
}

func TestRejectedSentences(t *testing.T) {
	for i := range rejected {
		c := &rejected[i]
		if got := Sentence(c.reset()); !strings.Contains(got, c.says) {
			t.Errorf("%s: %q does not say %q", c.name, got, c.says)
		}
	}
}

// What the pipeline knows of the firewall is said, and nothing is guessed.
func TestNotSentHere(t *testing.T) {
	r := rejected[0].reset()
	r.Hook, r.Cause = event.HookReceive, ResetNotSentHere
	if k := ActorOf(r); k != event.ActorUnknown {
		t.Errorf("actor %s although nobody saw who made it", k)
	}
	r.Actor = &event.Actor{Kind: event.ActorFirewall}
	if s, k := Sentence(r), ActorOf(r); k != event.ActorFirewall || !strings.Contains(s, "a netfilter rule of this host (REJECT") || strings.Contains(s, "forged") {
		t.Errorf("actor %s: %s", k, s)
	}
}

// With the effect unknown, no sentence may say what became of the connection.
func TestUnknownEffectClaimsNothing(t *testing.T) {
	for i := range rejected {
		r := rejected[i].reset()
		if r.Hook != event.HookDrop {
			continue
		}
		unknown := event.EffectUnknown
		for _, e := range []*event.Effect{nil, &unknown} {
			r.Effect = e
			if s := Sentence(r); strings.Contains(s, "goes on") || strings.Contains(s, " ended its connection attempt") || strings.Contains(s, "removed what was left of a") {
				t.Errorf("%s: %q", rejected[i].name, s)
			}
		}
	}
}

func TestHostileDropReason(t *testing.T) {
	reason := "TCP_MD5\x1b[31m" + strings.Repeat("X", 1<<20) + "\n"
	for _, cause := range []string{ResetFiltered, Unknown} {
		if got := Sentence(&event.Reset{Direction: event.Received, Hook: event.HookDrop, Cause: cause, DropReason: &reason}); len(got) > 300 || strings.ContainsAny(got, "\x1b\n") {
			t.Errorf("unsafe sentence: %.100q", got)
		}
	}
}
