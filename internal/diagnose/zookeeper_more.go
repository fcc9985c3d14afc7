package diagnose

import "rstwhy/internal/event"

var zkDeadPort = Rule{
	ID:    "zookeeper-dead-port",
	Title: "nobody listens on the ZooKeeper port, or a firewall rejects the connection",
	Cases: []Case{
		{"client's host", []Condition{localClient, resetReceived, causeIn(ConnectRefused)}, event.Proven},
		{"server's host", []Condition{localServer, resetSent, causeIn(ClosedPort)}, event.Proven},
	},
	Because: with(
		Line{[]Condition{localClient}, "the attempt to connect to {server} was answered with a reset"},
		Line{[]Condition{localServer}, "nobody listened on port {server.port} of this host when {peer.host} tried to connect"},
	),
	Do: []Line{
		{[]Condition{localServer}, "start the server, or see why it does not listen: its log, and ss -ltnp 'sport = :{server.port}'"},
		{[]Condition{localServer}, "while a server restarts, this is what each attempt of each client brings: it ends by itself"},
		{[]Condition{localClient}, "on the server's host, see whether it listens: ss -ltnp 'sport = :{server.port}'"},
		{[]Condition{localClient}, "if it does, look for a firewall rule that rejects with tcp-reset; if it does not, start the server or take it out of the client's list"},
	},
	Sources: []string{"RFC 9293 3.10.7.1"},
}

var zkClientKilled = Rule{
	ID:    "zookeeper-client-killed",
	Title: "the ZooKeeper client was killed with its connection open",
	Cases: []Case{
		{"client's host", []Condition{localClient, resetSent, causeIn(UnreadData, LateData), killed, ownerProven}, event.Proven},
		{"client's host, owner remembered", []Condition{localClient, resetSent, causeIn(UnreadData, LateData), killed, not(ownerProven)}, event.Likely},
	},
	Because: []Line{
		{nil, "{ending}"},
		{[]Condition{causeIn(UnreadData)}, "{unread} from the server were unread at that moment"},
	},
	Do: []Line{
		{nil, "find out who killed it: journalctl -k | grep -i -E 'out of memory|killed process', the service manager's log, the container's limits"},
		{nil, "the server keeps the session, with its ephemeral nodes, until the session timeout; this reset says nothing against the server or the network"},
	},
	Raise: []Line{
		{nil, "rstwhy running when the client connects: then who holds the socket is proven"},
	},
	Sources: []string{"Linux net/ipv4/tcp.c: __tcp_close", "signal(7)"},
}

var zkLateServerData = Rule{
	ID:       "zookeeper-late-server-data",
	Title:    "the server's last words came after the client had closed: harmless, about one at each close",
	Harmless: true,
	Cases: []Case{
		{"client's host", []Condition{localClient, resetSent, causeIn(LateData), not(killed), mayBeZooKeeper}, event.Likely},
	},
	Because: with(
		Line{[]Condition{segmentData}, "{segment} came when the client's socket was closed already, so nobody could read them"},
	),
	Do: []Line{
		{nil, "nothing, if it comes once at each close of a client"},
		{nil, "if it comes while the client should be connected, look for 'Client session timed out' in its log: then the client closes because it heard nothing, and the stall is what to look for"},
	},
	Raise: []Line{
		{nil, "the client library, and the lines of the client's log about this session"},
	},
	Sources: []string{"Linux net/ipv4/tcp_minisocks.c: tcp_timewait_state_process", "RFC 1122 4.2.2.13"},
}

var zkTLSOrGarbage = Rule{
	ID:    "zookeeper-tls-or-garbage",
	Title: "what was sent to the ZooKeeper port is no ZooKeeper connection request: TLS, HTTP, a scanner",
	Cases: []Case{
		{"server's host", onServer(readLength, nothingSent, someUnread, not(bodyUnread), not(notServing)), event.Likely},
	},
	Because: with(
		Line{nil, "the server read {consumed}, closed without an answer and left {unread} unread; a client that waits for its answer sends 48 or 49 bytes, this one sent {received}"},
	),
	Do: []Line{
		{nil, "find the program on {peer.host}: ss -tnp 'dport = :{server.port}'"},
		{nil, "the server's log names it with 'Len error' or 'Unreasonable length'; look at the first bytes: tcpdump -c 10 -X 'tcp dst port {server.port} and src host {peer.host}' (16 03 begins TLS)"},
		{nil, "if it is a client with TLS, give it the secureClientPort"},
	},
	Raise: []Line{
		{nil, "the first bytes of such a connection (the tcpdump above)"},
	},
	Sources: []string{"ZooKeeper: NIOServerCnxn.readLength"},
}

var zkCClientClose = Rule{
	ID:       "zookeeper-c-client-close",
	Title:    "the C client closed without reading the reply to its closeSession: harmless",
	Harmless: true,
	Cases: []Case{
		{"client's host", []Condition{localClient, resetSent, causeIn(UnreadData), notKilled, plainApache, closeReply, sessionBytes, clientIsC}, event.Likely},
		{"client's host, library unknown", []Condition{localClient, resetSent, causeIn(UnreadData), notKilled, plainApache, closeReply, sessionBytes, clientC}, event.Possible},
	},
	Because: with(
		Line{nil, "the process closed with {unread} unread, the size of the reply to closeSession, after it had read {consumed}"},
		Line{nil, "the C client from 3.5.7 and 3.6.0 on waits for that reply and never reads it (ZOOKEEPER-1105)"},
	),
	Do: []Line{
		{nil, "nothing: the session is closed in order"},
		{nil, "to be sure that it is the C library: grep libzookeeper /proc/{pid}/maps"},
	},
	Raise: []Line{
		{nil, "the library that the process has mapped (above): the C library makes it likely, any other one excludes it"},
	},
	Sources: []string{zkJIRA + "ZOOKEEPER-1105"},
}

var zkOldServer = Rule{
	ID:    "zookeeper-old-server",
	Title: "a server below 3.5 reset the connection; its version alone makes ZOOKEEPER-1702 no more than possible",
	Cases: []Case{
		{"client's host", onClient(serverOld, not(clientFixed), not(excludes1702)), event.Possible},
		{"server's host", onServer(serverOld, not(clientFixed), not(excludes1702)), event.Possible},
	},
	Because: with(
		Line{nil, "the server's version alone makes ZOOKEEPER-1702 no more than possible: the fault is in the client library, and the byte counts neither show nor exclude it"},
		Line{[]Condition{clientUnknown}, "the client library is unknown; affected are the Java NIO client up to 3.4.5 and the Netty client of any version"},
		Line{[]Condition{clientAffected}, "the client library ({client}) is affected"},
	),
	Do: append([]Line{
		{[]Condition{localClient}, "see which library the client has open: ls -l /proc/{pid}/fd | grep -i zookeeper; Java NIO 3.4.6 and later is not affected"},
		{[]Condition{localServer}, "find the client on {peer.host}: ss -tnp 'dport = :{server.port}', and the library it has open: ls -l /proc/PID/fd | grep -i zookeeper"},
		{[]Condition{localClient}, "to prove or exclude it, run rstwhy trace -L {server.port} on the server's host: there the byte counts decide"},
	}, remainderSteps...),
	Raise: []Line{
		{nil, "the client library's version and transport, and the byte counts on the server's host"},
	},
	Sources: []string{zkJIRA + "ZOOKEEPER-1702"},
}

var remainderSteps = []Line{
	{nil, "server state: rstwhy zk {server}"},
	{nil, "limits: grep -E 'maxClientCnxns|maxCnxns|jute.maxbuffer' zoo.cfg; the server's log says 'Too many connections' or 'Len error' where one was hit"},
	{nil, "probes: see whether a health check or monitor makes the connections (echo srvr | nc, telegraf, load balancer)"},
	{[]Condition{localClient}, "network: run rstwhy trace -L {server.port} --sent on the server's host; if no reset leaves it, something between the hosts sent this one"},
}

var zkRemainder = Rule{
	ID:    "zookeeper-network-or-server",
	Title: "the server or the network reset the connection, in no pattern known here",
	Cases: []Case{
		{"client's host", []Condition{localClient, resetReceived, peerEnded, mayBeZooKeeper}, event.Possible},
		{"server's host", []Condition{localServer, resetSent, causeIn(UnreadData, DataAfterShutdown, LingerZero), notKilled}, event.Possible},
	},
	Because: with(
		Line{[]Condition{localServer}, "the server had read {consumed} and left {unread} unread"},
		Line{[]Condition{localClient}, "the client had sent {sent} and received {received}"},
		Line{[]Condition{excludes1702, answersAsZooKeeper}, "the byte counts exclude ZOOKEEPER-1702"},
		Line{[]Condition{clientFixed}, "the client library is not affected by ZOOKEEPER-1702"},
	),
	Do: remainderSteps,
	Raise: []Line{
		{nil, "rstwhy at both ends at once: a reset that one end received and the other never sent came from between them"},
		{nil, "the server's log at the time of the reset"},
	},
	Sources: []string{zkJIRA + "ZOOKEEPER-1702"},
}
