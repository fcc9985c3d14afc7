package pipeline

import (
	"net/netip"

	"rstwhy/internal/netns"
	"rstwhy/internal/probe"
)

// How long a record waits for the kernel's answer, in ns of event time.
const (
	holdSurvivor = 300e6
	holdNAT      = 100e6
	holdSought   = 300e6 // for a walk that names the holder of the socket that was found
)

// sameConnection bounds the distance of the sequence numbers of two RSTs that
// met the same request: its window is not scaled, so it has at most 64 KB.
const sameConnection = 1 << 16

// asks are the questions about single connections that wait for answers.
type asks struct {
	asker    *netns.Asker // nil: nothing is asked
	spaces   *netns.Spaces
	turn     uint64                  // number of the tick
	patience uint64                  // how many times as long as usual a record waits for an answer
	open     map[connection]*pending // the latest RST of each whose effect is not known
}

type connection struct {
	netns       uint32
	local, peer netip.AddrPort
}

// asked is what a pending record asked.
type asked struct {
	about     connection
	survivor  *netns.Question
	nat       *netns.Question
	observed  uint64 // the tick at which the answers were there; 0: none yet
	overtaken bool   // a later RST met the same request, so this one had not killed it
}

func newAsks(spaces *netns.Spaces, thorough bool) asks {
	patience := uint64(1)
	if thorough {
		patience = 4
	}
	return asks{patience: patience, asker: netns.NewAsker(spaces, thorough), spaces: spaces, open: map[connection]*pending{}}
}

func (a *asks) close() {
	if a.asker != nil {
		a.asker.Close()
	}
}

// trouble says why questions were not answered.
func (a *asks) trouble() []string {
	if a.asker == nil {
		return nil
	}
	return a.asker.Trouble()
}

// ask asks what the record leaves open, and lets it wait for the answer.
//
// Where the kernel has no reasons a RST that something dropped before TCP
// looks like one that met a request.
func (a *asks) ask(p *pending, names *probe.Names) {
	if a.asker == nil {
		return
	}
	open, nat := probe.EffectOpen(&p.raw) || names.Untold(&p.raw), names.NATOpen(&p.raw)
	if !open && !nat {
		return
	}
	local, peer := probe.Ends(&p.raw)
	q := &asked{about: connection{p.raw.Netns, local, peer}}
	t := netns.Tuple{Local: local, Peer: peer}
	if p.raw.Owner.Tgid != 0 {
		a.spaces.Note(p.raw.Netns, p.raw.Owner.Tgid)
	}
	if nat {
		if q.nat = a.asker.Translation(p.raw.Netns, t); q.nat == nil {
			return
		}
		p.until = max(p.until, p.raw.TimeNs+a.patience*holdNAT)
	} else {
		if probe.EffectOpen(&p.raw) && !(names.PlacesOnly && names.Untold(&p.raw)) {
			a.overtake(p, q)
		}
		if q.survivor = a.asker.Survivor(p.raw.Netns, t); q.survivor != nil {
			p.until = max(p.until, p.raw.TimeNs+a.patience*holdSurvivor)
		}
	}
	p.ask = q
}

// overtake: a request that a RST in its window did not match exactly is
// answered with a challenge ACK and lives (RFC 5961), and the peer's next RST,
// one round trip later, kills it. Whoever asks after both finds nothing.
func (a *asks) overtake(p *pending, q *asked) {
	if old := a.open[q.about]; old != nil {
		if d := int32(p.raw.TriggerSeq - old.raw.TriggerSeq); p.raw.TimeNs >= old.raw.TimeNs && d > -sameConnection && d < sameConnection && probe.Requests(&p.raw, &old.raw) {
			old.ask.overtaken = true
		}
	}
	a.open[q.about] = p
}

// waits tells whether an answer is still to come. One that came is used a tick
// later: by then every RST that was before it has been read.
func (a *asks) waits(p *pending) bool {
	q := p.ask
	if q == nil || q.overtaken || (q.survivor == nil && q.nat == nil) {
		return false
	}
	_, survivor := q.survivor.Survival()
	if _, nat := q.nat.NAT(); survivor && nat && q.observed == 0 {
		q.observed = a.turn
	}
	return !a.ready(q)
}

func (a *asks) ready(q *asked) bool { return q.observed != 0 && a.turn > q.observed }

// waiting tells whether any record still waits for an answer.
func (a *asks) waiting(q queue) bool {
	any := false
	a.turn++
	for _, p := range q {
		any = a.waits(p) || any
	}
	return any
}

// settle writes what was learned into the record, from where replay has it too.
func (a *asks) settle(p *pending, names *probe.Names) {
	if p.ask == nil {
		return
	}
	survival, _ := p.ask.survivor.Survival()
	switch {
	case !probe.EffectOpen(&p.raw) || names.Untold(&p.raw): // session.identify
	case p.ask.overtaken || survival == netns.Alive:
		probe.SetEffect(&p.raw, false)
	case survival == netns.Gone && a.ready(p.ask):
		probe.SetEffect(&p.raw, true)
	}
	if nat, _ := p.ask.nat.NAT(); nat != nil {
		probe.SetNAT(&p.raw, nat)
	}
	p.untranslated = p.ask.nat.Untranslated()
}

// forget ends what a record is remembered for.
func (a *asks) forget(p *pending) {
	if p.ask != nil && a.open[p.ask.about] == p {
		delete(a.open, p.ask.about)
	}
}

// identify writes into the record which socket refused a RST, where the kernel did
// not tell and an answer has come, and lets the record wait for a walk that names
// the socket's holder. last: no answer will come any more.
func (s *session) identify(p *pending, now uint64, last bool) {
	if p.identified || !s.names.Untold(&p.raw) {
		return
	}
	var question *netns.Question
	if p.ask != nil {
		question = p.ask.survivor
	}
	survival, answered := question.Survival()
	if !last && (question == nil || !answered) {
		return
	}
	p.identified = true
	switch found := question.Socket(); {
	case p.ask != nil && p.ask.overtaken:
		probe.Challenged(&p.raw)
	case s.ended(p):
	case p.succeeded: // by another connection of the same addresses and ports: what there is tells nothing
	case survival != netns.NotKnown:
		before := p.raw
		p.before = &before
		p.sought = s.names.SetRefuser(&p.raw, probe.Refuser{
			Alive: survival == netns.Alive, Listener: survival == netns.Gone && found.Listener(),
			State: found.State, TimeWait: found.TimeWait, Request: found.Request, Cookie: found.Cookie,
		})
	}
	if p.sought != 0 && s.walks.possible && !s.opts.NoNames && !last {
		p.until = max(p.until, now+s.asks.patience*holdSought)
	}
}

// ended looks for the connection that refused the RST among those that ended soon
// after it: by a RST that was accepted, or by a process that left a tombstone.
func (s *session) ended(p *pending) bool {
	for _, later := range s.queue {
		switch {
		case !probe.EndedLater(&p.raw, &later.raw):
		case probe.OpenedLater(&p.raw, later.raw.OpenedNs):
			p.succeeded = true
		default:
			probe.SetEnded(&p.raw, later.raw.State, &later.raw.Owner, later.raw.How)
			p.stored = s.complete(&p.raw.Owner)
			return true
		}
	}
	t, ok := s.live.Tombstone(&p.raw)
	if !ok || t.GoneNs < p.raw.TimeNs {
		return false
	}
	if probe.OpenedLater(&p.raw, t.OpenedNs) {
		p.succeeded = true
		return false
	}
	probe.SetEnded(&p.raw, t.LeftState, &t.Owner, t.How)
	p.stored = s.complete(&p.raw.Owner)
	return true
}
