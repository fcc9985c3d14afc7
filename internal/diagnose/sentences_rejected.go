package diagnose

import (
	"fmt"
	"strings"

	"rstwhy/internal/event"
)

// sayFirewall: the RST goes from local to peer, so what was rejected came from
// there. Where it had no ACK, the RST has one (nf_reject_ip_tcphdr_put).
func sayFirewall(r *event.Reset) string {
	what := "a segment"
	if strings.Contains(r.Evidence.SegmentFlags, ".") {
		what = "a segment without ACK (as of a new connection)"
	}
	if r.Facts.Forwarded {
		what += " that this host was forwarding"
	}
	if !r.Peer.Address.IsValid() || !r.Local.Address.IsValid() {
		return "a netfilter rule of this host rejected " + what + " with a reset"
	}
	return fmt.Sprintf("a netfilter rule of this host rejected %s with a reset; it went from %s to %s", what, r.Peer, r.Local)
}

// effect picks the words by what the RST did; nothing is claimed where it is
// not known.
func effect(r *event.Reset, killed, ignored, unknown string) string {
	switch {
	case r.Effect == nil:
	case *r.Effect == event.EffectKilled:
		return killed
	case *r.Effect == event.EffectIgnored:
		return ignored
	}
	return unknown
}

func sayTimewait(r *event.Reset) string {
	what := "a connection that had been closed here"
	switch r.Facts.TWSubstate {
	case "FIN_WAIT2":
		what = "a connection that this side had closed and the peer had not"
	case "TIME_WAIT":
		what = "a connection that both sides had closed already"
	}
	return effect(r,
		fromPeer+"removed what was left of "+what,
		fromPeer+"for "+what+" was ignored",
		fromPeer+"came for "+what+"; whether it removed what was left is not known")
}

func sayChallenged(r *event.Reset) string {
	return "a reset with the peer's address, in the window but with an inexact sequence number, was not believed" +
		effect(r, "", "; the connection goes on", "")
}

func sayOutOfWindow(r *event.Reset) string {
	return "a reset with the peer's address had a sequence number outside the window of the connection and was ignored"
}

func sayUnexpected(r *event.Reset) string {
	if dropReason(r) == "TCP_INVALID_ACK_SEQUENCE" {
		return fromPeer + "does not acknowledge this host's connection attempt, and was ignored"
	}
	return fromPeer + "does not fit this host's connection attempt, and was ignored"
}

func sayNobody(r *event.Reset) string {
	switch {
	case state(r) == "LISTEN":
		return fmt.Sprintf("a reset came to the listening port %d and fits no connection of this host", r.Local.Port)
	case dropReason(r) == "TCP_CLOSE":
		return "a reset came for a connection that had just ended"
	}
	return "a reset came for a connection that this host does not have"
}

func sayFiltered(r *event.Reset) string {
	if words := filteredWords(r); words != "" {
		return "a reset with the peer's address did not reach TCP: " + words + " (" + clean(dropReason(r)) + ")"
	}
	return "a reset with the peer's address did not reach TCP"
}

func sayNotSentHere(r *event.Reset) string {
	if r.Actor != nil && r.Actor.Kind == event.ActorFirewall {
		return "a netfilter rule of this host (REJECT with tcp-reset) reset the connection in the name of " + otherEnd(r)
	}
	return "the reset claims to come from " + otherEnd(r) + ", an address of this host, but no socket here sent one: a firewall rule here (REJECT with tcp-reset), or a forged segment"
}

func otherEnd(r *event.Reset) string {
	if !r.Peer.Address.IsValid() {
		return "the other end"
	}
	return r.Peer.String()
}

// sayPeerHandshake: kfree_skb tells that a RST met a connection request, and
// not what became of it.
func sayPeerHandshake(r *event.Reset) string {
	if !dropped(r) {
		return fromPeer + "ended the connection attempt before the handshake was complete"
	}
	return effect(r,
		fromPeer+"ended its connection attempt before the handshake was complete",
		fromPeer+"came for its open handshake and was ignored",
		fromPeer+"came for its open handshake; whether it ended it is not known")
}
