package pipeline

import (
	"container/heap"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

// tick releases, in order of event time, what is due: everything up to the
// watermark has been read, and what still waits delays the later ones.
func (s *session) tick(watermark, now uint64, force bool) {
	s.clockTick(now)
	s.counters.tick(now)
	s.asks.turn++
	s.identifyAll(now)
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
	if s.asks.waits(p) || p.sought != 0 && !p.asked && now < p.until && s.walks.possible && !s.opts.NoNames {
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
	s.servers.need(r)
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
	s.asks.settle(p, &s.names)
	s.identify(p, 0, true)
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
