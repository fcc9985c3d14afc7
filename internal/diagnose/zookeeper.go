package diagnose

import "rstwhy/internal/event"

const zkJIRA = "https://issues.apache.org/jira/browse/"

// zookeeperRules, most certain first. What the server consumed (received minus
// unread) tells the causes apart on its own host: 0 bytes, the connection was
// dropped at accept; 4, after the first length or four-letter word; 48 or 49,
// after exactly one connection request. On the client's host the counters say
// less, and the server's own answer decides.
var zookeeperRules = []Rule{
	zkQuorumPort, zkDeadPort, zkClientKilled, zkServerEnded, zkHealthCheck, zkProbeClosedEarly,
	zk1702, zkTLSStore, zkPlaintextOnTLS, zkNotServing, zkMaxConnections, zkRequestDropped, zkNewline, zkCClientClose,
	zkClientStalled, zkOversizeAnswer, zkOversize, zkSessionEnded, zkLateServerData, zkLateClientData, zkTLSOrGarbage,
	zkServerRestarted, zkOldServer, zkClientReset, zkResetAfterClose, zkRemainder,
}

// onServer and onClient are the grounds that most cases share.
func onServer(more ...Condition) []Condition {
	return append([]Condition{localServer, resetSent, serverClosed, notKilled, plainApache}, more...)
}

func onClient(more ...Condition) []Condition {
	return append([]Condition{localClient, resetReceived, peerEnded, plainApache}, more...)
}

var answersAsZooKeeper = outcomeIn(event.OutcomeOK, event.OutcomeNotWhitelisted, event.OutcomeNotServing)

var zk1702 = Rule{
	ID:    "zookeeper-1702",
	Title: "ZOOKEEPER-1702: the client sent operations before the server had answered its connection request",
	Cases: []Case{
		{"server's host, answer not acknowledged", onServer(readRequest, operationUnread, nothingAcked, not(clientFixed), mayBeJava), event.Proven},
		{"server's host, answer acknowledged", onServer(readRequest, operationUnread, responseSent, not(nothingAcked), not(pingUnread), youngOnly, not(clientFixed), mayBeJava), event.Likely},
		{"client's host, answer unread, affected library", onClient(moreThanRequest, responseUnread, answersAsZooKeeper, clientAffected), event.Proven},
		{"client's host, answer unread", onClient(moreThanRequest, responseUnread, not(clientFixed), mayBeJava), event.Likely},
		{"client's host, answer read, affected library", onClient(moreThanRequest, responseReceived, clientAffected), event.Likely},
		{"client's host, no answer, affected library", onClient(moreThanRequest, nothingReceived, clientAffected, not(notServing), not(probeReset)), event.Likely},
	},
	Because: with(
		Line{[]Condition{localServer}, "the server had read {consumed}, exactly one connection request, and left {unread} unread when it closed"},
		Line{[]Condition{localServer, nothingAcked}, "the client had acknowledged no byte of an answer, so it sent the rest without waiting: the byte pattern is proven"},
		Line{[]Condition{localServer, someAcked}, "the server had answered once ({sent}) and closed over unread bytes; the answer was acknowledged, so their order is not proven"},
		Line{[]Condition{localServer, not(nothingAcked), not(someAcked)}, "the server had answered once ({sent}) and closed over unread bytes; whether the client had the answer before it sent them is not known"},
		Line{[]Condition{localClient}, "the client sent {sent}, more than a connection request (48 or 49 bytes), and its process had read {consumed} from the server"},
		Line{[]Condition{localClient, responseReceived, not(responseUnread)}, "it had received {received}, exactly one answer to a connection request, as when the session has expired"},
		Line{[]Condition{localClient, responseUnread}, "{received}, the size of one answer to a connection request, lay unread: the operations were sent before it could be read"},
		Line{[]Condition{clientUnknown}, "the client library is unknown; affected are the Java NIO client up to 3.4.5 and the Netty client of any version"},
		Line{[]Condition{clientAffected}, "the client library ({client}) is affected"},
		Line{nil, "the server's version does not decide: the fault is in the client, and it shows only when its session has expired or is refused"},
	),
	Do: []Line{
		{[]Condition{localServer}, "find the client on {peer.host}: ss -tnp 'dport = :{server.port}'"},
		{[]Condition{localServer}, "there, see which library it has open: ls -l /proc/PID/fd | grep -i zookeeper"},
		{[]Condition{localClient}, "see which library the client has open: ls -l /proc/{pid}/fd | grep -i zookeeper"},
		{nil, "check the jar: javap -c -p -cp JAR org.apache.zookeeper.ClientCnxnSocketNIO; doIO calls disableWrite once = affected, twice = fixed"},
		{nil, "Java NIO client: use ZooKeeper 3.4.6 or later in the client; Netty client: no release has the fix, use the NIO client where TLS is not needed"},
		{nil, "find out why its sessions expire: garbage collection pauses, session timeouts, network stalls"},
	},
	Raise: []Line{
		{[]Condition{localServer, not(nothingAcked)}, "a reset of the same client at which it had acknowledged nothing proves it; rstwhy on the client's host tells its library"},
		{[]Condition{localClient}, "rstwhy trace -L {server.port} on the server's host: what the server had read when it closed is the proof"},
		{[]Condition{localClient, clientUnknown}, "the version of the client library, and whether it uses NIO or Netty"},
	},
	Sources: []string{zkJIRA + "ZOOKEEPER-1702 (fixed in 3.4.6 and 3.5.0 for NIO)"},
}

var zkNotServing = Rule{
	ID:    "zookeeper-not-serving",
	Title: "the ZooKeeper server is not serving requests and drops every client",
	Cases: []Case{
		{"server's host, and the server says so", onServer(readLength, nothingSent, bodyUnread, notServing, freshAnswer), event.Proven},
		{"server's host", onServer(readLength, nothingSent, bodyUnread, not(servingNow)), event.Likely},
		{"server's host, but the server says that it serves", onServer(readLength, nothingSent, bodyUnread, servingNow), event.Possible},
		{"server's host, not a plain request, but the server says so", onServer(readLength, nothingSent, notServing, freshAnswer), event.Likely},
		{"server's host, to a C client, and the server says so", []Condition{localServer, resetSent, causeIn(LateData), notKilled, plainApache, lengthReceived, nothingSent, bodyArrived, notServing, freshAnswer}, event.Proven},
		{"server's host, to a C client", []Condition{localServer, resetSent, causeIn(LateData), notKilled, plainApache, lengthReceived, nothingSent, bodyArrived}, event.Likely},
		{"client's host, the server says so", onClient(requestSent, nothingReceived, notServing), event.Likely},
	},
	Because: with(
		Line{[]Condition{localServer, bodyUnread}, "the server read {consumed} of a connection request, the length, and closed with the other {unread} unread and without an answer, as it does while it has no quorum, starts or stops"},
		Line{[]Condition{localServer, bodyArrived}, "the server had received 4 bytes, the length of a connection request, and closed without an answer; the rest, {segment}, came after that: the C client sends it apart"},
		Line{[]Condition{localServer, not(bodyUnread), not(bodyArrived)}, "the server read {consumed} and closed without an answer, {unread} unread"},
		Line{[]Condition{localClient}, "the client sent one connection request ({sent}) and got no byte of an answer"},
	),
	Do: []Line{
		{nil, "ask the server: rstwhy zk {server}"},
		{nil, "see whether the ensemble has a quorum: look for 'LOOKING' and 'Notification' in the server's log, and check that a majority of the server.N lines of zoo.cfg is up and reachable on its two ports"},
	},
	Raise: []Line{
		{[]Condition{not(notServing)}, "the server's own answer within a minute of the reset: rstwhy zk {server}"},
		{[]Condition{localClient}, "rstwhy trace -L {server.port} on the server's host: it has read 4 bytes of each request"},
	},
	Sources: []string{"ZooKeeper: NIOServerCnxn.readLength ('ZooKeeperServer not running')"},
}

var zkMaxConnections = Rule{
	ID:    "zookeeper-max-client-connections",
	Title: "the server drops connections above maxClientCnxns for this client's address",
	Cases: []Case{
		{"server's host, request already there", onServer(readNothing, requestReceived, nothingSent), event.Likely},
		{"server's host, before any byte", []Condition{localServer, resetSent, causeIn(LingerZero), notKilled, plainApache, nothingReceived, nothingSent, not(serverOld)}, event.Likely},
		{"client's host, which holds nearly all that the server allows it", onClient(among("sent bytes", sent, 0, 48, 49), nothingReceived, withheld), event.Likely},
	},
	Because: with(
		Line{[]Condition{localServer, requestReceived}, "the server closed without having read a byte of the {received} of a connection request, as it does at accept when the limit is reached"},
		Line{[]Condition{localServer, nothingReceived}, "the server closed with SO_LINGER 0 before a byte was exchanged, as 3.5.0 and later do at accept when the limit is reached (ZOOKEEPER-1504)"},
		Line{[]Condition{localClient, requestSent}, "the client sent one connection request ({sent}) and got no byte of an answer"},
		Line{[]Condition{localClient, nothingSent}, "the server ended the connection before a byte was exchanged"},
	),
	Do: []Line{
		{[]Condition{localServer}, "count the connections of that address: ss -Htn state established 'sport = :{server.port}' dst {peer.literal} | wc -l"},
		{[]Condition{localClient}, "count this host's connections to the server: ss -Htnp state established 'dport = :{server.port}'"},
		{nil, "on the server: grep -E 'maxClientCnxns|maxCnxns' zoo.cfg (default 60 an address, shared by all clients behind one NAT); the log says 'Too many connections from'"},
		{nil, "find the client that leaks connections before raising the limit"},
	},
	Raise: []Line{
		{nil, "'Too many connections from' in the server's log proves it"},
		{[]Condition{localClient}, "rstwhy trace -L {server.port} on the server's host: it has read no byte of the request"},
	},
	Sources: []string{"ZooKeeper: NIOServerCnxnFactory (maxClientCnxns)", zkJIRA + "ZOOKEEPER-1504"},
}

var zkRequestDropped = Rule{
	ID:    "zookeeper-request-dropped",
	Title: "the server dropped a connection request without an answer: it was not serving, starting, or over its limit of connections",
	Cases: []Case{
		{"client's host", onClient(requestSent, nothingReceived, not(outcomeIn(event.OutcomeRefused))), event.Possible},
		{"client's host, our own question was dropped too", onClient(nothingSent, nothingReceived, probeReset), event.Possible},
	},
	Because: with(
		Line{[]Condition{requestSent}, "the client sent one connection request ({sent}) and got no byte of an answer"},
		Line{[]Condition{nothingSent}, "the server ended the connection before a byte was exchanged"},
		Line{[]Condition{probeReset}, "rstwhy's own question was dropped, too: over the limit, or a TLS port whose key store is broken"},
		Line{nil, "a server that is not serving, and one that is over maxClientCnxns for this address, look the same from here"},
	),
	Do: []Line{
		{nil, "ask the server, from this host: rstwhy zk {server}; not serving: see its quorum; reset too: the limit; an answer: it served again by then"},
		{nil, "count this host's connections to it: ss -Htnp state established 'dport = :{server.port}', against maxClientCnxns in its zoo.cfg (default 60 an address)"},
	},
	Raise: []Line{
		{nil, "rstwhy trace -L {server.port} on the server's host: 4 bytes read of the request say not serving, none say the limit"},
		{nil, "the server's log: 'ZooKeeperServer not running' or 'Too many connections from'"},
	},
	Sources: []string{"ZooKeeper: NIOServerCnxn.readLength, NIOServerCnxnFactory"},
}

var zkNewline = Rule{
	ID:       "zookeeper-four-letter-newline",
	Title:    "a four-letter command was sent with a line end, which makes the server's close a reset: harmless",
	Harmless: true,
	Cases: []Case{
		{"server's host", onServer(readLength, newlineUnread, answered), event.Likely},
		{"client's host", []Condition{localClient, resetReceived, causeIn(PeerReset, SentToClosedPeer, PeerResetAfterEOF, PeerResetAfterClose), plainApache, wordSent, answerReceived}, event.Likely},
	},
	Because: with(
		Line{[]Condition{localServer}, "the server read {consumed}, answered with {sent}, and left {unread} unread: the size of a line end"},
		Line{[]Condition{localClient}, "the process sent {sent}, a four-letter word and a line end by its size, and got {received} as an answer"},
	),
	Do: []Line{
		{nil, "send the four bytes alone: printf srvr | nc, not echo srvr | nc; or rstwhy zk {server}"},
		{[]Condition{localServer}, "find the monitor on {peer.host} that asks (health checks, telegraf)"},
	},
	Raise: []Line{
		{nil, "a packet capture of one such connection: tcpdump -X 'tcp port {server.port} and host {peer.host}' shows the word"},
	},
	Sources: []string{"ZooKeeper: NIOServerCnxn.checkFourLetterWord reads four bytes", "Linux net/ipv4/tcp.c: __tcp_close"},
}
