package zk

import (
	"fmt"
	"time"

	"rstwhy/internal/event"
)

const (
	// defaultPerAddress is maxClientCnxns where nobody configured it (ZooKeeper
	// 3.4 and later).
	defaultPerAddress = 60
	// withholdAbove is the share of it, in per cent, that this host may hold of
	// a server and still ask: the last connections are for those who work.
	withholdAbove = 80
	// withheldShare of the usual time later it is seen whether there is room.
	withheldShare = 10
)

// Told is what a server answered to one word.
type Told struct {
	Answer
	At time.Time // when the question ended
}

// Need asks a server for conf, mntr or isro because a rule needs it, and
// returns at once. It follows srvr: nothing is asked of a server that was never
// wanted, or that did not say to srvr that it is ZooKeeper and serving, which
// answers all words alike. Each word is asked as rarely as srvr is.
func (p *Prober) Need(k Key, w Word) {
	if w != Conf && w != Mntr && w != Isro || p.ctx.Err() != nil {
		return
	}
	k.Addr = unmap(k.Addr)
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.servers[k]
	switch {
	case s == nil:
	case !s.answered || s.asking[Srvr.index].pending():
		s.asking[w.index].needed = true
	case s.snapshot.Outcome == event.OutcomeOK:
		p.ask(s, w)
	}
}

// Told gives the latest answer to a word, however old: those of Need, and srvr
// (or stat in its place). It never causes network traffic.
func (p *Prober) Told(k Key, w Word) (Told, bool) {
	k.Addr = unmap(k.Addr)
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.servers[k]
	if s == nil || w.String() == "" || s.asking[w.index].told == nil {
		return Told{}, false
	}
	return *s.asking[w.index].told, true
}

// note remembers an answer. What only a needed word tells stays with the
// server's snapshot, and an old answer is not given up for a question that was
// withheld. The lock is held.
func (p *Prober) note(s *server, w Word, told Told, snapshot *Snapshot) {
	a := &s.asking[w.index]
	a.busy = false
	if told.Outcome == event.OutcomeWithheld {
		a.due = told.At.Add(jitter(p.ttl / withheldShare))
	} else {
		a.due, a.told = told.At.Add(jitter(p.ttl)), &told
		p.addresses.take(snapshot.Key.Addr, w, told.At)
	}
	if told.PerAddress.Known {
		s.perAddress = told.PerAddress
	}
	if w == Srvr {
		snapshot.Server.MaxConnections = s.perAddress
		if told.Outcome != event.OutcomeWithheld || !s.answered {
			s.answered, s.snapshot = true, *snapshot
		}
		for _, needed := range []Word{Conf, Mntr, Isro} {
			n := &s.asking[needed.index]
			if n.needed && s.snapshot.Outcome == event.OutcomeOK {
				p.ask(s, needed)
			}
			n.needed = false
		}
		return
	}
	s.snapshot.Server.MaxConnections = s.perAddress
	snapshot.Server = s.snapshot.Server
}

// withhold tells whether a question would take a connection of the last ones
// that the server allows this host.
func (p *Prober) withhold(t Target) (Answer, bool) {
	if p.count == nil {
		return Answer{}, false
	}
	limit := event.Num(defaultPerAddress)
	p.mu.Lock()
	if s := p.servers[Key{t.NetNS, t.Addr}]; s != nil {
		if s.perAddress.Known {
			limit = s.perAddress
		}
	}
	p.mu.Unlock()
	if limit.N == 0 {
		return Answer{}, false // any number
	}
	n, _ := p.count(t) // where there may be more, these are enough or not known to be
	if float64(n) <= float64(limit.N)*withholdAbove/100 {
		return Answer{}, false
	}
	return Answer{Outcome: event.OutcomeWithheld, Detail: fmt.Sprintf(
		"this host holds %d connections to the server, which allows one address %d", n, limit.N)}, true
}
