package event

import (
	"net/netip"
	"time"
)

// Role is what the local side is to ZooKeeper.
type Role string

// Roles of the local process.
const (
	RoleClient Role = "client"
	RoleServer Role = "server"
)

// PortKind is what a ZooKeeper server uses a port for.
type PortKind string

// Kinds of ports, as the configuration names them.
const (
	PortClient       PortKind = "client"        // clientPort
	PortSecureClient PortKind = "secure-client" // secureClientPort: TLS
	PortQuorum       PortKind = "quorum"        // server.N=host:QUORUM:election, by custom 2888
	PortElection     PortKind = "election"      // server.N=host:quorum:ELECTION, by custom 3888
	PortAdmin        PortKind = "admin"         // admin.serverPort
)

// Outcome is what came of asking a ZooKeeper server for its version.
type Outcome string

// Outcomes of a four-letter probe; each is a stated result.
const (
	OutcomeOK             Outcome = "ok"                // the server told its version (ruok: said imok)
	OutcomeNotWhitelisted Outcome = "not-whitelisted"   // "... is not executed because it is not in the whitelist" (so >= 3.4.10)
	OutcomeNotServing     Outcome = "not-serving"       // "This ZooKeeper instance is not currently serving requests"
	OutcomeTLSOnly        Outcome = "tls-only"          // accepted the bytes and stayed silent, as a TLS port does
	OutcomeRefused        Outcome = "refused"           // nobody listens, or a firewall rejects
	OutcomeReset          Outcome = "reset"             // accepted, then reset or closed before a byte of answer (as over maxClientCnxns)
	OutcomeTimeout        Outcome = "timeout"           // no answer to the connection attempt, or a stalled answer
	OutcomeUnreachable    Outcome = "unreachable"       // no route, or the network namespace could not be entered
	OutcomeNotZooKeeper   Outcome = "not-zookeeper"     // something else answers on that port
	OutcomeKeeper         Outcome = "clickhouse-keeper" // ClickHouse Keeper speaks the words but is other code
	OutcomePending        Outcome = "pending"           // to be asked, or asked and no answer yet when the record was finished
	OutcomeDisabled       Outcome = "disabled"          // --no-probe, or no probe was allowed
	OutcomeWithheld       Outcome = "withheld"          // not asked: this host holds more than 80 % of the connections that the server allows it
)

// Server is the latest snapshot of a ZooKeeper server.
type Server struct {
	Address netip.Addr `json:"address"` // address that was asked
	Port    uint16     `json:"port"`    // port that was asked
	Version string     `json:"version"` // version and vendor build as the server wrote it ("3.4.13-6--1"); empty where unknown
	Mode    string     `json:"mode"`    // standalone, leader, follower, observer, read-only; empty where unknown
	Outcome Outcome    `json:"outcome"` // what came of asking
	AgeNS   int64      `json:"age_ns"`  // age of the answer at the time of the reset, ns; negative where the answer came after it

	Connections    Number   `json:"connections"`     // open connections of all clients, the question's own among them; null where unknown
	MaxConnections Number   `json:"max_connections"` // maxClientCnxns, the connections that one client address may have, 0 for any number; null where unknown: the server is asked only where a rule needs it
	LatencyMS      *Latency `json:"latency_ms"`      // request latency since the server's statistics began, ms; null where unknown
	Outstanding    Number   `json:"outstanding"`     // requests queued in the server; null where unknown
	Zxid           *string  `json:"zxid"`            // last transaction id, hexadecimal; null where unknown
}

// Latency is how long a ZooKeeper server took for its requests.
type Latency struct {
	Min float64 `json:"min"` // shortest, ms
	Avg float64 `json:"avg"` // mean, ms: a whole number up to 3.5
	Max float64 `json:"max"` // longest, ms
}

// Handshake is what a client library does between its connection request and
// the server's answer.
type Handshake string

// Handshakes, as the library's code has them.
const (
	HandshakeWaits Handshake = "waits" // it sends nothing until the answer is there
	HandshakeEarly Handshake = "early" // it may send operations before (ZOOKEEPER-1702)
)

// Client is what is known of the ZooKeeper client library.
type Client struct {
	Version   string     `json:"version"`   // version of the client library; empty where unknown
	Transport string     `json:"transport"` // nio, netty, c, go, python; empty where unknown
	Source    string     `json:"source"`    // how version and transport are known
	Handshake *Handshake `json:"handshake"` // waits or early, read from the byte code of the Java NIO client, also of a vendor's build; null where it was not read
}

// Pause is a time in which a garbage collection stopped every thread of a JVM.
type Pause struct {
	Collector  string    `json:"collector"`   // the JVM's name of the collector
	Start      time.Time `json:"start"`       // when it began, UTC
	DurationNS int64     `json:"duration_ns"` // how long it took, ns; so far, where it runs
	Running    bool      `json:"running"`     // it was not over when the JVM's counters were read, shortly after the reset
}

// ZooKeeper is attached where a ZooKeeper server is at either end.
type ZooKeeper struct {
	Role   Role    `json:"role"`   // what the local process is
	Server *Server `json:"server"` // the server at either end
	Client *Client `json:"client"` // the client library, null where unknown

	PortKind *PortKind `json:"port_kind"` // what the server uses the port for; null where that is not known

	Pause *Pause `json:"gc_pause"` // the longest garbage collection of the local JVM that was not over more than a minute before the reset; null where none is known
}
