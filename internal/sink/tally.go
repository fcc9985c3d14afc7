package sink

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"rstwhy/internal/event"
)

const (
	// MaxKeys bounds each table of a Tally: a port scan has a remote endpoint
	// for each of its packets, and must not fill the memory. Nobody reads more
	// rows, and tables of 4,096 still grew after minutes, by more than a megabyte.
	MaxKeys = 1024
	// Others is the key under which a full table counts the rest.
	Others = "(others)"
	// Keys of resets without an owner.
	noProcessKey      = "(no process)"
	unknownProcessKey = "(process unknown)"
)

// Tally accumulates the summary of a session. Its zero value, with Start and
// Host set, is ready. It is for one goroutine.
type Tally struct {
	Start time.Time // when the session began
	Host  string

	sent, received, unknown uint64

	cause    counter[string]
	process  counter[processKey]
	remote   counter[remoteEnd]
	pair     counter[pairKey]
	verdicts map[string]*judged
	servers  map[serverKey]*asking
	clients  map[clientKey]*client
	// clientsRest counts what found no room in clients.
	clientsRest counts
}

// processKey holds the start time so that a reused pid is another process.
type processKey struct {
	pid         uint32
	start       int64
	comm, label string
}

// remoteEnd is an endpoint, an address (port 0), or the network of a storm that
// came from several addresses.
type remoteEnd struct {
	at      netip.AddrPort
	network netip.Prefix
}

type serverKey struct {
	netns uint32 // 127.0.0.1:2181 in a container is another server
	at    netip.AddrPort
}

type asking struct {
	server event.Server
	at     time.Time // when the answer came
}

// Add counts a finished record.
func (t *Tally) Add(r *event.Reset) {
	n := t.count(r.Direction, 1)
	t.cause.add(r.Cause, n)
	pair := pairKey{remote: remoteKey(r)}
	t.remote.add(pair.remote, n)
	pair.process = t.addProcess(r.Owner, noProcess(r), n)
	t.pair.add(pair, n)
	if r.Verdict != nil {
		t.addVerdict(r.Verdict, pair, n)
	}
	if r.ZooKeeper != nil && r.ZooKeeper.Server != nil {
		t.addServer(r)
		t.addClient(r, n)
	}
}

// AddStorm counts what a storm counted. Its verdict is that of one of its kind,
// so it is not counted as theirs.
func (t *Tally) AddStorm(s *event.Storm) {
	n := t.count(s.Direction, s.Count)
	t.cause.add(s.Cause, n)
	pair := pairKey{process: t.addProcess(s.Owner, stormNoProcess(s), n)}
	switch {
	case s.Remote.IsSingleIP():
		pair.remote.at = netip.AddrPortFrom(s.Remote.Addr(), s.RemotePort)
	case s.Remote.Bits() > 0:
		pair.remote.network = s.Remote.Masked()
	default:
		t.remote.others.add(n)
		t.pair.others.add(n)
		return
	}
	t.remote.add(pair.remote, n)
	t.pair.add(pair, n)
}

// count adds to the totals and says in which of them.
func (t *Tally) count(d event.Direction, n uint64) counts {
	c := counts{received: n}
	if d == event.Sent {
		c = counts{sent: n}
	}
	t.sent += c.sent
	t.received += c.received
	return c
}

// addProcess counts for a process, and gives the key of its row.
func (t *Tally) addProcess(o *event.Process, none bool, n counts) processKey {
	key := processKey{comm: unknownProcessKey}
	switch {
	case o != nil:
		key = processOf(o)
	case none:
		key.comm = noProcessKey
	default:
		t.unknown += n.sent + n.received
	}
	t.process.add(key, n)
	return key
}

func processOf(p *event.Process) processKey {
	return processKey{p.PID, p.StartTime.UnixNano(), p.Comm, p.Label}
}

// remoteKey is the peer's end as far as it tells resets apart: the port of a
// server that we connected to does, the port that a client was given does not
// (then it is zero).
func remoteKey(r *event.Reset) remoteEnd {
	if connected(r) {
		return remoteEnd{at: r.Peer.AddrPort()}
	}
	return remoteEnd{at: netip.AddrPortFrom(r.Peer.Address, 0)}
}

// connected tells whether the local side opened the connection, so that the
// peer's port is that of a service.
func connected(r *event.Reset) bool {
	return r.Facts.ActiveOpenKnow && r.Facts.ActiveOpen || r.State != nil && *r.State == "SYN_SENT" ||
		r.Cause == "connect-refused" || r.Cause == "connect-abandoned" ||
		r.ZooKeeper != nil && r.ZooKeeper.Role == event.RoleClient
}

// addServer keeps the latest answer; that a question is under way is no news
// about a server that has answered before.
func (t *Tally) addServer(r *event.Reset) {
	s := *r.ZooKeeper.Server
	key := serverKey{r.NetNS, netip.AddrPortFrom(s.Address, s.Port)}
	at := r.Time.Add(-time.Duration(s.AgeNS))
	old := t.servers[key]
	switch {
	case old == nil:
		if len(t.servers) >= MaxKeys {
			return
		}
		if t.servers == nil {
			t.servers = make(map[serverKey]*asking)
		}
		t.servers[key] = &asking{s, at}
	case s.Outcome == event.OutcomePending && old.server.Outcome != event.OutcomePending:
	case old.server.Outcome == event.OutcomePending || !at.Before(old.at):
		*old = asking{s, at}
	}
}

// Summary is the state so far. Account, Checks, Gaps, Hidden and Warnings are
// the caller's to fill in, and the scope where it is not the session.
func (t *Tally) Summary(now time.Time) event.Summary {
	s := event.Summary{
		Type: "summary", Schema: event.Schema, Host: t.Host, Time: now.UTC(),
		Sent: t.sent, Received: t.received, OwnersUnknown: t.unknown,
		ByCause:   t.cause.rows(func(k string) string { return k }),
		ByProcess: t.process.rows(processKey.String),
		ByRemote:  t.remote.rows(remoteEnd.String),
		Verdicts:  make([]event.VerdictTally, 0, len(t.verdicts)),
		Servers:   make([]event.Server, 0, len(t.servers)),
		Clients:   t.clientRows(),
		ByPair:    pairRows(&t.pair, maxPairs),
		Scope:     event.ScopeSession,
		Checks:    []event.CounterCheck{},
		Gaps:      []event.Gap{},
		Warnings:  []string{},
	}
	if !t.Start.IsZero() {
		s.DurationNS = int64(now.Sub(t.Start))
	}
	for _, v := range t.verdicts {
		s.Verdicts = append(s.Verdicts, v.row())
	}
	slices.SortFunc(s.Verdicts, func(a, b event.VerdictTally) int {
		return cmp.Or(cmp.Compare(b.Resets, a.Resets), cmp.Compare(a.Rule, b.Rule))
	})
	for _, key := range sortedServers(t.servers) {
		a := t.servers[key]
		server := a.server
		server.AgeNS = int64(now.Sub(a.at))
		s.Servers = append(s.Servers, server)
	}
	return s
}

func sortedServers(servers map[serverKey]*asking) []serverKey {
	keys := make([]serverKey, 0, len(servers))
	for key := range servers {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b serverKey) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.netns, b.netns))
	})
	return keys
}

func (k processKey) String() string {
	if k.pid == 0 {
		return k.comm
	}
	return processName(k.pid, k.comm, k.label)
}

func (e remoteEnd) String() string {
	switch {
	case e.network.IsValid():
		return e.network.String()
	case e.at.Port() == 0:
		return e.at.Addr().String()
	}
	return e.at.String()
}

// counter counts by key, and the rest together once it holds as many keys as
// it may.
type counter[K comparable] struct {
	most   int // 0: MaxKeys
	m      map[K]*counts
	others counts
}

type counts struct{ sent, received uint64 }

func (c *counts) add(n counts) {
	c.sent += n.sent
	c.received += n.received
}

func (c *counter[K]) add(key K, by counts) {
	n := c.m[key]
	if n == nil {
		if len(c.m) >= cmp.Or(c.most, MaxKeys) {
			c.others.add(by)
			return
		}
		if c.m == nil {
			c.m = make(map[K]*counts)
		}
		n = new(counts)
		c.m[key] = n
	}
	n.add(by)
}

// rows are the keys' counts, most first, equal ones by name, the rest last.
func (c *counter[K]) rows(name func(K) string) []event.Tally {
	rows := make([]event.Tally, 0, len(c.m)+1)
	for key, n := range c.m {
		rows = append(rows, event.Tally{Key: name(key), Sent: n.sent, Received: n.received})
	}
	slices.SortFunc(rows, func(a, b event.Tally) int {
		return cmp.Or(cmp.Compare(b.Sent+b.Received, a.Sent+a.Received),
			cmp.Compare(a.Key, b.Key), cmp.Compare(b.Sent, a.Sent))
	})
	if n := c.others; n != (counts{}) {
		rows = append(rows, event.Tally{Key: Others, Sent: n.sent, Received: n.received})
	}
	return rows
}
