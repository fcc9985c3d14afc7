package zk

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"rstwhy/internal/event"
)

// Bounds of what a Prober does by itself, whatever it is asked.
const (
	maxServers  = 4096            // servers remembered
	workers     = 4               // probes at once
	perSecond   = 5               // probes started a second
	burst       = 5               //
	defaultTTL  = 5 * time.Minute // a server is asked again after this, give or take a fifth
	defaultHold = 5 * time.Second // a probe's 4-tuple stays registered this long after its end
	maxResults  = 256             // finished probes that nobody has read
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
	Timeout  time.Duration // of the connection attempt and of the answer, each; 0: DefaultTimeout
	TTL      time.Duration // 0: five minutes
	Hold     time.Duration // how long a 4-tuple stays registered after its connection ended; 0: five seconds
}

type server struct {
	busy     bool      // queued or being asked
	due      time.Time // when it may be asked again
	answered bool
	snapshot Snapshot
}

// Prober asks servers in the background, rarely, and remembers what they said.
type Prober struct {
	dialer  dialer
	holds   holds
	ttl     time.Duration
	limiter *rate.Limiter
	ctx     context.Context
	cancel  context.CancelFunc
	wait    sync.WaitGroup
	queue   chan Target
	results chan Snapshot

	mu      sync.Mutex
	servers map[Key]*server
}

// NewProber starts the workers; Close ends them.
func NewProber(o Options) *Prober {
	if o.TTL <= 0 {
		o.TTL = defaultTTL
	}
	if o.Hold <= 0 {
		o.Hold = defaultHold
	}
	p := &Prober{
		ttl:     o.TTL,
		limiter: rate.NewLimiter(perSecond, burst),
		queue:   make(chan Target, maxServers),
		results: make(chan Snapshot, maxResults),
		servers: map[Key]*server{},
		holds:   holds{time: o.Hold, pending: map[*hold]struct{}{}},
	}
	p.dialer = dialer{timeout: o.Timeout, register: o.Register, ended: p.holds.add}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	for range workers {
		p.wait.Go(p.work)
	}
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
// server is being asked or was asked lately, whatever came of it.
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
	if s.busy || time.Now().Before(s.due) {
		return
	}
	select {
	case p.queue <- t:
		s.busy = true
	default: // cannot be: the queue holds as many as there are servers
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
	if p.queue != nil {
		p.queue = nil
		close(p.results)
	}
}

// evict forgets the server that may be asked again first.
func (p *Prober) evict() bool {
	var oldest *server
	var key Key
	for k, s := range p.servers {
		if !s.busy && (oldest == nil || s.due.Before(oldest.due)) {
			oldest, key = s, k
		}
	}
	if oldest == nil || time.Now().Before(oldest.due) {
		return false // forgetting an answer that still holds would let it be asked again at once
	}
	delete(p.servers, key)
	return true
}

func (p *Prober) work() {
	queue := p.queue
	for {
		select {
		case <-p.ctx.Done():
			return
		case t := <-queue:
			if s, ok := p.probe(t); ok {
				p.finish(s)
			}
		}
	}
}

// probe sends srvr. A server that closes without a byte may be one that does
// not know the word (before 3.3), so stat follows once; a reset is no such
// answer. A refusal by the whitelist is none either: such a server knows srvr.
func (p *Prober) probe(t Target) (Snapshot, bool) {
	word := Srvr
	a, ok := p.paced(t, word)
	if ok && a.Outcome == event.OutcomeReset && a.unknownWord {
		var b Answer
		if b, ok = p.paced(t, Stat); b.Outcome == event.OutcomeOK || b.Outcome == event.OutcomeNotServing {
			a, word = b, Stat
		}
	}
	return Snapshot{
		Key: Key{t.NetNS, t.Addr}, At: time.Now(), Word: word.String(), Answer: a,
		Server: event.Server{
			Address: t.Addr.Addr(), Port: t.Addr.Port(),
			Version: a.Version, Mode: a.Mode, Outcome: a.Outcome,
		},
	}, ok
}

// paced asks under the rate limit; false means that the Prober is closing.
func (p *Prober) paced(t Target, w Word) (Answer, bool) {
	if p.limiter.Wait(p.ctx) != nil {
		return Answer{}, false
	}
	a := p.dialer.ask(p.ctx, t, w)
	return a, p.ctx.Err() == nil
}

func (p *Prober) finish(s Snapshot) {
	p.mu.Lock()
	if e := p.servers[s.Key]; e != nil {
		e.busy, e.answered, e.snapshot = false, true, s
		e.due = s.At.Add(jitter(p.ttl))
	}
	p.mu.Unlock()
	for {
		select {
		case p.results <- s:
			return
		default:
		}
		select {
		case <-p.results:
		default:
		}
	}
}

// jitter spreads the probes of many hosts that start together.
func jitter(d time.Duration) time.Duration {
	return d - d/5 + rand.N(2*d/5+1)
}
