package diagnose

import (
	"testing"

	"rstwhy/internal/event"
)

// shape builds the record of one reset from what the kernel shows.
type shape struct {
	dir    event.Direction
	socket event.SocketKind
	state  string
	reason string
	facts  event.Facts
	ev     event.Evidence
	ended  *event.Ending
}

func (s shape) reset() *event.Reset {
	r := &event.Reset{Direction: s.dir, Socket: s.socket, Facts: s.facts, Evidence: s.ev, EndedBy: s.ended}
	if s.state != "" {
		r.State = &s.state
	}
	if s.reason != "" {
		r.Reason = &s.reason
	}
	return r
}

type classified struct {
	name string
	shape
	want string
}

func finRead(f event.Facts) event.Facts { f.PeerFIN = true; return f }

func closed(f event.Facts) event.Facts { f.StateAtReset = "CLOSE"; return f }

var (
	closeEnd    = &event.Ending{Kind: event.EndClose}
	closing     = event.Facts{StateAtReset: "CLOSE", HasSocket: true, HasSocketFile: true, ShutdownRcv: true, ShutdownSend: true, LockOwned: true}
	lingering   = event.Facts{StateAtReset: "CLOSE", HasSocket: true, ShutdownRcv: true, ShutdownSend: true, LingerOn: true, LockOwned: true}
	syn         = event.Facts{TriggerSeen: true, TriggerSYN: true}
	ack         = event.Facts{TriggerSeen: true, TriggerACK: true}
	synAck      = event.Facts{TriggerSeen: true, TriggerSYN: true, TriggerACK: true}
	hundred     = event.Evidence{UnreadBytes: event.Num(100), ReceivedBytes: event.Num(100)}
	noneUnread  = event.Evidence{UnreadBytes: event.Num(0)}
	fullBacklog = event.Evidence{BacklogConnections: event.Num(1), BacklogLimit: event.Num(0)}
)

func tomb(f event.Facts, state string) event.Facts {
	f.TombstoneHit, f.TombstoneState = true, state
	return f
}

// observed are the rows measured on 6.18 (state, reason and flags as the
// kernel showed them for each provoked cause).
var observed = []classified{
	{"closed port", shape{event.Sent, event.SocketNone, "", "NO_SOCKET", syn, event.Evidence{}, nil}, ClosedPort},
	{"close with 100 unread", shape{event.Sent, event.SocketFull, "ESTABLISHED", "TCP_ABORT_ON_CLOSE", closing, hundred, closeEnd}, UnreadData},
	{"SO_LINGER 0", shape{event.Sent, event.SocketFull, "ESTABLISHED", "TCP_STATE", lingering, noneUnread, closeEnd}, LingerZero},
	{"SO_LINGER 0 and unread", shape{event.Sent, event.SocketFull, "ESTABLISHED", "TCP_ABORT_ON_CLOSE", lingering, hundred, closeEnd}, UnreadData},
	{"FIN sent, then peer data", shape{event.Sent, event.SocketTimewait, "TIME_WAIT", "TCP_TIMEWAIT_SOCKET", ack, event.Evidence{}, nil}, LateData},
	{"orphan in FIN_WAIT2, peer data", shape{event.Sent, event.SocketFull, "FIN_WAIT2", "TCP_ABORT_ON_DATA", closed(event.Facts{TriggerSeen: true, TriggerACK: true, Dead: true, ShutdownRcv: true, ShutdownSend: true}), event.Evidence{}, closeEnd}, LateData},
	{"shutdown both ways, peer data", shape{event.Sent, event.SocketFull, "FIN_WAIT2", "TCP_ABORT_ON_DATA", closed(event.Facts{TriggerSeen: true, TriggerACK: true, HasSocket: true, ShutdownRcv: true, ShutdownSend: true}), event.Evidence{}, closeEnd}, DataAfterShutdown},
	{"socket gone, data", shape{event.Sent, event.SocketNone, "", "NO_SOCKET", ack, event.Evidence{}, nil}, GoneConnection},
	{"ACK to listener", shape{event.Sent, event.SocketFull, "LISTEN", "TCP_FLAGS", ack, event.Evidence{}, nil}, StaleSegment},
	{"SYN+ACK to listener", shape{event.Sent, event.SocketFull, "LISTEN", "TCP_FLAGS", synAck, event.Evidence{}, nil}, StaleSegment},
	{"listener closed, child not accepted", shape{event.Sent, event.SocketFull, "ESTABLISHED", "TCP_STATE", closed(event.Facts{LockOwned: true}), noneUnread, closeEnd}, ListenerClosed},
	{"overflow with abort_on_overflow", shape{event.Sent, event.SocketFull, "LISTEN", "INVALID_SYN", ack, fullBacklog, nil}, BacklogOverflow},
	{"ss -K established", shape{event.Sent, event.SocketFull, "ESTABLISHED", "TCP_STATE", event.Facts{StateAtReset: "ESTABLISHED", HasSocket: true, LockOwned: true}, noneUnread, nil}, SocketDestroyed},
	{"connect(AF_UNSPEC)", shape{event.Sent, event.SocketFull, "ESTABLISHED", "TCP_STATE", closed(event.Facts{HasSocket: true, LockOwned: true}), noneUnread, closeEnd}, ConnectUnspec},
	{"keepalive", shape{event.Sent, event.SocketFull, "ESTABLISHED", "TCP_KEEPALIVE_TIMEOUT", event.Facts{StateAtReset: "ESTABLISHED", HasSocket: true}, event.Evidence{ProbesUnanswered: event.Num(2)}, nil}, KeepaliveTimeout},
	{"user timeout, idle", shape{event.Sent, event.SocketFull, "ESTABLISHED", "TCP_KEEPALIVE_TIMEOUT", event.Facts{StateAtReset: "ESTABLISHED", HasSocket: true}, event.Evidence{ProbesUnanswered: event.Num(1), UserTimeoutMS: event.Num(1500)}, nil}, UserTimeout},
	{"TCP_LINGER2 -1", shape{event.Sent, event.SocketFull, "FIN_WAIT2", "TCP_ABORT_ON_LINGER", closed(event.Facts{Dead: true, Linger2: -1, LockOwned: true, ShutdownRcv: true, ShutdownSend: true}), noneUnread, closeEnd}, Linger2Abort},
	{"bogus ACK in SYN_SENT", shape{event.Sent, event.SocketFull, "SYN_SENT", "TCP_INVALID_ACK_SEQUENCE", event.Facts{TriggerSeen: true, TriggerACK: true, StateAtReset: "SYN_SENT", HasSocket: true}, event.Evidence{}, nil}, BadHandshakeACK},
	{"MPTCP close unread", shape{event.Sent, event.SocketFull, "ESTABLISHED", "TCP_ABORT_ON_CLOSE", event.Facts{MPTCP: true, StateAtReset: "ESTABLISHED", HasSocket: true, LockOwned: true}, noneUnread, closeEnd}, MPTCPAbort},
	{"MPTCP listener closed, second RST", shape{event.Sent, event.SocketFull, "ESTABLISHED", "TCP_STATE", event.Facts{MPTCP: true, StateAtReset: "CLOSE"}, noneUnread, closeEnd}, MPTCPAbort},
}

// derived are rows read in the kernel's source, kernels without reasons, and
// the near misses that an order of rows could get wrong.
var derived = []classified{
	{"no reason: close unread", shape{event.Sent, event.SocketFull, "ESTABLISHED", "", closing, hundred, closeEnd}, UnreadData},
	{"no reason: close unread, after the peer's FIN", shape{event.Sent, event.SocketFull, "CLOSE_WAIT", "", finRead(closing), hundred, closeEnd}, UnreadData},
	{"no reason: linger 0, after the peer's FIN", shape{event.Sent, event.SocketFull, "CLOSE_WAIT", "", finRead(lingering), noneUnread, closeEnd}, LingerZero},
	{"6.10: reason says nothing", shape{event.Sent, event.SocketFull, "ESTABLISHED", "NOT_SPECIFIED", lingering, noneUnread, closeEnd}, LingerZero},
	{"no reason: keepalive", shape{event.Sent, event.SocketFull, "ESTABLISHED", "", event.Facts{StateAtReset: "ESTABLISHED", HasSocket: true}, event.Evidence{ProbesUnanswered: event.Num(3)}, nil}, KeepaliveTimeout},
	{"ss -K while probes are out", shape{event.Sent, event.SocketFull, "ESTABLISHED", "TCP_STATE", event.Facts{StateAtReset: "ESTABLISHED", HasSocket: true, LockOwned: true}, event.Evidence{ProbesUnanswered: event.Num(1)}, nil}, SocketDestroyed},
	{"unaccepted child holds a request", shape{event.Sent, event.SocketFull, "ESTABLISHED", "TCP_STATE", closed(event.Facts{LockOwned: true}), hundred, closeEnd}, ListenerClosed},
	{"unaccepted child, no reason", shape{event.Sent, event.SocketFull, "ESTABLISHED", "", closed(event.Facts{LingerOn: true}), hundred, closeEnd}, ListenerClosed},
	{"connect(AF_UNSPEC) with unread data", shape{event.Sent, event.SocketFull, "ESTABLISHED", "TCP_STATE", closed(event.Facts{HasSocket: true}), hundred, closeEnd}, ConnectUnspec},
	{"connect(AF_UNSPEC), unread, no reason", shape{event.Sent, event.SocketFull, "CLOSE_WAIT", "", closed(event.Facts{HasSocket: true, ShutdownRcv: true}), hundred, closeEnd}, ConnectUnspec},
	{"linger time of 5 s is no linger 0", shape{event.Sent, event.SocketFull, "ESTABLISHED", "TCP_STATE", closed(event.Facts{HasSocket: true, LingerOn: true, LingerSeconds: 5, ShutdownRcv: true, ShutdownSend: true}), noneUnread, closeEnd}, Unknown},
	{"linger 0 with unsent data", shape{event.Sent, event.SocketFull, "LAST_ACK", "TCP_DISCONNECT_WITH_DATA", lingering, noneUnread, closeEnd}, LingerZero},
	{"orphan over the limit at close", shape{event.Sent, event.SocketFull, "FIN_WAIT1", "TCP_ABORT_ON_MEMORY", closed(event.Facts{Dead: true, Linger2: -1}), noneUnread, closeEnd}, OrphanMemory},
	{"orphan's timer out of resources", shape{event.Sent, event.SocketFull, "FIN_WAIT1", "TCP_ABORT_ON_MEMORY", event.Facts{StateAtReset: "FIN_WAIT1", Dead: true}, event.Evidence{RetransmitSegments: event.Num(3)}, nil}, OrphanMemory},
	{"orphan in FIN_WAIT2, timer, linger2", shape{event.Sent, event.SocketFull, "FIN_WAIT2", "TCP_STATE", event.Facts{StateAtReset: "FIN_WAIT2", Dead: true, Linger2: -1}, noneUnread, nil}, Linger2Abort},
	{"the ACK of our FIN with linger2", shape{event.Sent, event.SocketFull, "FIN_WAIT1", "TCP_ABORT_ON_DATA", closed(event.Facts{TriggerSeen: true, TriggerACK: true, Dead: true, Linger2: -1}), event.Evidence{SegmentBytes: event.Num(0)}, closeEnd}, Linger2Abort},
	{"shut down one way only", shape{event.Sent, event.SocketFull, "FIN_WAIT2", "TCP_ABORT_ON_DATA", closed(event.Facts{TriggerSeen: true, TriggerACK: true, HasSocket: true, ShutdownSend: true}), event.Evidence{}, nil}, Unknown},
	{"tombstone of a closed socket", shape{event.Sent, event.SocketNone, "", "NO_SOCKET", tomb(ack, "FIN_WAIT2"), event.Evidence{}, closeEnd}, LateData},
	{"tombstone, nobody closed", shape{event.Sent, event.SocketNone, "", "NO_SOCKET", tomb(ack, "ESTABLISHED"), event.Evidence{}, nil}, GoneConnection},
	{"tombstone behind a listener", shape{event.Sent, event.SocketFull, "LISTEN", "TCP_FLAGS", tomb(ack, "FIN_WAIT1"), event.Evidence{}, closeEnd}, LateData},
	{"tombstone behind a listener, nobody closed", shape{event.Sent, event.SocketFull, "LISTEN", "TCP_FLAGS", tomb(ack, "ESTABLISHED"), event.Evidence{}, nil}, GoneConnection},
	{"SYN to a port with a tombstone", shape{event.Sent, event.SocketNone, "", "NO_SOCKET", tomb(syn, "FIN_WAIT2"), event.Evidence{}, closeEnd}, ClosedPort},
	{"SYN+ACK after the connect was given up", shape{event.Sent, event.SocketNone, "", "NO_SOCKET", tomb(synAck, "SYN_SENT"), event.Evidence{}, closeEnd}, ConnectAbandoned},
	{"SYN+ACK out of the blue", shape{event.Sent, event.SocketNone, "", "NO_SOCKET", synAck, event.Evidence{}, nil}, GoneConnection},
	{"stray ACK while the queue is full", shape{event.Sent, event.SocketFull, "LISTEN", "TCP_FLAGS", ack, fullBacklog, nil}, StaleSegment},
	{"overflow, no reason", shape{event.Sent, event.SocketFull, "LISTEN", "", ack, fullBacklog, nil}, BacklogOverflow},
	{"INVALID_SYN, queue not full", shape{event.Sent, event.SocketFull, "LISTEN", "INVALID_SYN", ack, event.Evidence{BacklogConnections: event.Num(0), BacklogLimit: event.Num(5)}, nil}, Unknown},
	{"SYN inside a handshake", shape{event.Sent, event.SocketFull, "LISTEN", "INVALID_SYN", syn, fullBacklog, nil}, HandshakeSYN},
	{"bad ACK in SYN_RECV", shape{event.Sent, event.SocketFull, "SYN_RECV", "TCP_ACK_UNSENT_DATA", ack, event.Evidence{}, nil}, BadHandshakeACK},
	{"MP_JOIN refused", shape{event.Sent, event.SocketFull, "LISTEN", "MPTCP_RST_EPROHIBIT", syn, event.Evidence{}, nil}, MPTCPAbort},
	{"stray ACK to an MPTCP listener", shape{event.Sent, event.SocketFull, "LISTEN", "TCP_FLAGS", event.Facts{TriggerSeen: true, TriggerACK: true, MPTCP: true}, event.Evidence{}, nil}, StaleSegment},
	{"refused", shape{event.Received, event.SocketFull, "SYN_SENT", "", event.Facts{HasSocket: true}, event.Evidence{}, nil}, ConnectRefused},
	{"received while established", shape{event.Received, event.SocketFull, "ESTABLISHED", "", event.Facts{HasSocket: true}, event.Evidence{}, nil}, PeerReset},
	{"received in the accept queue", shape{event.Received, event.SocketFull, "ESTABLISHED", "", event.Facts{}, event.Evidence{}, nil}, PeerResetBeforeAccept},
	{"received, our data met a closed peer", shape{event.Received, event.SocketFull, "CLOSE_WAIT", "", event.Facts{HasSocket: true}, event.Evidence{SentBytes: event.Num(10), AckedBytes: event.Num(4)}, nil}, SentToClosedPeer},
	{"received after EOF, all acknowledged", shape{event.Received, event.SocketFull, "CLOSE_WAIT", "", event.Facts{HasSocket: true}, event.Evidence{SentBytes: event.Num(10), AckedBytes: event.Num(10)}, nil}, PeerResetAfterEOF},
	{"received after close", shape{event.Received, event.SocketFull, "LAST_ACK", "", event.Facts{Dead: true}, event.Evidence{}, closeEnd}, PeerResetAfterClose},
	{"received in the handshake", shape{event.Received, event.SocketFull, "SYN_RECV", "", event.Facts{}, event.Evidence{}, nil}, PeerResetHandshake},
	{"nothing known", shape{event.Sent, event.SocketFull, "", "", event.Facts{}, event.Evidence{}, nil}, Unknown},
}

func TestClassify(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range append(append([]classified{}, observed...), derived...) {
		if got := Classify(c.reset()); got != c.want {
			t.Errorf("%s: cause %s, want %s", c.name, got, c.want)
		}
		seen[c.want] = true
	}
	for _, c := range rejected {
		if got := Classify(c.reset()); got != c.want {
			t.Errorf("%s: cause %s, want %s", c.name, got, c.want)
		}
		seen[c.want] = true
	}
	for _, c := range causes {
		if !seen[c.ID] {
			t.Errorf("cause %s has no test", c.ID)
		}
	}
}

// TestClassifyRows: a row whose cause no table knows would print as nonsense.
func TestClassifyRows(t *testing.T) {
	for _, table := range tables {
		for _, r := range table {
			if _, ok := LookupCause(r.cause); !ok {
				t.Errorf("row %q gives the unknown cause %s", r.name, r.cause)
			}
		}
	}
}
