package pipeline

import (
	"container/heap"
	"time"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
	"rstwhy/internal/zk"
)

// kernelSide is what a session needs of probe.Live once it is attached.
type kernelSide interface {
	Read(time.Time) ([]byte, error)
	Walk() ([]probe.Holder, error)
	Tombstone(*probe.ResetEvent) (probe.Tombstone, bool)
	DoubtDone(uint64)
	Detach()
	Counts() probe.Counts
	MissedStates() uint64
	TendDrops(time.Time)
	Gaps(time.Time) []event.Gap
	Storms() ([]probe.Counted, error)
	NetNSHits() (map[uint32]probe.Hits, error)
}

// pending is a reset that waits for its turn, its owner or a first probe.
type pending struct {
	raw      probe.ResetEvent
	until    uint64         // boot-clock ns; finished then at the latest
	stored   *event.Process // the owner that the kernel side gave, completed at once
	closer   *probe.Owner   // who closed the socket after the reset
	closerP  *event.Process // the same, completed at once
	holders  []probe.Owner  // what a descriptor walk found; nil: not walked
	joined   bool           // this received reset was none: a send follows
	joinable bool           // it may turn out to be none
	bury     bool           // a tombstone may still appear
	doubt    bool           // waits for closer or walk
	asked    bool           // a walk was asked for it
	zk       *zk.Key        // waits for this server's first snapshot
	looking  bool           // waits for a look at its process
	told     bool           // the kernel side knows that it no longer waits
	actor    *event.Process // the process that acted from outside, completed at once
	end      *end           // nil: the record does not tell which RST it was
	local    bool           // the other end is likely here, and may be told within holdTwin
	repeats  bool           // further packets may follow within holdStory
	subflow  bool           // the second RST of an MPTCP child may follow
	more     uint64         // packets merged into this story
	settled  *Resolution    // made when the first of two ends was finished
	// untranslated: conntrack was asked, and translates nothing here.
	untranslated bool
	ask          *asked // what the kernel was asked about its connection
	index        int    // in the queue
}

// queue orders pending resets by event time (container/heap).
type queue []*pending

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	a, b := &q[i].raw, &q[j].raw
	if a.TimeNs != b.TimeNs {
		return a.TimeNs < b.TimeNs
	}
	if a.Cpu != b.Cpu {
		return a.Cpu < b.Cpu
	}
	return a.Seq < b.Seq
}
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push is for container/heap.
func (q *queue) Push(x any) { *q = append(*q, x.(*pending)) }

// Pop is for container/heap.
func (q *queue) Pop() any {
	old := *q
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return p
}

// reset takes a raw reset: joins it, or queues it with what it waits for.
func (s *session) reset(raw *probe.ResetEvent) {
	s.taken++
	p := &pending{raw: *raw, until: raw.TimeNs}
	if probe.Sent(raw) && probe.Triggered(raw) && raw.Cookie != 0 {
		if !s.join(raw.Cookie) && tearsDown(raw) {
			s.finisher.storms.tore(raw, 1)
		}
	}
	if hookOf(raw) == hookReceive && probe.MayBeFalse(raw) {
		p.joinable = true
		p.until = raw.TimeNs + holdJoin
	}
	if probe.WantsTombstone(raw) {
		p.bury = true
		s.buried = append(s.buried, p)
		p.until = raw.TimeNs + holdTombstone
	}
	if probe.Doubtful(raw) {
		p.doubt = true
		p.until = raw.TimeNs + holdMax
	}
	p.stored = s.complete(&raw.Owner)
	if o, ok := probe.Actor(raw); ok {
		p.actor = s.complete(o)
	}
	s.enrich(p)
	s.asks.ask(p)
	if raw.Cookie != 0 {
		s.byCookie[raw.Cookie] = append(s.byCookie[raw.Cookie], p)
	}
	s.senders.note(raw)
	s.here.note(raw)
	if p.end = newEnd(p); p.end != nil {
		if p.local = s.here.likely(raw); p.local {
			p.until = max(p.until, raw.TimeNs+holdTwin+holdJoin)
		}
		s.twins.add(p.end)
	}
	s.gather(p)
	heap.Push(&s.queue, p)
}

// join finds the tcp_receive_reset of the same socket that the kernel fired
// before this send: tcp_reset() takes a socket out of the tables, so a send
// provoked by a later segment proves that no RST had arrived (KERNEL.md,
// hazard 4).
func (s *session) join(cookie uint64) (found bool) {
	for _, p := range s.byCookie[cookie] {
		if p.joinable && !p.joined {
			found, p.joined = true, true
			p.until = 0
			p.doubt = false
			p.zk, p.looking = nil, false
			s.twins.unlink(p.end)
			p.end = nil
			s.doubtDone(p)
		}
	}
	return found
}

// tick releases, in order of event time, what is due: everything up to the
// watermark has been read, and what still waits delays the later ones.
func (s *session) tick(watermark, now uint64, force bool) {
	s.clockTick(now)
	s.counters.tick(now)
	s.asks.turn++
	s.servers.collect()
	s.lookedAt()
	s.housekeeping(now)
	s.exhumeDue(now)
	s.walk(now)
	for len(s.queue) > 0 {
		p := s.queue[0]
		if p.raw.TimeNs > watermark {
			return
		}
		if !force && len(s.queue) <= queueMax && s.waits(p, watermark, now) && now < p.until {
			return
		}
		heap.Pop(&s.queue)
		s.release(p, now)
	}
}

// waits tells whether more may be learned of the record. Other records are
// waited for by what has been read, not by the clock.
func (s *session) waits(p *pending, watermark, now uint64) bool {
	if p.joined {
		return false
	}
	if s.unsettled(p, now) {
		return true
	}
	read := min(watermark, now)
	if p.repeats && read < p.raw.TimeNs+holdStory || p.subflow && read < p.raw.TimeNs+holdSubflow {
		return true
	}
	if p.end == nil {
		return false
	}
	t := p.end.twin
	if t == nil {
		return p.local && read < p.raw.TimeNs+holdTwin
	}
	t = t.root()
	return t.wait != nil && s.unsettled(t.wait, now)
}

// unsettled tells whether the record waits for its own owner or server.
func (s *session) unsettled(p *pending, now uint64) bool {
	if p.joined || p.settled != nil {
		return false
	}
	if s.asks.waits(p) {
		return true
	}
	if p.looking || p.zk != nil && !s.servers.known(*p.zk) {
		return true
	}
	if p.doubt && p.closer == nil && !decided(p) {
		// Who acted is known; a walk only tells who else held the socket.
		return probe.Source(&p.raw) != event.SourceCurrent || now < p.raw.TimeNs+holdOthers
	}
	return (p.joinable && now < p.raw.TimeNs+holdJoin) || (p.bury && now < p.raw.TimeNs+holdTombstone)
}

// release finishes a record and forgets it.
func (s *session) release(p *pending, now uint64) {
	s.doubtDone(p)
	s.stories.leave(p)
	s.asks.forget(p)
	if list := s.byCookie[p.raw.Cookie]; len(list) > 0 {
		kept := list[:0]
		for _, x := range list {
			if x != p {
				kept = append(kept, x)
			}
		}
		if len(kept) == 0 {
			delete(s.byCookie, p.raw.Cookie)
		} else {
			s.byCookie[p.raw.Cookie] = kept
		}
	}
	res := s.settle(p)
	if !p.joined {
		if res.Owner != nil && s.mayConcernZooKeeper(&p.raw, res.Owner) {
			s.servers.attach(res, s.names, s.clock)
		}
		s.other(p, res, now)
		s.servers.twin(res)
	}
	res.Packets = 1 + p.more
	r := s.finish(res)
	s.finisher.storms.remember(&p.raw, r, now)
	if p.end != nil {
		p.end.wait, p.end.owner = nil, res.Owner
		if r != nil {
			p.end.nat = r.NAT
			if r.Actor != nil {
				p.end.acted = r.Actor.Process
			}
		}
	}
}

// settle decides, once, what the record itself tells.
func (s *session) settle(p *pending) *Resolution {
	if p.settled != nil && p.settled.Joined == p.joined {
		return p.settled
	}
	res := &Resolution{Raw: p.raw, Joined: p.joined, Source: event.SourceNone, Packets: 1 + p.more}
	p.settled = res
	if p.joined {
		return res
	}
	if p.bury {
		s.exhume(p)
	}
	s.asks.settle(p)
	res.Raw = p.raw
	s.attribute(p, res)
	s.outside(p, res)
	s.others(p, res)
	return res
}

// exhumeDue looks for the tombstones whose time is over. A record may wait on
// for others, and a later connection of the same ports would leave its own.
func (s *session) exhumeDue(now uint64) {
	for len(s.buried) > 0 && now >= s.buried[0].raw.TimeNs+holdTombstone {
		if p := s.buried[0]; p.bury && !p.joined {
			s.exhume(p)
		}
		s.buried[0], s.buried = nil, s.buried[1:]
	}
}

func (s *session) exhume(p *pending) {
	p.bury = false
	if t, ok := s.live.Tombstone(&p.raw); ok {
		probe.ApplyTombstone(&p.raw, &t)
		p.stored = s.complete(&p.raw.Owner)
	}
}

// doubtDone tells the kernel side, once, that this record no longer waits.
func (s *session) doubtDone(p *pending) {
	if probe.Doubtful(&p.raw) && !p.told {
		p.told = true
		s.live.DoubtDone(1)
	}
}
