package main

import (
	"fmt"
	"slices"
	"time"

	"rstwhy/internal/lab"
)

// zkNoReset as an expectation: that end shows no reset.
const zkNoReset = "no reset"

// zkCase is a stimulus made by a real client, or by raw bytes where no client
// that Debian carries does it, and what rstwhy has to say of it.
type zkCase struct {
	name string
	sign string // signature in the catalogue: S1 to S13 on the server's host, C1 to C11 on the client's
	near string // rules whose near miss it is, separated by "|": they may be told at neither end

	// Rules expected for the first record of each connection at that end,
	// alternatives separated by "|"; empty: not judged.
	server, client string

	tls   bool   // needs a release with TLS
	only  string // the one release that it is for
	tries int    // a race decides whether a reset comes: repeat so often until it does; 0: once
	run   func(l *zkLab) error
}

const (
	zkAnySession = "0000000000000000"
	zkDead       = "7fffffffdeadbeef" // a session id that no server gives out
	zkNoPassword = "00000000000000000000000000000000"
)

func zkRenew(port uint16, operations int) string {
	return fmt.Sprintf("renew %s 10000 %s %s %d", zkAddr(port), zkDead, zkNoPassword, operations)
}

func zkOpen(port uint16) string { return fmt.Sprintf("open %s 10000", zkAddr(port)) }

// zkCases are all of them, in the order in which they run.
var zkCases = slices.Concat(zkConnecting, zkWorking)

// zkConnecting end before or while a session is set up.
var zkConnecting = []zkCase{
	{
		// Its process may have read the answer before the RST came: then the
		// client's counters are silent.
		name: "Netty client, expired session, operations queued", sign: "S1 C1", tries: 4,
		server: "zookeeper-1702", client: "zookeeper-1702|zookeeper-old-server|zookeeper-network-or-server",
		run: func(l *zkLab) error { return l.expired("netty", 50) },
	},
	{
		name: "raw, expired session, operations queued", sign: "S1 C1", tries: 8,
		server: "zookeeper-1702", client: "zookeeper-1702",
		run: func(l *zkLab) error { return l.raw(zkPort, lab.ZKPipelined(10)) },
	},
	{
		name: "raw, zxid ahead, operations queued", sign: "S1b", tries: 8,
		server: "zookeeper-1702", client: "zookeeper-1702|zookeeper-max-client-connections|zookeeper-request-dropped|zookeeper-network-or-server|zookeeper-old-server",
		run: func(l *zkLab) error {
			b := lab.ZKPipelined(10)
			b[8] = 0x7f // lastZxidSeen
			return l.raw(zkPort, b)
		},
	},
	{
		name: "Netty client of 3.8, expired session, operations queued", sign: "S1 C1", tries: 4, only: "3.4.13",
		server: "zookeeper-1702", client: "zookeeper-1702|zookeeper-old-server|zookeeper-network-or-server",
		run: func(l *zkLab) error { return l.expired("netty 3.8", 50) },
	},
	{
		name: "NIO client, expired session, operations queued", near: "zookeeper-1702", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.expired("nio", 50) },
	},
	{
		name: "kazoo, expired session, operations queued", near: "zookeeper-1702", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.expired("python", 50) },
	},
	{
		// The pattern on the wire, but the server knows the session.
		name: "Netty client, valid session renewed, operations queued", near: "zookeeper-1702|zookeeper-session-moved",
		run: func(l *zkLab) error { return l.renewed("nio", "netty") },
	},
	{
		// Found by accident: its closeSession goes out behind the request to
		// renew a session that is gone.
		name: "Netty client closes while it renews a session that is gone", sign: "S1 C1", tries: 4,
		server: "zookeeper-1702", client: "zookeeper-1702|zookeeper-old-server|zookeeper-network-or-server|zookeeper-reset-after-close",
		run: func(l *zkLab) error { return l.renewed("netty", "netty") },
	},
	{
		name: "NIO client closes while it renews a session that is gone", near: "zookeeper-1702", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.renewed("nio", "nio") },
	},
	{
		name: "raw, expired session alone", near: "zookeeper-1702", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.raw(zkPort, lab.ZKPipelined(0)) },
	},
	{
		name: "Netty client, new session", near: "zookeeper-1702", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.ask("netty", zkOpen(zkPort), "gets 50 /", "get /", "close") },
	},
	{
		name: "not serving, Java NIO client", sign: "S2 C2", tries: 3,
		server: "zookeeper-not-serving", client: "zookeeper-not-serving",
		run: func(l *zkLab) error { return l.attempts("nio", zkPortAlone, 3*time.Second) },
	},
	{
		name: "not serving, kazoo", sign: "S2 C2", tries: 3,
		server: "zookeeper-not-serving", client: "zookeeper-not-serving",
		run: func(l *zkLab) error { return l.attempts("python", zkPortAlone, 3*time.Second) },
	},
	{
		name: "not serving, Go client", sign: "S2 C2", tries: 3,
		server: "zookeeper-not-serving", client: "zookeeper-not-serving",
		run: func(l *zkLab) error { return l.goSession(zkPortAlone, -1, 3*time.Second) },
	},
	{
		name: "not serving, C client", sign: "S2 C2", tries: 3,
		server: "zookeeper-not-serving", client: "zookeeper-not-serving",
		run: func(l *zkLab) error { return l.cSession(zkPortAlone, 2*time.Second) },
	},
	{
		name: "serving, Java NIO client closes", near: "zookeeper-not-serving|zookeeper-dead-port|zookeeper-tls-or-garbage", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.ask("nio", zkOpen(zkPort), "get /", "close") },
	},
	{
		name: "serving, kazoo closes", near: "zookeeper-not-serving", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.ask("python", zkOpen(zkPort), "get /zookeeper", "close") },
	},
	{
		name: "serving, Go client closes", near: "zookeeper-c-client-close", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.goSession(zkPort, 10, 0) },
	},
	{
		name: "third session of two, Go client", sign: "S3 C3", tries: 3,
		server: "zookeeper-max-client-connections|zookeeper-late-client-data", client: "zookeeper-max-client-connections|zookeeper-request-dropped|zookeeper-network-or-server|zookeeper-old-server",
		run: func(l *zkLab) error { return l.goSessions(zkPortLimited, 3) },
	},
	{
		name: "third session of two, Java NIO client", sign: "S3 C3", tries: 3,
		server: "zookeeper-max-client-connections|zookeeper-late-client-data", client: "zookeeper-max-client-connections|zookeeper-request-dropped|zookeeper-network-or-server|zookeeper-old-server",
		run: func(l *zkLab) error {
			return l.ask("nio", zkOpen(zkPortLimited), "get /", zkOpen(zkPortLimited), "get /", zkOpen(zkPortLimited), "wait 3000", "close", "close", "close")
		},
	},
	{
		name: "second session of two, Go client", near: "zookeeper-max-client-connections", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { time.Sleep(time.Second); return l.goSessions(zkPortLimited, 2) },
	},
	{
		name: "echo ruok", sign: "S4", tries: 8, server: "zookeeper-four-letter-newline", client: "zookeeper-four-letter-newline",
		run: func(l *zkLab) error { return l.word("echo srvr", "cat <&3") },
	},
	{
		name: "printf ruok", near: "zookeeper-four-letter-newline", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.word("printf srvr", "cat <&3") },
	},
	{
		name: "HTTP GET", sign: "S5", tries: 8, server: "zookeeper-tls-or-garbage",
		run: func(l *zkLab) error { return l.raw(zkPort, []byte("GET / HTTP/1.0\r\nHost: lab\r\n\r\n")) },
	},
	{
		name: "TLS hello on the plaintext port", sign: "S6", tries: 8, server: "zookeeper-tls-or-garbage",
		run: func(l *zkLab) error { return l.process.do("TLS", zkAddr(zkPort)) },
	},
	{
		name: "Java NIO client on the TLS port", sign: "S6", tls: true, tries: 2,
		server: "zookeeper-plaintext-on-tls", client: "zookeeper-plaintext-on-tls",
		run: func(l *zkLab) error { return l.attempts("nio", zkPortSecure, 3*time.Second) },
	},
	{
		name: "raw plaintext on the TLS port, a request and many operations", sign: "S6", tls: true, tries: 5,
		server: "zookeeper-plaintext-on-tls", client: "zookeeper-plaintext-on-tls|zookeeper-network-or-server",
		run: func(l *zkLab) error { return l.raw(zkPortSecure, lab.ZKPipelined(20000)) },
	},
	{
		// Its close_notify comes after the server's close.
		name: "TLS client on the TLS port", near: "zookeeper-plaintext-on-tls", tls: true,
		run: func(l *zkLab) error { return l.process.do("TLS", zkAddr(zkPortSecure)) },
	},
	{
		name: "plaintext client of a TLS server's plaintext port", near: "zookeeper-tls-store", tls: true, server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.ask("nio", zkOpen(zkPortTLS), "get /", "close") },
	},
	{
		name: "broken key store, TLS client", sign: "S11", tls: true, tries: 5, server: "zookeeper-tls-store", client: "zookeeper-tls-store|zookeeper-network-or-server|zookeeper-request-dropped|zookeeper-reset-after-close",
		run: func(l *zkLab) error { return l.process.do("TLS", zkAddr(zkPortBrokenTLS)) },
	},
	{
		name: "broken key store, plaintext client", sign: "S11", tls: true, tries: 5, server: "zookeeper-tls-store", client: "zookeeper-tls-store|zookeeper-network-or-server|zookeeper-request-dropped|zookeeper-reset-after-close",
		run: func(l *zkLab) error { return l.raw(zkPortBrokenTLS, lab.ZKConnectRequest(0)) },
	},
}
