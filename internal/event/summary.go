package event

import "time"

// Account is the exact balance of the reset hooks:
// Seen = Filtered + Joined + Delivered + Aggregated + Lost. What comes after -c was reached
// counts as filtered.
type Account struct {
	Seen       uint64 `json:"seen"`       // hits of the hooks that show resets, recursion misses included
	Filtered   uint64 `json:"filtered"`   // left out by a filter, or rstwhy's own probe connections
	Joined     uint64 `json:"joined"`     // hits that belong to a reset told already: further packets of one cause, tcp_receive_reset without a RST
	Delivered  uint64 `json:"delivered"`  // told one by one
	Aggregated uint64 `json:"aggregated"` // told as a count, in storm lines
	Lost       uint64 `json:"lost"`       // not seen by rstwhy: the sum of the three below
	LostRing   uint64 `json:"lost_ring"`  // ring buffer full
	// hits that the kernel skipped because the same program was running on that
	// CPU (bpf_prog_info.recursion_misses), and that no shadow program took
	LostRecursion uint64 `json:"lost_recursion"`
	LostDecode    uint64 `json:"lost_decode"` // record that could not be decoded
}

// Balanced tells whether the account adds up.
func (a Account) Balanced() bool {
	return a.Seen == a.Filtered+a.Joined+a.Delivered+a.Aggregated+a.Lost
}

// Tally counts the resets that share a cause, a process or a remote endpoint.
type Tally struct {
	Key      string `json:"key"`      // the cause id, the process as pid and name, or the remote endpoint
	Sent     uint64 `json:"sent"`     // resets sent
	Received uint64 `json:"received"` // resets received
}

// VerdictTally counts the resets with the same verdict, with its advice, so
// that the summary can end with what to do.
type VerdictTally struct {
	Rule       string     `json:"rule"`       // id of the rule (rstwhy explain RULE)
	Title      string     `json:"title"`      // one line: what is going on
	Confidence Confidence `json:"confidence"` // the strongest seen
	Resets     uint64     `json:"resets"`     // resets with this verdict
	Do         []string   `json:"do"`         // what to do next, in order; the values in it are those of about
	Because    []string   `json:"because"`    // the evidence of the reset that do is about
	Raise      []string   `json:"raise"`      // what would raise its confidence; empty where it is proven
	Harmless   uint64     `json:"harmless"`   // of resets: those that ask for nothing
	Proven     uint64     `json:"proven"`     // of resets: those whose verdict is proven
	Likely     uint64     `json:"likely"`     // of resets: those whose verdict is likely
	Possible   uint64     `json:"possible"`   // of resets: those whose verdict is possible
	Pairs      []Pair     `json:"pairs"`      // who they are between, most first; at most 8, then "(others)"
	About      string     `json:"about"`      // the process and the remote endpoint that do and because are about
}

// Pair counts the resets between a process of this host and a remote endpoint.
type Pair struct {
	Process  string `json:"process"`  // as in by_process
	Remote   string `json:"remote"`   // as in by_remote; empty where process is "(others)"
	Sent     uint64 `json:"sent"`     // resets sent
	Received uint64 `json:"received"` // resets received
}

// ClientTally counts the resets between a ZooKeeper client and a server.
type ClientTally struct {
	Process  string  `json:"process"`  // the client, as in by_process; empty where its process is not known, as on another host
	Host     string  `json:"host"`     // where it runs: this host's name, or the client's address
	Place    string  `json:"place"`    // its pod or container, on this host; empty where it has none
	Library  *Client `json:"library"`  // its client library; null where unknown
	Server   string  `json:"server"`   // the server, as address:port; empty where process is "(others)"
	Sent     uint64  `json:"sent"`     // resets that this host sent
	Received uint64  `json:"received"` // resets that this host received
}

// Summary is what a session prints on exit.
type Summary struct {
	Type          string         `json:"type"`              // always "summary"
	Schema        int            `json:"schema"`            // version of this format
	Host          string         `json:"host"`              // host name
	Time          time.Time      `json:"time"`              // when the summary was made, UTC
	DurationNS    int64          `json:"duration_ns"`       // how long the session watched, ns
	Sent          uint64         `json:"sent"`              // resets sent
	Received      uint64         `json:"received"`          // resets received
	OwnersUnknown uint64         `json:"owners_unknown"`    // resets on a socket whose process is not known
	ByCause       []Tally        `json:"by_cause"`          // most first
	ByProcess     []Tally        `json:"by_process"`        // most first
	ByRemote      []Tally        `json:"by_remote"`         // remote endpoint: the peer's address, with its port where the local side connected or the port is a ZooKeeper port; most first
	Verdicts      []VerdictTally `json:"verdicts"`          // most first
	Servers       []Server       `json:"zookeeper_servers"` // latest answer of each ZooKeeper server that a reset concerned; age_ns is its age when the summary was made
	Clients       []ClientTally  `json:"zookeeper_clients"` // who talked to them, most first; at most 256, then "(others)". Where both ends are on this host, a reset counts as sent and as received
	ByPair        []Pair         `json:"by_pair"`           // who resets whom: process and remote endpoint, most first; at most 256, then "(others)"
	Scope         Scope          `json:"scope"`             // session, or interval: since the interval summary before
	Hidden        uint64         `json:"hidden"`            // of the resets counted here, not printed because they were expected (--quiet-expected)
	Account       Account        `json:"account"`           // exact balance of the hooks, of the whole session: seen = filtered + joined + delivered + aggregated + lost
	Checks        []CounterCheck `json:"checks"`            // what the kernel's own counters say to that
	Gaps          []Gap          `json:"gaps"`              // when a hook was not attached
	Warnings      []string       `json:"warnings"`          // optional hooks that did not attach, probes that were not allowed ...
}

// Scope is what a summary covers.
type Scope string

// The scopes of a summary.
const (
	ScopeSession  Scope = "session"
	ScopeInterval Scope = "interval"
)

// CounterCheck holds a counter of the kernel against what rstwhy saw in the
// same network namespace and time.
type CounterCheck struct {
	NetNS       uint32 `json:"netns"`       // inode number of the network namespace; 0: of none in particular
	Counter     string `json:"counter"`     // as in /proc/net/snmp and /proc/net/netstat: OutRsts, EstabResets, EmbryonicRsts, TCPAbortOnClose ...
	Kernel      int64  `json:"kernel"`      // by how much the kernel's counter grew
	Seen        int64  `json:"seen"`        // how many of the resets seen must have counted there
	Agree       *bool  `json:"agree"`       // the difference is none, or is of a kind that the counter allows; null: not compared
	Explanation string `json:"explanation"` // what the counter also counts, the likely source of the difference, or why it was not compared; empty where there is nothing to say
}

// Gap is a time in which a hook was not attached.
type Gap struct {
	Hook       string    `json:"hook"`        // its name, as check prints it
	From       time.Time `json:"from"`        // UTC
	DurationNS int64     `json:"duration_ns"` // ns
	Why        string    `json:"why"`         // reason
	Without    string    `json:"without"`     // what could not be seen meanwhile
}
