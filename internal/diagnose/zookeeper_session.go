package diagnose

import "rstwhy/internal/event"

var zkServerEnded = Rule{
	ID:    "zookeeper-server-killed",
	Title: "the ZooKeeper server's process ended with the connection open",
	Cases: []Case{
		{"server's host, killed", []Condition{localServer, resetSent, gaveUp, killed, ownerProven}, event.Proven},
		{"server's host", []Condition{localServer, resetSent, gaveUp, not(notKilled)}, event.Likely},
	},
	Because: []Line{
		{nil, "{ending}"},
		{[]Condition{causeIn(UnreadData)}, "{unread} from the client were unread at that moment"},
	},
	Do: []Line{
		{nil, "find out who ended it: journalctl -k | grep -i -E 'out of memory|killed process', the service manager's log, the container's limits"},
		{nil, "clients reconnect by themselves; sessions live on if the server, or a majority, is back before their time-out"},
	},
	Raise: []Line{
		{nil, "rstwhy running when the connection is made: then who holds the socket is proven"},
	},
	Sources: []string{"Linux net/ipv4/tcp.c: __tcp_close", "signal(7)"},
}

var zkServerRestarted = Rule{
	ID:    "zookeeper-server-restarted",
	Title: "the server went away: its port refuses connections right after the reset",
	Cases: []Case{
		{"client's host", onClient(outcomeIn(event.OutcomeRefused), freshAnswer), event.Likely},
	},
	Because: with(
		Line{nil, "the peer ended the connection, and within a minute its port refused new ones"},
	),
	Do: []Line{
		{nil, "on the server's host, see whether somebody restarted it or it died: journalctl -u zookeeper, uptime, journalctl -k | grep -i 'killed process'"},
		{nil, "ask again in a minute: rstwhy zk {server}"},
	},
	Raise: []Line{
		{nil, "rstwhy on the server's host: it tells how the process ended"},
	},
	Sources: []string{"Linux net/ipv4/tcp.c: __tcp_close"},
}

var zkClientStalled = Rule{
	ID:    "zookeeper-client-stalled",
	Title: "the session ended while data of the server lay unread: the client had stalled",
	Cases: []Case{
		{"client's host, data unread", []Condition{localClient, resetSent, causeIn(UnreadData, DataAfterShutdown), notKilled, plainApache, sessionBytes, quiet, not(closeReply), someUnread}, event.Likely},
		{"client's host, its JVM had stopped", []Condition{localClient, resetSent, causeIn(UnreadData, DataAfterShutdown, LateData), notKilled, plainApache, sessionBytes, not(closeReply), jvmPaused}, event.Likely},
		{"client's host, data after its close", []Condition{localClient, resetSent, causeIn(LateData, DataAfterShutdown), notKilled, plainApache, sessionBytes, quiet, segmentData}, event.Possible},
		{"client's host, reset by the server", []Condition{localClient, resetReceived, peerEndedOrLate, plainApache, sessionBytes, largeUnread, notKilled, twoSeconds}, event.Possible},
		{"client's host, by the sending thread", []Condition{localClient, resetSent, causeIn(UnreadData), notKilled, plainApache, sessionBytes, someUnread, not(closeReply), sendThread}, event.Possible},
	},
	Because: with(
		Line{[]Condition{resetSent, someUnread}, "the process closed an established session with {unread} unread; a client that runs freely reads all before it closes"},
		Line{[]Condition{resetReceived}, "the server reset an established session while {unread} from it lay unread here; a client that runs freely reads them at once"},
		Line{[]Condition{resetSent, quiet}, "it had sent nothing for {sincesent}: no ping, and no closeSession, which an orderly close begins with"},
		Line{[]Condition{jvmPaused}, "its JVM stood still for {pause}"},
		Line{[]Condition{sendThread}, "the thread that closed is the client library's own (SendThread), which does so when it has heard nothing for two thirds of the session time-out"},
	),
	Do: []Line{
		{nil, "look in the client's log for 'Client session timed out, have not heard from server in' and 'Session 0x... has expired'"},
		{nil, "look for the stall: garbage collection (jstat -gcutil {pid} 1000 10, the GC log), CPU throttling of its container (cpu.stat: nr_throttled), a suspended machine"},
	},
	Raise: []Line{
		{nil, "the client's log line, or a garbage collection pause of that length in its GC log"},
	},
	Sources: []string{"ZooKeeper: ClientCnxn.SendThread.run (readTimeout)"},
}

var zkOversizeAnswer = Rule{
	ID:    "zookeeper-oversize-answer",
	Title: "the client closed in the middle of a large answer: likely above its own jute.maxbuffer",
	Cases: []Case{
		{"client's host", []Condition{localClient, resetSent, causeIn(UnreadData, DataAfterShutdown), notKilled, plainApache, sessionBytes, answerUnread, not(quiet)}, event.Possible},
	},
	Because: with(
		Line{nil, "the process had asked {sincesent} before, and closed with {unread} of what came unread"},
	),
	Do: []Line{
		{nil, "look in the client's log for 'Packet len' and 'is out of range'"},
		{nil, "find the large node or the node with very many children that it reads; its limit is jute.maxbuffer of the client (4 MiB up to 3.5, 1 MiB from 3.6 on)"},
	},
	Raise: []Line{
		{nil, "'Packet len N is out of range' in the client's log proves it"},
	},
	Sources: []string{"ZooKeeper: ClientCnxnSocket.readLength", "ZooKeeper administrator's guide: jute.maxbuffer"},
}

var zkOversize = Rule{
	ID:    "zookeeper-oversize-request",
	Title: "a request was larger than the server takes (jute.maxbuffer)",
	Cases: []Case{
		{"server's host", onServer(established, lengthOfRequest, fewRequests, largeUnread), event.Likely},
		{"client's host", onClient(established, largeUnacked, largeUnsent), event.Possible},
	},
	Because: with(
		Line{[]Condition{localServer}, "the server had read {consumed} of an open session and closed over {unread} unread: it reads the length of a request first, and closes where that is too large"},
		Line{[]Condition{localClient}, "the client had sent {sent}, of which {unacked} were not acknowledged, with {unsent} still to be sent, when the server ended the session"},
	),
	Do: []Line{
		{nil, "look in the server's log for 'Len error' or 'Rejecting large request': the number is the size of the request"},
		{nil, "find what the client writes: a node above the limit (default 1048575 bytes), or a multi-operation; split it rather than raise jute.maxbuffer, which must then be raised on every server and client alike"},
	},
	Raise: []Line{
		{nil, "'Len error' in the server's log proves it"},
		{[]Condition{localClient}, "rstwhy trace -L {server.port} on the server's host: what the server left unread tells"},
	},
	Sources: []string{"ZooKeeper: NIOServerCnxn.readLength, BinaryInputArchive.maxBuffer", "ZooKeeper administrator's guide: jute.maxbuffer"},
}

var zkSessionEnded = Rule{
	ID:    "zookeeper-session-moved",
	Title: "the server ended a session while requests of the client were on their way: it had expired, moved, been closed, was refused its authentication, or asked too much at once",
	Cases: []Case{
		{"server's host", onServer(established, moreThanAnswer, someUnread), event.Possible},
	},
	Because: with(
		Line{nil, "the server had answered requests of the session ({sent}) and closed with {unread} unread"},
	),
	Do: []Line{
		{nil, "look in the server's log for 'Expiring session', 'Session moved', 'Authentication failed', 'Len error' or 'Closed socket connection' and the client's address {peer.host}"},
		{nil, "if sessions expire, look for stalls of the client on {peer.host}: garbage collection, CPU throttling"},
	},
	Raise: []Line{
		{nil, "the server's log line about the session"},
	},
	Sources: []string{"ZooKeeper: SessionTrackerImpl, ZooKeeperServer.expire, KeeperException.SessionMovedException"},
}

var zkLateClientData = Rule{
	ID:    "zookeeper-late-client-data",
	Title: "bytes of the client came after the server had closed the connection: an echo of that close",
	Cases: []Case{
		{"server's host", []Condition{localServer, resetSent, causeIn(LateData, StaleSegment, GoneConnection, DataAfterShutdown), notKilled, mayBeZooKeeper}, event.Likely},
	},
	Because: []Line{
		{nil, "a segment of {peer.host} came for a connection that the server no longer had"},
		{nil, "{segment} came when the socket was closed already"},
	},
	Do: []Line{
		{nil, "look at why the server closed it: the reset or close just before, of the same client; its log names {peer.host}"},
		{nil, "if it comes at each attempt to connect, ask the server: rstwhy zk {server}"},
	},
	Raise: []Line{
		{nil, "the record of the close before it, with rstwhy running at that time"},
	},
	Sources: []string{"Linux net/ipv4/tcp_minisocks.c: tcp_timewait_state_process", "RFC 1122 4.2.2.13"},
}

var zkClientReset = Rule{
	ID:    "zookeeper-client-reset",
	Title: "a reset came from the client's side: a C client's close, a killed or stalled client, or something between",
	Cases: []Case{
		{"server's host", []Condition{localServer, resetReceived, peerReset, notKilled, mayBeZooKeeper}, event.Possible},
	},
	Because: []Line{
		{nil, "the reset came from {peer.host}; the server had received {received} and sent {sent}"},
		{[]Condition{nothingReceived}, "no byte of a connection request had come"},
	},
	Do: []Line{
		{nil, "run rstwhy trace --zk on {peer.host}: there the process, the way it ended and its unread bytes are known"},
		{nil, "a C client from 3.5.7 and 3.6.0 on does this at each close (ZOOKEEPER-1105), which is harmless"},
	},
	Raise: []Line{
		{nil, "rstwhy on the client's host"},
	},
	Sources: []string{zkJIRA + "ZOOKEEPER-1105"},
}

var zkResetAfterClose = Rule{
	ID:       "zookeeper-reset-after-close",
	Title:    "the server reset the connection when the client had closed it already: harmless",
	Harmless: true,
	Cases: []Case{
		{"client's host", []Condition{localClient, resetReceived, causeIn(PeerResetAfterClose), notKilled, mayBeZooKeeper}, event.Likely},
	},
	Because: []Line{
		{nil, "{ending}"},
		{nil, "what the server had not read by then it dropped; the client no longer waited for anything"},
	},
	Do: []Line{
		{nil, "nothing for this reset; if the client should not have closed, look for 'Client session timed out' in its log"},
	},
	Raise: []Line{
		{nil, "the client's log at that time"},
	},
	Sources: []string{"Linux net/ipv4/tcp_input.c: tcp_reset"},
}
