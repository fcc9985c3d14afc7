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
	told     bool           // the kernel side knows that it no longer waits
	ask      *asked         // what the kernel was asked about its connection
	index    int            // in the queue
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
		s.join(raw.Cookie)
	}
	if probe.MayBeFalse(raw) {
		p.joinable = true
		p.until = raw.TimeNs + holdJoin
	}
	if probe.WantsTombstone(raw) {
		p.bury = true
		p.until = raw.TimeNs + holdTombstone
	}
	if probe.Doubtful(raw) {
		p.doubt = true
		p.until = raw.TimeNs + holdMax
	}
	p.stored = s.complete(&raw.Owner)
	if k, ok := s.servers.want(s.preview(p)); ok {
		p.zk = &k
		p.until = raw.TimeNs + holdMax
	}
	s.asks.ask(p)
	if raw.Cookie != 0 {
		s.byCookie[raw.Cookie] = append(s.byCookie[raw.Cookie], p)
	}
	heap.Push(&s.queue, p)
}

// join finds the tcp_receive_reset of the same socket that the kernel fired
// before this send: tcp_reset() takes a socket out of the tables, so a send
// provoked by a later segment proves that no RST had arrived (KERNEL.md,
// hazard 4).
func (s *session) join(cookie uint64) {
	for _, p := range s.byCookie[cookie] {
		if p.joinable && !p.joined {
			p.joined = true
			p.until = 0
			p.doubt = false
			p.zk = nil
			s.doubtDone(p)
		}
	}
}

// tick releases, in order of event time, what is due: everything up to the
// watermark has been read, and what still waits delays the later ones.
func (s *session) tick(watermark, now uint64, force bool) {
	s.clockTick(now)
	s.counters.tick(now)
	s.servers.collect()
	s.walk(now)
	for len(s.queue) > 0 {
		p := s.queue[0]
		if p.raw.TimeNs > watermark {
			return
		}
		if !force && len(s.queue) <= queueMax && s.waits(p, now) && now < p.until {
			return
		}
		heap.Pop(&s.queue)
		s.release(p)
	}
}

func (s *session) waits(p *pending, now uint64) bool {
	if p.joined {
		return false
	}
	if s.asks.waits(p) {
		return true
	}
	if p.zk != nil && !s.servers.known(*p.zk) {
		return true
	}
	if p.doubt && p.closer == nil && !decided(p) {
		return true
	}
	return (p.joinable && now < p.raw.TimeNs+holdJoin) || (p.bury && now < p.raw.TimeNs+holdTombstone)
}

// release finishes a record and forgets it.
func (s *session) release(p *pending) {
	s.doubtDone(p)
	s.asks.settle(p)
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
	res := Resolution{Raw: p.raw, Joined: p.joined, Source: event.SourceNone}
	if !p.joined {
		if p.bury {
			if t, ok := s.live.Tombstone(&p.raw); ok {
				probe.ApplyTombstone(&p.raw, &t)
				p.stored = s.complete(&p.raw.Owner)
			}
			res.Raw = p.raw
		}
		s.attribute(p, &res)
		if res.Owner != nil && s.mayConcernZooKeeper(&p.raw, res.Owner.Comm) {
			s.servers.attach(&res, s.names, s.clock)
		}
	}
	s.finish(&res)
}

// doubtDone tells the kernel side, once, that this record no longer waits.
func (s *session) doubtDone(p *pending) {
	if probe.Doubtful(&p.raw) && !p.told {
		p.told = true
		s.live.DoubtDone(1)
	}
}
