package diagnose

import (
	"slices"

	"rstwhy/internal/event"
)

// The ids of the causes. They are append-only: scripts and dashboards hold
// them.
const (
	ClosedPort            = "closed-port"
	GoneConnection        = "gone-connection"
	ConnectAbandoned      = "connect-abandoned"
	UnreadData            = "unread-data"
	LingerZero            = "linger-zero"
	ConnectUnspec         = "connect-unspec"
	LateData              = "late-data"
	DataAfterShutdown     = "data-after-shutdown"
	StaleSegment          = "stale-segment"
	ListenerClosed        = "listener-closed"
	BacklogOverflow       = "backlog-overflow"
	KeepaliveTimeout      = "keepalive-timeout"
	UserTimeout           = "user-timeout"
	Linger2Abort          = "linger2-abort"
	OrphanMemory          = "orphan-memory"
	SocketDestroyed       = "socket-destroyed"
	BadHandshakeACK       = "bad-handshake-ack"
	HandshakeSYN          = "handshake-syn"
	MPTCPAbort            = "mptcp-abort"
	ConnectRefused        = "connect-refused"
	PeerReset             = "peer-reset"
	PeerResetBeforeAccept = "peer-reset-before-accept"
	SentToClosedPeer      = "sent-to-closed-peer"
	PeerResetAfterEOF     = "peer-reset-after-eof"
	PeerResetAfterClose   = "peer-reset-after-close"
	PeerResetHandshake    = "peer-reset-handshake"
	// Of what arrived and was not accepted, and of firewalls.
	PeerResetTimewait        = "peer-reset-timewait"
	ResetChallenged          = "reset-challenged"
	ResetOutOfWindow         = "reset-out-of-window"
	ResetUnexpectedHandshake = "reset-unexpected-handshake"
	ResetToNobody            = "reset-to-nobody"
	ResetFiltered            = "reset-filtered"
	ResetNotSentHere         = "reset-not-sent-here"
	FirewallReject           = "firewall-reject"
	Unknown                  = "unknown"
)

// Cause is one reason why a reset was sent or received.
type Cause struct {
	ID        string
	Direction event.Direction // empty: either
	Actor     event.ActorKind // who causes such a reset; actor.go has the exceptions
	Title     string
	Meaning   string // one paragraph in plain words
	Do        string // what to do about it
	Sources   []string
	Sentence  func(*event.Reset) string // true in every word for the record at hand
}

// Causes gives the table of causes, in the order of the documentation.
func Causes() []Cause { return slices.Clone(causes) }

var causes = slices.Concat(sentCauses, receivedCauses, rejectedCauses, []Cause{unknownCause})

// LookupCause finds a cause by its id.
func LookupCause(id string) (Cause, bool) {
	for _, c := range causes {
		if c.ID == id {
			return c, true
		}
	}
	return Cause{}, false
}

// Sentence says in one sentence why the reset of this record happened.
func Sentence(r *event.Reset) string {
	if c, ok := LookupCause(r.Cause); ok {
		return c.Sentence(r)
	}
	return unknownCause.Sentence(r)
}

var unknownCause = Cause{
	ID:       Unknown,
	Actor:    event.ActorUnknown,
	Title:    "the evidence does not tell",
	Meaning:  "What the kernel showed fits no cause in this table. rstwhy does not guess.",
	Do:       "Record the session (rstwhy trace --record FILE) and report it together with the kernel's version.",
	Sources:  nil,
	Sentence: sayUnknown,
}

var receivedCauses = []Cause{
	{
		ID: ConnectRefused, Direction: event.Received, Actor: event.ActorPeer, Title: "connection refused",
		Meaning: "The answer to this host's connection attempt was a reset: nobody listens on that port, or a firewall rejects the connection in the server's name. The process got ECONNREFUSED.",
		Do:      "Check that the server runs and listens on that address (ss -ltn on its host), then the firewalls between.",
		Sources: []string{"net/ipv4/tcp_input.c: tcp_rcv_synsent_state_process, tcp_reset", "RFC 9293 3.10.7.3"}, Sentence: sayRefused,
	},
	{
		ID: PeerReset, Direction: event.Received, Actor: event.ActorPeer, Title: "reset while the connection was open",
		Meaning: "A reset with the peer's address ended a connection that both sides still had open. Usually the peer's program closed with our data unread, was killed, or set SO_LINGER to 0; a firewall, load balancer or NAT that lost the connection can send one in its name.",
		Do:      "Run rstwhy trace on the peer's host: it names the process and the cause. If it saw no reset leave, something between the two hosts sent it.",
		Sources: []string{"net/ipv4/tcp_input.c: tcp_reset", "RFC 9293 3.10.7.4"}, Sentence: sayPeerReset,
	},
	{
		ID: PeerResetBeforeAccept, Direction: event.Received, Actor: event.ActorPeer, Title: "reset before the connection was accepted",
		Meaning: "The handshake was complete, but no process had accepted the connection yet when a reset with the peer's address ended it. Port checks of load balancers and clients that give up waiting do this.",
		Do:      "If it is a health check, nothing. If clients give up, see whether the server accepts too slowly (ss -ltn: Recv-Q).",
		Sources: []string{"net/ipv4/tcp_input.c: tcp_reset", "net/ipv4/inet_connection_sock.c: inet_csk_reqsk_queue_add"}, Sentence: sayBeforeAccept,
	},
	{
		ID: SentToClosedPeer, Direction: event.Received, Actor: event.ActorPeer, Title: "our data met a closed peer",
		Meaning: "The peer had ended its side of the connection, and data that this host sent was not acknowledged when the reset came: the peer's program had closed and could not take it. The process got EPIPE.",
		Do:      "Treat end of file from the peer as the end of the connection: stop writing and reconnect. For pooled connections keep the idle time here below the server's.",
		Sources: []string{"net/ipv4/tcp_input.c: tcp_reset (CLOSE_WAIT: EPIPE)", "RFC 9293 3.6"}, Sentence: saySentToClosed,
	},
	{
		ID: PeerResetAfterEOF, Direction: event.Received, Actor: event.ActorPeer, Title: "reset after the peer had ended its side",
		Meaning: "The peer had ended its side of the connection in order, and a reset followed although nothing of this host's data is known to be unacknowledged. Usually the peer's program closed with our data unread.",
		Do:      "Run rstwhy trace on the peer's host to see what its process left unread. Closing soon after the peer's end avoids it.",
		Sources: []string{"net/ipv4/tcp_input.c: tcp_reset, tcp_fin"}, Sentence: sayAfterEOF,
	},
	{
		ID: PeerResetAfterClose, Direction: event.Received, Actor: event.ActorPeer, Title: "reset after this host had closed its side",
		Meaning: "This host had closed its side (close or shutdown) and waited for the peer to finish; a reset came instead. The connection was ending in any case.",
		Do:      "Usually nothing. If the last data matter, wait for the peer's end of file before closing.",
		Sources: []string{"net/ipv4/tcp_input.c: tcp_reset"}, Sentence: sayAfterClose,
	},
	{
		ID: PeerResetHandshake, Direction: event.Received, Actor: event.ActorPeer, Title: "reset during the handshake",
		Meaning: "A reset with the peer's address came for a connection attempt to this host before the handshake was complete; the field effect tells whether it ended it. Half-open port scans do this, and clients that give up.",
		Do:      "Usually nothing. If it is a real client, look for a firewall or a second host with the same address.",
		Sources: []string{"net/ipv4/tcp_minisocks.c: tcp_check_req", "net/ipv4/tcp_input.c: tcp_reset"}, Sentence: sayPeerHandshake,
	},
}
