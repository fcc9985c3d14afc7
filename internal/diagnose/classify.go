package diagnose

import (
	"slices"
	"strings"

	"rstwhy/internal/event"
)

// row is one line of the classifier: a cause and the named condition that
// makes it.
type row struct {
	cause string
	name  string
	when  func(*event.Reset) bool
}

// tables are the rows in their order. A reset belongs to one table, by its
// direction, its hook and whether a segment provoked it.
var tables = [][]row{firewallRows, activeRows, passiveRows, droppedRows, receivedRows}

// Classify gives the id of the cause. The first row that holds wins; where
// none does the cause is "unknown". The kernel's reason is one piece of
// evidence among others: TCP_STATE is a bucket of five causes, INVALID_SYN
// includes the overflow of the accept queue, TCP_ABORT_ON_LINGER means
// TCP_LINGER2, and kernels below 6.10 give none.
func Classify(r *event.Reset) string {
	for _, table := range tables {
		for _, c := range table {
			if c.when(r) {
				return c.cause
			}
		}
	}
	return Unknown
}

func firewalled(r *event.Reset) bool {
	return r.Direction == event.Sent && r.Hook == event.HookFirewall
}

func active(r *event.Reset) bool {
	return r.Direction == event.Sent && !firewalled(r) && !r.Facts.TriggerSeen
}

func passive(r *event.Reset) bool {
	return r.Direction == event.Sent && !firewalled(r) && r.Facts.TriggerSeen
}

func stateIn(r *event.Reset, states ...string) bool { return slices.Contains(states, state(r)) }

func closedAtReset(r *event.Reset) bool { return r.Facts.StateAtReset == "CLOSE" }

func bothShut(r *event.Reset) bool { return r.Facts.ShutdownRcv && r.Facts.ShutdownSend }

func neverAccepted(r *event.Reset) bool { return !r.Facts.HasSocket && !r.Facts.Dead }

// lingerZero: __tcp_close sets both shutdown bits before it looks at SO_LINGER.
func lingerZero(r *event.Reset) bool {
	return r.Facts.LingerOn && r.Facts.LingerSeconds == 0 && bothShut(r)
}

func positive(n event.Number) bool { return n.Known && n.N > 0 }

// timerGaveUp: tcp_keepalive_timer, the only sender outside the socket lock
// that leaves a state other than CLOSE behind on a socket that a process holds.
func timerGaveUp(r *event.Reset) bool {
	if !active(r) || closedAtReset(r) {
		return false
	}
	if reasonKnown(r) {
		return reason(r) == "TCP_KEEPALIVE_TIMEOUT"
	}
	return !r.Facts.LockOwned && !r.Facts.Dead && positive(r.Evidence.ProbesUnanswered)
}

// overflowed: tcp_check_req's listen_overflow. Where the kernel gives a reason
// it is INVALID_SYN; any other one belongs to a segment that only happened to
// meet a full queue.
func overflowed(r *event.Reset) bool {
	e := r.Evidence
	return triggerACK(r) && !triggerSYN(r) && (!reasonKnown(r) || reason(r) == "INVALID_SYN") &&
		e.BacklogConnections.Known && e.BacklogLimit.Known && e.BacklogConnections.N > e.BacklogLimit.N
}

// activeRows: resets that no segment provoked (tcp_send_active_reset).
var activeRows = []row{
	{MPTCPAbort, "a subflow of an MPTCP connection", func(r *event.Reset) bool {
		return active(r) && (r.Facts.MPTCP || strings.HasPrefix(reason(r), "MPTCP_"))
	}},
	{UserTimeout, "the keepalive timer gave up, TCP_USER_TIMEOUT set (tcp_keepalive_timer)", func(r *event.Reset) bool {
		return timerGaveUp(r) && positive(r.Evidence.UserTimeoutMS)
	}},
	{KeepaliveTimeout, "the keepalive timer gave up (tcp_keepalive_timer)", timerGaveUp},
	// tcp_release_cb runs a deferred write timer inside the socket lock, so the
	// memory row stands before the one that trusts the lock.
	{OrphanMemory, "an orphan's timer found too little memory (tcp_out_of_resources)", func(r *event.Reset) bool {
		return active(r) && !closedAtReset(r) && r.Facts.Dead && (reason(r) == "TCP_ABORT_ON_MEMORY" ||
			!reasonKnown(r) && !r.Facts.LockOwned && stateIn(r, "FIN_WAIT1", "LAST_ACK", "CLOSING"))
	}},
	{SocketDestroyed, "a task held the lock of a socket that was not closed (tcp_abort)", func(r *event.Reset) bool {
		return active(r) && !closedAtReset(r) && r.Facts.StateAtReset != "" && r.Facts.LockOwned &&
			(!reasonKnown(r) || reason(r) == "TCP_STATE")
	}},
	{Linger2Abort, "an orphan in FIN_WAIT2 with TCP_LINGER2 below zero (tcp_keepalive_timer)", func(r *event.Reset) bool {
		return active(r) && r.Facts.StateAtReset == "FIN_WAIT2" && r.Facts.Dead && r.Facts.Linger2 < 0
	}},
	// Before unread data: a child that nobody accepted may hold its client's
	// request unread, and was reset for another reason.
	{ListenerClosed, "a child that was never accepted (inet_child_forget)", func(r *event.Reset) bool {
		return active(r) && closedAtReset(r) && neverAccepted(r)
	}},
	// Without a reason the shutdown bits tell close() from connect(AF_UNSPEC),
	// which may leave data unread as well.
	{UnreadData, "closed with unread data (__tcp_close, data_was_unread)", func(r *event.Reset) bool {
		return active(r) && closedAtReset(r) && (reason(r) == "TCP_ABORT_ON_CLOSE" ||
			!reasonKnown(r) && bothShut(r) && positive(r.Evidence.UnreadBytes))
	}},
	{Linger2Abort, "closed in FIN_WAIT2 with TCP_LINGER2 below zero (__tcp_close)", func(r *event.Reset) bool {
		return active(r) && closedAtReset(r) && r.Facts.Dead &&
			(reason(r) == "TCP_ABORT_ON_LINGER" || !reasonKnown(r) && r.Facts.Linger2 < 0)
	}},
	{OrphanMemory, "closed while orphans or memory were over the limit (tcp_check_oom)", func(r *event.Reset) bool {
		return active(r) && closedAtReset(r) && r.Facts.Dead &&
			(reason(r) == "TCP_ABORT_ON_MEMORY" || !reasonKnown(r))
	}},
	{LingerZero, "closed with SO_LINGER 0 (__tcp_close, tcp_disconnect)", func(r *event.Reset) bool {
		return active(r) && closedAtReset(r) && r.Facts.HasSocket && lingerZero(r) &&
			(!reasonKnown(r) || reason(r) == "TCP_STATE" || reason(r) == "TCP_DISCONNECT_WITH_DATA")
	}},
	{ConnectUnspec, "disconnected, not closed (tcp_disconnect)", func(r *event.Reset) bool {
		return active(r) && closedAtReset(r) && r.Facts.HasSocket &&
			(!bothShut(r) || !r.Facts.LingerOn && stateIn(r, "FIN_WAIT1", "FIN_WAIT2", "LAST_ACK", "CLOSING")) &&
			(!reasonKnown(r) || reason(r) == "TCP_STATE" || reason(r) == "TCP_DISCONNECT_WITH_DATA")
	}},
}

func noSocket(r *event.Reset) bool { return passive(r) && r.Socket == event.SocketNone }

func listening(r *event.Reset) bool {
	return passive(r) && r.Socket == event.SocketFull && state(r) == "LISTEN"
}

// tornDown: tcp_rcv_state_process ran tcp_reset or tcp_done before the RST.
func tornDown(r *event.Reset) bool {
	return passive(r) && r.Socket == event.SocketFull && closedAtReset(r) &&
		stateIn(r, "FIN_WAIT1", "FIN_WAIT2", "CLOSING", "LAST_ACK", "CLOSE_WAIT", "TIME_WAIT", "CLOSE")
}

// passiveRows: resets that answer a segment (tcp_v4_send_reset, tcp_v6_send_reset).
var passiveRows = []row{
	{MPTCPAbort, "refused by MPTCP (subflow_v4_route_req, subflow_syn_recv_sock)", func(r *event.Reset) bool {
		return passive(r) && (strings.HasPrefix(reason(r), "MPTCP_") ||
			r.Facts.MPTCP && r.Socket == event.SocketFull && state(r) != "LISTEN")
	}},
	{ClosedPort, "a SYN to a port without a socket (tcp_v4_rcv, no_tcp_socket)", func(r *event.Reset) bool {
		return noSocket(r) && r.Facts.TriggerSYN && !r.Facts.TriggerACK
	}},
	{ConnectAbandoned, "a SYN+ACK for a connect that was given up", func(r *event.Reset) bool {
		return (noSocket(r) || listening(r)) && r.Facts.TriggerSYN && r.Facts.TriggerACK &&
			r.Facts.TombstoneHit && r.Facts.TombstoneState == "SYN_SENT"
	}},
	{LateData, "a segment for a connection that the process had ended", func(r *event.Reset) bool {
		return (noSocket(r) || listening(r)) && !r.Facts.TriggerSYN && r.Facts.TombstoneHit && r.EndedBy != nil
	}},
	{GoneConnection, "a segment for a connection without a socket", func(r *event.Reset) bool {
		return noSocket(r) || listening(r) && !r.Facts.TriggerSYN && r.Facts.TombstoneHit
	}},
	{LateData, "a segment for a FIN_WAIT2 minisocket (tcp_timewait_state_process, TCP_TW_RST)", func(r *event.Reset) bool {
		return passive(r) && r.Socket == event.SocketTimewait
	}},
	{BacklogOverflow, "the accept queue is full (tcp_check_req, listen_overflow)", func(r *event.Reset) bool {
		return (listening(r) || passive(r) && r.Socket == event.SocketRequest) && overflowed(r)
	}},
	{HandshakeSYN, "a SYN inside a handshake (tcp_check_req, embryonic_reset)", func(r *event.Reset) bool {
		return (listening(r) || passive(r) && r.Socket == event.SocketRequest) && r.Facts.TriggerSYN &&
			(!r.Facts.TriggerACK || reason(r) == "INVALID_SYN")
	}},
	{StaleSegment, "an ACK to a listener (tcp_rcv_state_process)", func(r *event.Reset) bool {
		return listening(r) && r.Facts.TriggerACK && reason(r) != "INVALID_SYN"
	}},
	{BadHandshakeACK, "an ACK that does not fit the handshake", func(r *event.Reset) bool {
		return passive(r) && (r.Socket == event.SocketFull && stateIn(r, "SYN_SENT", "SYN_RECV", "NEW_SYN_RECV") ||
			r.Socket == event.SocketRequest && r.Facts.TriggerACK && reason(r) != "INVALID_SYN")
	}},
	{Linger2Abort, "an orphan reached FIN_WAIT2 with TCP_LINGER2 below zero (tcp_rcv_state_process)", func(r *event.Reset) bool {
		return tornDown(r) && r.Facts.Dead && r.Facts.Linger2 < 0 &&
			r.Evidence.SegmentBytes.Known && r.Evidence.SegmentBytes.N == 0
	}},
	{LateData, "data for an orphan (tcp_rcv_state_process, TCPAbortOnData)", func(r *event.Reset) bool {
		return tornDown(r) && r.Facts.Dead
	}},
	{DataAfterShutdown, "data for a socket shut down both ways (tcp_rcv_state_process, TCPAbortOnData)", func(r *event.Reset) bool {
		return tornDown(r) && !r.Facts.Dead && bothShut(r)
	}},
}

// received: the kernel accepted the RST.
func received(r *event.Reset) bool {
	return r.Direction == event.Received && r.Hook != event.HookDrop
}

// receivedRows: resets that arrived, by what the local side was doing (tcp_reset).
var receivedRows = []row{
	{ResetNotSentHere, "with an address of this host as its sender, and no socket here sent it", func(r *event.Reset) bool {
		return received(r) && r.Facts.NoLocalSender
	}},
	{ConnectRefused, "while connecting", func(r *event.Reset) bool {
		return received(r) && state(r) == "SYN_SENT"
	}},
	{PeerResetHandshake, "while the peer's handshake was open", func(r *event.Reset) bool {
		return received(r) && (stateIn(r, "SYN_RECV", "NEW_SYN_RECV") || r.Socket == event.SocketRequest)
	}},
	{PeerResetBeforeAccept, "in the accept queue", func(r *event.Reset) bool {
		return received(r) && r.Socket == event.SocketFull && stateIn(r, "ESTABLISHED", "CLOSE_WAIT") && neverAccepted(r)
	}},
	{PeerReset, "while established", func(r *event.Reset) bool {
		return received(r) && state(r) == "ESTABLISHED"
	}},
	{SentToClosedPeer, "after the peer's FIN, with our data unacknowledged", func(r *event.Reset) bool {
		e := r.Evidence
		return received(r) && state(r) == "CLOSE_WAIT" && e.SentBytes.Known && e.AckedBytes.Known && e.AckedBytes.N < e.SentBytes.N
	}},
	{PeerResetAfterEOF, "after the peer's FIN", func(r *event.Reset) bool {
		return received(r) && state(r) == "CLOSE_WAIT"
	}},
	{PeerResetAfterClose, "after our FIN", func(r *event.Reset) bool {
		return received(r) && stateIn(r, "FIN_WAIT1", "FIN_WAIT2", "CLOSING", "LAST_ACK")
	}},
}
