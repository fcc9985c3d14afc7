package diagnose

import "rstwhy/internal/event"

var (
	securePort   = portKind(event.PortSecureClient)
	ensemblePort = portKind(event.PortQuorum, event.PortElection)
)

var zkQuorumPort = Rule{
	ID:    "zookeeper-quorum-port",
	Title: "the reset is between members of the ensemble, not of a client",
	Cases: []Case{
		{"host of the member that asks", []Condition{ensemblePort, resetReceived, causeIn(ConnectRefused)}, event.Proven},
		{"host of the member that is asked", []Condition{ensemblePort, resetSent, causeIn(ClosedPort)}, event.Proven},
		{"the member that ended the connection", []Condition{ensemblePort, resetSent, gaveUp}, event.Likely},
		{"the other member", []Condition{ensemblePort, resetReceived, peerReset}, event.Likely},
	},
	Because: []Line{
		{[]Condition{causeIn(ConnectRefused)}, "the attempt to reach the member at {peer} was refused: nobody listens there"},
		{[]Condition{causeIn(ClosedPort)}, "the member at {peer.host} asked for port {local.port}, and nobody listens there: this host's member is down or not yet up"},
		{[]Condition{not(causeIn(ConnectRefused, ClosedPort))}, "the configuration of this host's server names the port as one between members; members drop these connections at elections, restarts and leader changes"},
	},
	Do: []Line{
		{[]Condition{causeIn(ConnectRefused)}, "see whether the member on {peer.host} runs; until it does, each election round asks it again and is refused, which costs nothing as long as a majority is up"},
		{[]Condition{causeIn(ClosedPort)}, "start this host's member, or take it out of the others' configuration"},
		{[]Condition{not(causeIn(ConnectRefused, ClosedPort))}, "look for LEADING, FOLLOWING and LOOKING in the servers' logs at that time: if nobody restarted a member, its stalls (garbage collection, slow disk: fsync warnings) are what to look for"},
	},
	Raise: []Line{
		{nil, "the logs of both members at that time"},
	},
	Sources: []string{"ZooKeeper: QuorumCnxManager, Leader, Learner", "ZooKeeper administrator's guide: server.x"},
}

var zkTLSStore = Rule{
	ID:    "zookeeper-tls-store",
	Title: "the TLS port closes every connection at once: its key or trust store is likely broken",
	Cases: []Case{
		{"server's host", []Condition{localServer, securePort, resetSent, serverClosed, notKilled, mayBeZooKeeper, readNothing, nothingSent, somethingReceived}, event.Likely},
	},
	Because: []Line{
		{nil, "port {server.port} is the server's secureClientPort, and the server closed without reading a byte of the {received} that had come, nor answering"},
		{nil, "a connection over maxClientCnxns looks the same"},
	},
	Do: []Line{
		{nil, "look in the server's log for 'Failed to create X509', 'KeyStoreException' or 'unable to find valid certification path'"},
		{nil, "check the stores that zoo.cfg names (ssl.keyStore.location, ssl.trustStore.location): that they exist, that the server's user can read them, and their passwords: keytool -list -keystore FILE"},
		{nil, "try the port: openssl s_client -connect {server} </dev/null"},
	},
	Raise: []Line{
		{nil, "the exception in the server's log"},
	},
	Sources: []string{"ZooKeeper: NettyServerCnxnFactory.initSSL", "ZooKeeper administrator's guide: ssl.keyStore.location"},
}

var zkPlaintextOnTLS = Rule{
	ID:    "zookeeper-plaintext-on-tls",
	Title: "a client speaks plain text to the TLS port",
	Cases: []Case{
		{"server's host", []Condition{localServer, securePort, resetSent, serverClosed, notKilled, mayBeZooKeeper, requestReceived}, event.Likely},
		{"server's host, more than a request", []Condition{localServer, securePort, resetSent, serverClosed, notKilled, mayBeZooKeeper, nothingSent, not(readNothing), someUnread}, event.Likely},
		{"client's host", []Condition{localClient, resetReceived, peerEnded, requestOrMore, nothingReceived, tlsOnly}, event.Likely},
	},
	Because: []Line{
		{[]Condition{localServer, requestReceived}, "port {server.port} is the server's secureClientPort, and {received} came, the size of a connection request in plain text; a TLS hello has some hundreds"},
		{[]Condition{localServer, not(requestReceived)}, "port {server.port} is the server's secureClientPort, and the server closed without an answer after it had read {consumed}; to a TLS hello it answers, if only with an alert"},
		{[]Condition{localClient}, "the client sent {sent} and got no byte of an answer; to a TLS hello the server answers, if only with an alert"},
		{[]Condition{tlsOnly}, "the server stays silent to plain text, as a TLS port does (asked {asked})"},
	},
	Do: []Line{
		{nil, "give the client TLS (zookeeper.client.secure=true, zookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNetty and its stores), or the server's clientPort"},
		{[]Condition{localServer}, "find the client on {peer.host}: ss -tnp 'dport = :{server.port}'"},
	},
	Raise: []Line{
		{nil, "'not an SSL/TLS record' in the server's log"},
	},
	Sources: []string{"ZooKeeper: NettyServerCnxnFactory", "ZooKeeper SSL user guide"},
}

var zkHealthCheck = Rule{
	ID:       "zookeeper-health-check",
	Title:    "a port check connected and reset the connection (SO_LINGER 0): harmless",
	Harmless: true,
	Cases: []Case{
		{"client's host", []Condition{localClient, resetSent, causeIn(LingerZero), notKilled, wordOrNothingSent}, event.Likely},
		{"server's host", []Condition{localServer, resetReceived, causeIn(PeerReset, PeerResetBeforeAccept), notKilled, nothingReceived, nothingSent, youngOnly}, event.Likely},
	},
	Because: []Line{
		{[]Condition{localClient}, "the process had set SO_LINGER to 0 and closed after it had sent {sent}: less than a connection request"},
		{[]Condition{localServer}, "{peer.host} connected and reset the connection before a byte was exchanged, as load balancers and monitors do"},
	},
	Do: []Line{
		{nil, "nothing, unless it comes so often that it fills the server's log: then let the check send srvr and read the answer to its end"},
	},
	Raise: []Line{
		{[]Condition{localServer}, "rstwhy on {peer.host}: it names the program that checks"},
		{[]Condition{localClient}, "the documentation of the program that checks"},
	},
	Sources: []string{"Linux net/ipv4/tcp.c: __tcp_close", "socket(7)"},
}

var zkProbeClosedEarly = Rule{
	ID:       "zookeeper-probe-closed-early",
	Title:    "a monitor sent a four-letter word and did not read the answer to its end: harmless",
	Harmless: true,
	Cases: []Case{
		{"client's host", []Condition{localClient, resetSent, causeIn(UnreadData), not(killed), plainApache, wordSentOnly, someUnread}, event.Likely},
		{"client's host, before the answer", []Condition{localClient, resetSent, causeIn(LateData), not(killed), plainApache, wordSentOnly, segmentData}, event.Likely},
		{"server's host", []Condition{localServer, resetReceived, peerReset, notKilled, plainApache, wordReceived}, event.Likely},
	},
	Because: []Line{
		{[]Condition{localClient, someUnread}, "the process sent {sent}, a four-letter word by its size, and closed with {unread} of the answer unread"},
		{[]Condition{localClient, causeIn(LateData)}, "the process sent {sent}, a four-letter word by its size, and closed before {segment} of the answer came"},
		{[]Condition{localServer}, "{received} had come, a four-letter word by its size, and the client reset the connection after that"},
	},
	Do: []Line{
		{nil, "nothing is wrong with the server; to end the resets, let the monitor read until end of file"},
		{[]Condition{localServer}, "find the monitor on {peer.host} (health checks, exporters)"},
	},
	Raise: []Line{
		{nil, "a packet capture of one such connection: tcpdump -X 'tcp port {server.port} and host {peer.host}'"},
	},
	Sources: []string{"Linux net/ipv4/tcp.c: __tcp_close (data_was_unread)"},
}
