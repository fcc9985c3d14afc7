package diagnose

import (
	"fmt"

	"rstwhy/internal/event"
)

// One function for each cause. They claim only what the record holds: an
// address, never "the peer", where somebody between could have sent a reset.

func sayUnknown(r *event.Reset) string {
	if dropped(r) && r.Facts.SocketUntold {
		return "a reset came, and the kernel did not accept it; this kernel does not tell which socket refused it (Linux 6.11 and later do), and it was not found afterwards"
	}
	if dropped(r) {
		if d := dropReason(r); d != "" {
			return "a reset came, the kernel did not accept it, and the evidence does not tell more (the kernel's drop reason is " + clean(d) + ")"
		}
		return "a reset came, the kernel did not accept it, and the evidence does not tell more"
	}
	if reasonKnown(r) {
		return "the evidence does not tell why (the kernel's reason is " + clean(reason(r)) + ")"
	}
	return "the evidence does not tell why"
}

// sayClosedPort names the address: a listener on another one would not have
// taken the connection.
func sayClosedPort(r *event.Reset) string {
	if !r.Local.Address.IsValid() {
		return fmt.Sprintf("nobody listens on port %d", r.Local.Port)
	}
	return fmt.Sprintf("nobody listens on port %d of %s", r.Local.Port, r.Local.Address)
}

func sayGone(r *event.Reset) string {
	if r.Facts.TombstoneHit {
		return arrival(r) + " came for a connection that this host no longer has"
	}
	return arrival(r) + " came for a connection that this host does not have"
}

func sayAbandoned(r *event.Reset) string {
	return "the peer's answer to the connection attempt came " + after(r.Evidence.SinceClosedNS) + " " +
		hadEnded(r, "given the attempt up", "the attempt had been given up")
}

func sayUnread(r *event.Reset) string {
	s := ended(r, "closed the socket", "the socket was closed")
	join := " with "
	if r.EndedBy != nil && r.EndedBy.Kind != event.EndClose {
		join = ", leaving "
	}
	switch e := r.Evidence; {
	case e.UnreadBytes.Known && e.UnreadBytes.N <= 0:
		// Kernels without the after(end_seq, copied_seq) test in __tcp_close
		// also count a buffer that was read but not yet freed.
		return s + " while the kernel still counted received data as unread"
	case positive(e.UnreadBytes) && e.ReceivedBytes.Known && e.ReceivedBytes.N >= e.UnreadBytes.N:
		return fmt.Sprintf("%s%s%d of %d received %s unread", s, join, e.UnreadBytes.N, e.ReceivedBytes.N, plural(e.ReceivedBytes.N))
	case positive(e.UnreadBytes):
		return s + join + byteCount(e.UnreadBytes.N) + " unread"
	}
	return s + join + "received data unread"
}

func plural(n int64) string {
	if n == 1 {
		return "byte"
	}
	return "bytes"
}

// having joins an ending with a property of the socket: a process that exits
// or is killed does so with no option set.
func having(r *event.Reset) string {
	if r.EndedBy != nil && r.EndedBy.Kind != event.EndClose {
		return "; its socket had "
	}
	return " with "
}

func sayLinger(r *event.Reset) string {
	s := ended(r, "closed the socket", "the socket was closed") + having(r) + "SO_LINGER set to 0, which makes closing a reset"
	if positive(r.Evidence.UnsentBytes) {
		s += "; " + byteCount(r.Evidence.UnsentBytes.N) + " written before were never sent"
	}
	return s
}

func sayUnspec(r *event.Reset) string {
	if r.Owner != nil && r.EndedBy != nil && r.EndedBy.Kind == event.EndClose {
		return "this process dropped the connection with connect(AF_UNSPEC)"
	}
	return "the connection was dropped with connect(AF_UNSPEC)"
}

func sayLate(r *event.Reset) string {
	return arrival(r) + " came " + after(r.Evidence.SinceClosedNS) + " " +
		hadEnded(r, "closed the socket", "the socket had been closed")
}

func sayShutdown(r *event.Reset) string {
	if r.Facts.PeerFIN {
		return arrival(r) + " came after the peer's own end of the connection (FIN), and the socket was shut down in both directions"
	}
	return arrival(r) + " came " + after(r.Evidence.SinceClosedNS) + " " +
		hadEnded(r, "shut down the socket in both directions", "the socket had been shut down in both directions")
}

func sayStale(r *event.Reset) string {
	return fmt.Sprintf("%s came to the listening port %d and fits no connection of this host", arrival(r), r.Local.Port)
}

// sayListener says "gave up": close() and shutdown() both do it.
func sayListener(r *event.Reset) string {
	// The task that stopped it was not its owner, so nothing is said of that one.
	if r.Actor != nil && r.Actor.Kind == event.ActorKiller {
		return fmt.Sprintf("the listening socket was stopped from outside its process, as ss -K does, before this connection to port %d was accepted", r.Local.Port)
	}
	s := ended(r, "gave up the listening socket", "the listening socket was given up")
	return fmt.Sprintf("%s before this connection to port %d was accepted", s, r.Local.Port)
}

func sayOverflow(r *event.Reset) string {
	s := fmt.Sprintf("the queue of connections that wait for accept() on port %d is full", r.Local.Port)
	if e := r.Evidence; e.BacklogConnections.Known && e.BacklogLimit.Known {
		s += fmt.Sprintf(" (%d wait, the limit is %d)", e.BacklogConnections.N, e.BacklogLimit.N)
	}
	return s
}

func sayKeepalive(r *event.Reset) string {
	s := "the peer left the keepalive probes unanswered"
	if n := r.Evidence.ProbesUnanswered; positive(n) {
		s = fmt.Sprintf("the peer left %d keepalive probes unanswered", n.N)
		if n.N == 1 {
			s = "the peer left a keepalive probe unanswered"
		}
	}
	return s + silence(r)
}

func silence(r *event.Reset) string {
	if !positive(r.Evidence.SilenceNS) {
		return ""
	}
	return "; nothing came from it for " + human(r.Evidence.SilenceNS.N)
}

func sayUserTimeout(r *event.Reset) string {
	s := sayKeepalive(r)
	if t := r.Evidence.UserTimeoutMS; positive(t) {
		s += fmt.Sprintf("; the program's limit (TCP_USER_TIMEOUT) is %s", human(t.N*1e6))
	}
	return s
}

func sayLinger2(r *event.Reset) string {
	return ended(r, "closed the socket", "the socket was closed") + having(r) +
		"TCP_LINGER2 below zero, which resets instead of waiting for the peer's end"
}

func sayOrphan(*event.Reset) string {
	return "the kernel dropped the closed connection because there are too many of them or too little TCP memory"
}

func sayDestroyed(*event.Reset) string {
	return "the connection was destroyed from outside its process, as ss -K does"
}

func sayBadACK(r *event.Reset) string {
	if state(r) == "SYN_SENT" {
		return "an answer from the peer's address does not fit this host's connection attempt"
	}
	return "a packet from the peer's address does not fit the handshake of this connection"
}

func sayHandshakeSYN(r *event.Reset) string {
	return fmt.Sprintf("another connection request (SYN) came inside the handshake on port %d", r.Local.Port)
}

func sayMPTCP(r *event.Reset) string {
	if r.EndedBy != nil {
		return ended(r, "closed the Multipath TCP socket", "the Multipath TCP socket was closed") +
			", and the kernel reset this path of it"
	}
	return "the kernel's Multipath TCP reset this path"
}

func sayRefused(r *event.Reset) string {
	return fmt.Sprintf("the connection was refused: nobody listens on %s, or a firewall rejects it", r.Peer)
}

const fromPeer = "a reset from the peer's address "

func sayPeerReset(r *event.Reset) string {
	s := fromPeer + "ended the open connection"
	if positive(r.Evidence.SinceSentNS) && positive(r.Evidence.SentBytes) {
		s += " " + human(r.Evidence.SinceSentNS.N) + " after our last data"
	}
	return s + traffic(r)
}

func sayBeforeAccept(*event.Reset) string {
	return fromPeer + "ended the connection before any process had accepted it"
}

func saySentToClosed(r *event.Reset) string {
	s := "the peer had ended its side, and a reset from its address came while "
	if e := r.Evidence; e.SentBytes.Known && e.AckedBytes.Known && e.SentBytes.N > e.AckedBytes.N {
		verb := "were"
		if e.SentBytes.N-e.AckedBytes.N == 1 {
			verb = "was"
		}
		return fmt.Sprintf("%s%d of our %d %s %s not acknowledged", s, e.SentBytes.N-e.AckedBytes.N, e.SentBytes.N, plural(e.SentBytes.N), verb)
	}
	return s + "data of ours were not acknowledged"
}

func sayAfterEOF(r *event.Reset) string {
	return fromPeer + "came after the peer had ended its side" + traffic(r)
}

// sayAfterClose says "its side": the state is the same after shutdown().
func sayAfterClose(r *event.Reset) string {
	return fromPeer + "came " + after(r.Evidence.SinceClosedNS) + " " +
		hadEnded(r, "closed its side", "this host's side had been closed")
}
