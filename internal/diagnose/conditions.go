package diagnose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"rstwhy/internal/event"
)

// not turns a condition round.
func not(c Condition) Condition {
	return Condition{"not: " + c.Name, func(r *event.Reset) bool { return !c.Test(r) }}
}

// causeIn holds for records with one of the causes.
func causeIn(ids ...string) Condition {
	return Condition{fmt.Sprintf("the cause is one of %v", ids), func(r *event.Reset) bool { return slices.Contains(ids, r.Cause) }}
}

// among holds where a measurement is known and one of the values.
func among(name string, of func(*event.Reset) event.Number, values ...int64) Condition {
	return Condition{fmt.Sprintf("%s is one of %v", name, values), func(r *event.Reset) bool {
		n := of(r)
		return n.Known && slices.Contains(values, n.N)
	}}
}

// least holds where a measurement is known and at least the value.
func least(name string, of func(*event.Reset) event.Number, value int64) Condition {
	return Condition{fmt.Sprintf("%s is at least %d", name, value), func(r *event.Reset) bool {
		n := of(r)
		return n.Known && n.N >= value
	}}
}

// outcomeIn holds where asking the server came to one of the outcomes.
func outcomeIn(outcomes ...event.Outcome) Condition {
	return Condition{fmt.Sprintf("the server's answer is one of %v", outcomes), func(r *event.Reset) bool {
		return r.ZooKeeper != nil && r.ZooKeeper.Server != nil && slices.Contains(outcomes, r.ZooKeeper.Server.Outcome)
	}}
}

// portKind holds where the server is known to use the port for that.
func portKind(kinds ...event.PortKind) Condition {
	return Condition{fmt.Sprintf("the server's port is one of %v", kinds), func(r *event.Reset) bool {
		return r.ZooKeeper != nil && r.ZooKeeper.PortKind != nil && slices.Contains(kinds, *r.ZooKeeper.PortKind)
	}}
}

func unacked(r *event.Reset) event.Number {
	e := r.Evidence
	if !e.SentBytes.Known || !e.AckedBytes.Known || e.AckedBytes.N > e.SentBytes.N {
		return event.Number{}
	}
	return event.Num(e.SentBytes.N - e.AckedBytes.N)
}

func unread(r *event.Reset) event.Number   { return r.Evidence.UnreadBytes }
func sent(r *event.Reset) event.Number     { return r.Evidence.SentBytes }
func acked(r *event.Reset) event.Number    { return r.Evidence.AckedBytes }
func gotBytes(r *event.Reset) event.Number { return r.Evidence.ReceivedBytes }
func segment(r *event.Reset) event.Number  { return r.Evidence.SegmentBytes }

var (
	localServer = Condition{"the local process is a ZooKeeper server", func(r *event.Reset) bool {
		return r.ZooKeeper != nil && r.ZooKeeper.Role == event.RoleServer && forClients(r.ZooKeeper.PortKind)
	}}
	localClient = Condition{"the local process is a client of a ZooKeeper port", func(r *event.Reset) bool {
		return r.ZooKeeper != nil && r.ZooKeeper.Role == event.RoleClient && forClients(r.ZooKeeper.PortKind)
	}}
	resetSent     = Condition{"this host sent the reset", func(r *event.Reset) bool { return r.Direction == event.Sent }}
	resetReceived = Condition{"this host received the reset", received}

	// JDK 11 and later close later: the reset may come as data after shutdown.
	serverClosed = causeIn(UnreadData, DataAfterShutdown)
	// What a process's own end of a connection, or its death, brings.
	gaveUp    = causeIn(UnreadData, LingerZero, LateData, DataAfterShutdown, StaleSegment, GoneConnection, ListenerClosed)
	peerReset = causeIn(PeerReset, SentToClosedPeer, PeerResetAfterEOF, PeerResetAfterClose, PeerResetTimewait)
	// In LAST_ACK the peer's FIN came first too: a client that closes on it can
	// be reset then.
	peerEnded = Condition{"the peer ended the connection", func(r *event.Reset) bool {
		return r.Cause == PeerReset || r.Cause == SentToClosedPeer || r.Cause == PeerResetAfterEOF ||
			(r.Cause == PeerResetAfterClose && r.State != nil && *r.State == "LAST_ACK")
	}}

	notKilled = Condition{"the process closed the socket and did not end", func(r *event.Reset) bool {
		return r.EndedBy == nil || r.EndedBy.Kind == event.EndClose
	}}
	killed = Condition{"a signal or the kernel's lack of memory killed the process", func(r *event.Reset) bool {
		return r.EndedBy != nil && (r.EndedBy.Kind == event.EndSignal || r.EndedBy.Kind == event.EndOOM)
	}}
	ownerProven = Condition{"the owner is proven", func(r *event.Reset) bool { return r.Owner != nil && r.OwnerProven }}

	// Byte counts mean nothing behind TLS, and Apache's defects are nobody else's.
	// On a TLS port the bytes are those of records, not of requests.
	plainApache = Condition{"nothing says that it is TLS, or another server than Apache's", func(r *event.Reset) bool {
		return not(outcomeIn(event.OutcomeTLSOnly, event.OutcomeNotZooKeeper, event.OutcomeKeeper)).Test(r) &&
			(r.ZooKeeper == nil || r.ZooKeeper.PortKind == nil || *r.ZooKeeper.PortKind != event.PortSecureClient)
	}}
	mayBeZooKeeper = not(outcomeIn(event.OutcomeNotZooKeeper))
	notServing     = outcomeIn(event.OutcomeNotServing)
	freshAnswer    = Condition{"the server was asked within a minute of the reset", func(r *event.Reset) bool {
		age := time.Duration(server(r).AgeNS)
		return r.ZooKeeper != nil && r.ZooKeeper.Server != nil && age.Abs() <= time.Minute
	}}
	probeReset = outcomeIn(event.OutcomeReset)
	withheld   = outcomeIn(event.OutcomeWithheld)

	readNothing     = among("bytes that the local process read", consumed, 0)
	readLength      = among("bytes that the local process read", consumed, 4)
	readRequest     = among("bytes that the local process read", consumed, 48, 49)
	requestReceived = among("received bytes", gotBytes, 48, 49)
	requestSent     = among("sent bytes", sent, 48, 49)
	responseUnread  = Condition{"received bytes are one of [40 41], and nothing was read", func(r *event.Reset) bool {
		return among("", gotBytes, 40, 41).Test(r) && readNothing.Test(r)
	}}
	nothingReceived = among("received bytes", gotBytes, 0)
	nothingSent     = among("sent bytes", sent, 0)
	responseSent    = among("sent bytes", sent, 40, 41)
	nothingAcked    = among("acknowledged bytes", acked, 0)
	someAcked       = least("acknowledged bytes", acked, 1)
	someUnread      = least("unread bytes", unread, 1)
	moreThanRequest = least("sent bytes", sent, 50)
	// The shortest message has a length and a header of 8 bytes.
	operationUnread = least("unread bytes", unread, 12)
	servingNow      = Condition{"the server says, within a minute of the reset, that it serves", func(r *event.Reset) bool {
		return server(r).Outcome == event.OutcomeOK && freshAnswer.Test(r)
	}}
	bodyArrived       = among("bytes of the segment", segment, 44, 45)
	lengthReceived    = among("received bytes", gotBytes, 4)
	bodyUnread        = among("unread bytes", unread, 44, 45)
	newlineUnread     = among("unread bytes", unread, 1, 2)
	answered          = least("sent bytes", sent, 4)
	wordSent          = among("sent bytes", sent, 5, 6)
	answerReceived    = least("received bytes", gotBytes, 4)
	wordSentOnly      = among("sent bytes", sent, 4, 5, 6)
	wordOrNothingSent = among("sent bytes", sent, 0, 4, 5, 6)
	wordReceived      = among("received bytes", gotBytes, 4, 5, 6)
	somethingReceived = least("received bytes", gotBytes, 1)
	established       = Condition{"the server had answered the connection request", func(r *event.Reset) bool {
		if r.ZooKeeper != nil && r.ZooKeeper.Role == event.RoleServer {
			return least("", sent, 40).Test(r) && least("", consumed, 48).Test(r)
		}
		return least("", consumed, 40).Test(r)
	}}
	moreThanAnswer  = least("sent bytes", sent, 42)
	lengthOfRequest = least("bytes that the local process read", consumed, 52)
	largeUnread     = least("unread bytes", unread, 8<<10)
	largeUnsent     = least("bytes not yet sent", func(r *event.Reset) event.Number { return r.Evidence.UnsentBytes }, 16<<10)
	// After many requests, more of them unread look the same as one large one: 977
	// bytes were read of a session that moved. Clients begin with a hundred.
	fewRequests = Condition{"the local process had read at most 256 bytes", func(r *event.Reset) bool {
		n := consumed(r)
		return n.Known && n.N <= 1<<8
	}}
	largeUnacked     = least("bytes not acknowledged", unacked, 4<<10)
	answerUnread     = least("unread bytes", unread, 1<<10)
	requestOrMore    = least("sent bytes", sent, 48)
	responseReceived = among("received bytes", gotBytes, 40, 41)
	segmentData      = least("bytes of the segment", segment, 1)
	// A session's time-out is 4 s or more, and a client gives up after two thirds
	// of it without an answer.
	quiet      = least("nanoseconds since the process last sent data", func(r *event.Reset) event.Number { return r.Evidence.SinceSentNS }, int64(2*time.Second))
	tlsOnly    = outcomeIn(event.OutcomeTLSOnly)
	sendThread = Condition{"the thread that acted is the Java client's SendThread", func(r *event.Reset) bool {
		return r.Thread != nil && strings.Contains(*r.Thread, "-SendThread")
	}}
	jvmPaused = Condition{"a garbage collection of the local JVM took a second or more, within the minute before", func(r *event.Reset) bool {
		return r.ZooKeeper != nil && r.ZooKeeper.Pause != nil && r.ZooKeeper.Pause.DurationNS >= int64(time.Second)
	}}
	closeReply   = among("unread bytes", unread, 20)
	sessionBytes = least("bytes that the local process read", consumed, 40)

	// A ping or closeSession is 12 bytes; a correct client sends it as its first
	// word after the answer, which looks the same once the answer is acknowledged.
	pingUnread      = among("unread bytes", unread, 12)
	twoSeconds      = least("nanoseconds since the connection was opened", func(r *event.Reset) event.Number { return r.Evidence.AgeNS }, int64(2*time.Second))
	peerEndedOrLate = causeIn(PeerReset, SentToClosedPeer, PeerResetAfterEOF, ResetOutOfWindow, ResetChallenged)
	youngOnly       = Condition{"the connection is not known to be older than 5 s", func(r *event.Reset) bool {
		return !r.Evidence.AgeNS.Known || r.Evidence.AgeNS.N <= int64(5*time.Second)
	}}

	clientUnknown  = Condition{"the client library is not known", func(r *event.Reset) bool { return clientState(r) == clientNotKnown }}
	clientAffected = Condition{"the client library is affected by ZOOKEEPER-1702", func(r *event.Reset) bool { return clientState(r) == clientIsAffected }}
	clientFixed    = Condition{"the client library is known not to be affected by ZOOKEEPER-1702", func(r *event.Reset) bool { return clientState(r) == clientIsFixed }}
	clientIsC      = Condition{"the client library is the C library", func(r *event.Reset) bool {
		return r.ZooKeeper != nil && r.ZooKeeper.Client != nil && r.ZooKeeper.Client.Transport == "c"
	}}
	// Affected are Java's clients; a process of this host that is known to be
	// another one is not.
	mayBeJava = Condition{"the client's process is not known to be other than Java", func(r *event.Reset) bool {
		p := r.Owner
		if r.ZooKeeper == nil || r.ZooKeeper.Role == event.RoleServer {
			p = r.TwinOwner
		}
		return p == nil || p.Comm == "java" || p.Comm == "jsvc" || clientState(r) == clientIsAffected
	}}
	clientC = Condition{"the client library is the C library, or not known", func(r *event.Reset) bool {
		return r.ZooKeeper == nil || r.ZooKeeper.Client == nil || r.ZooKeeper.Client.Transport == "" || r.ZooKeeper.Client.Transport == "c"
	}}

	serverOld = Condition{"the server's version is below 3.5.0", func(r *event.Reset) bool {
		lower, known := below(server(r).Version, 3, 5, 0)
		return known && lower
	}}
	// ZOOKEEPER-1702 needs more than a connection request out and no more than
	// its answer (40 or 41 bytes) in.
	excludes1702 = Condition{"the byte counts exclude ZOOKEEPER-1702", func(r *event.Reset) bool {
		e, c := r.Evidence, consumed(r)
		if r.ZooKeeper != nil && r.ZooKeeper.Role == event.RoleServer {
			return c.Known && c.N != 48 && c.N != 49
		}
		return e.SentBytes.Known && e.SentBytes.N <= 49 || c.Known && c.N > 41
	}}
)

// forClients tells whether a port may take clients: what members of an ensemble
// or the AdminServer's users do there follows other rules.
func forClients(k *event.PortKind) bool {
	return k == nil || *k == event.PortClient || *k == event.PortSecureClient
}

const (
	clientNotKnown = iota
	clientIsAffected
	clientIsFixed
)

// clientState follows ZOOKEEPER-1702: Java NIO up to 3.4.5 is affected, the
// Netty client always is, the other libraries wait for the answer.
func clientState(r *event.Reset) int {
	if r.ZooKeeper == nil || r.ZooKeeper.Client == nil {
		return clientNotKnown
	}
	switch c := r.ZooKeeper.Client; c.Transport {
	case "netty":
		return clientIsAffected
	case "nio":
		if c.Handshake != nil { // a vendor's build may have the fix, whatever its version
			switch *c.Handshake {
			case event.HandshakeWaits:
				return clientIsFixed
			case event.HandshakeEarly:
				return clientIsAffected
			}
		}
		switch lower, known := below(c.Version, 3, 4, 6); {
		case !known:
			return clientNotKnown
		case lower:
			return clientIsAffected
		}
		return clientIsFixed
	case "c", "go", "python", "kazoo":
		return clientIsFixed
	}
	return clientNotKnown
}
