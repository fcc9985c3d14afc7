package zk

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"rstwhy/internal/event"
)

// Bounds of what a Prober does by itself, whatever it is asked.
const (
	maxServers = 4096            // servers remembered
	perSecond  = 5               // probes started a second
	burst      = 5               //
	defaultTTL = 5 * time.Minute // a server is asked the same word again after this, and up to a fifth more
	maxResults = 256             // finished probes that nobody has read
)

// Key names a server. The same address in two namespaces is two servers.
type Key struct {
	NetNS uint32         `json:"netns"`
	Addr  netip.AddrPort `json:"addr"` // IPv4, never v4-mapped
}

// Snapshot is what a server last told.
type Snapshot struct {
	Key    Key          `json:"key"`
	Server event.Server `json:"server"` // AgeNS is left 0: it is relative to the reset
	At     time.Time    `json:"at"`     // when the probe ended
	Word   string       `json:"word"`   // the word that gave the answer
	Answer
}

// Options of a Prober; the zero value works.
type Options struct {
	// Register is told the 4-tuple of each connection before its first packet
	// leaves, and gives a function that forgets it. Both may be called from
	// any goroutine.
	Register func(local, remote netip.AddrPort, netns uint32) (release func())
	// Connections counts this host's open connections to a server, in the
	// target's namespace; ok is false where there may be more, or where they
	// cannot be counted. Only the worker calls it. Nil: they are not counted.
	Connections func(t Target) (n int, ok bool)
	Timeout     time.Duration // of a whole question, connection attempt included; 0: DefaultTimeout
	TTL         time.Duration // 0: five minutes
	Hold        time.Duration // how long a 4-tuple stays registered after its connection ended, if it was not refused; 0: 65 seconds
}

type server struct {
	target     Target // as last wanted: its process leads into the namespace
	asking     [len(words)]asking
	answered   bool
	snapshot   Snapshot
	perAddress event.Number // maxClientCnxns as conf last told it
}

// asking is the state of one word for one server.
type asking struct {
	queued int       // requesters whose turn it waits for
	busy   bool      // being asked
	needed bool      // by a rule, before srvr was answered
	due    time.Time // when it may be asked again
	told   *Told
}

func (a *asking) pending() bool { return a.queued > 0 || a.busy }

// Prober asks servers in the background, rarely, and remembers what they said.
// It has one connection at a time, whatever the number of servers; one that
// does not answer keeps the others waiting for no longer than the time-out.
type Prober struct {
	dialer  dialer
	holds   holds
	ttl     time.Duration
	limiter *rate.Limiter
	count   func(Target) (int, bool)
	ctx     context.Context
	cancel  context.CancelFunc
	wait    sync.WaitGroup
	wake    chan struct{}
	results chan Snapshot

	mu        sync.Mutex
	servers   map[Key]*server
	queue     queue
	addresses addresses
	closed    bool
}

// NewProber starts the worker; Close ends it.
func NewProber(o Options) *Prober {
	if o.TTL <= 0 {
		o.TTL = defaultTTL
	}
	if o.Hold <= 0 {
		o.Hold = defaultHold
	}
	p := &Prober{
		ttl:       o.TTL,
		limiter:   rate.NewLimiter(perSecond, burst),
		count:     o.Connections,
		wake:      make(chan struct{}, 1),
		results:   make(chan Snapshot, maxResults),
		servers:   map[Key]*server{},
		holds:     holds{time: o.Hold, pending: map[*hold]struct{}{}},
		queue:     queue{lines: map[requester][]question{}},
		addresses: addresses{interval: o.TTL / addressShare, spent: map[addressWord]time.Time{}},
	}
	p.dialer = dialer{timeout: o.Timeout, whole: true, register: o.Register, ended: p.holds.add}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.wait.Go(p.work)
	return p
}

// Lookup gives the latest answer of a server, however old. It never causes
// network traffic.
func (p *Prober) Lookup(k Key) (Snapshot, bool) {
	k.Addr = unmap(k.Addr)
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.servers[k]
	if s == nil || !s.answered {
		return Snapshot{}, false
	}
	return s.snapshot, true
}

// Want asks for a fresh answer and returns at once. Nothing happens where the
// server is being asked or was asked lately, whatever came of it, or where its
// address was asked lately from some other namespaces. Each process of a
// namespace (Target.NSPath) has its turn.
func (p *Prober) Want(t Target) {
	t.Addr = unmap(t.Addr)
	if unaskable(t.Addr) != "" || p.ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	k := Key{t.NetNS, t.Addr}
	s := p.servers[k]
	if s == nil {
		if len(p.servers) >= maxServers && !p.evict() {
			return
		}
		s = &server{}
		p.servers[k] = s
	}
	s.target = t
	p.ask(s, Srvr)
}

// ask queues a word unless it is queued or was asked lately. The lock is held.
func (p *Prober) ask(s *server, w Word) {
	a := &s.asking[w.index]
	if a.busy || time.Now().Before(a.due) {
		return
	}
	dropped, ok := p.queue.push(question{s.target, w})
	if !ok {
		return // waiting already; or full, and it will be wanted again
	}
	a.queued++
	if dropped != nil {
		old := p.servers[dropped.key()]
		old.asking[dropped.word.index].queued--
		if !old.pending() && old.due().IsZero() {
			delete(p.servers, dropped.key()) // never asked: there is nothing to remember
		}
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Results gives each finished probe. Where nobody reads, the oldest are
// dropped; Lookup still has them. It is closed by Close.
func (p *Prober) Results() <-chan Snapshot { return p.results }

// Close ends all probes and releases every registration.
func (p *Prober) Close() {
	p.cancel()
	p.wait.Wait()
	p.holds.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		close(p.results)
	}
}

// evict forgets the server that may be asked again first.
func (p *Prober) evict() bool {
	var oldest *server
	var key Key
	for k, s := range p.servers {
		if !s.pending() && (oldest == nil || s.due().Before(oldest.due())) {
			oldest, key = s, k
		}
	}
	if oldest == nil || time.Now().Before(oldest.due()) {
		return false // forgetting an answer that still holds would let it be asked again at once
	}
	delete(p.servers, key)
	return true
}

func (s *server) pending() bool {
	return slices.ContainsFunc(s.asking[:], func(a asking) bool { return a.pending() })
}

// due is when every word may be asked again.
func (s *server) due() (latest time.Time) {
	for _, a := range s.asking {
		if a.due.After(latest) {
			latest = a.due
		}
	}
	return latest
}

// server is what a record shows of the answer.
func (t Told) server(k Key) event.Server {
	s := event.Server{
		Address: k.Addr.Addr(), Port: k.Addr.Port(), Version: t.Version, Mode: t.Mode, Outcome: t.Outcome,
		Connections: t.Connections, MaxConnections: t.PerAddress, Outstanding: t.Outstanding,
	}
	if l := t.Latency; l != nil {
		s.LatencyMS = &event.Latency{Min: l.MinMS, Avg: l.AvgMS, Max: l.MaxMS}
	}
	if t.Zxid != "" {
		s.Zxid = &t.Zxid
	}
	return s
}

// jitter spreads the probes of many hosts that start together; it never
// shortens the peace that a server was promised.
func jitter(d time.Duration) time.Duration {
	return d + rand.N(d/5+1)
}
