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
	Seek([]uint64) error
	Tombstone(*probe.ResetEvent) (probe.Tombstone, bool)
	DoubtDone(uint64)
	Detach()
	Counts() probe.Counts
	MissedStates() uint64
	TendDrops(time.Time)
	TendLate(time.Time)
	Gaps(time.Time) []event.Gap
	Storms() ([]probe.Counted, error)
	NetNSHits() (map[uint32]probe.Hits, error)
}

// pending is a reset that waits for its turn, its owner or a first probe.
type pending struct {
	raw        probe.ResetEvent
	until      uint64         // boot-clock ns; finished then at the latest
	stored     *event.Process // the owner that the kernel side gave, completed at once
	closer     *probe.Owner   // who closed the socket after the reset
	closerP    *event.Process // the same, completed at once
	holders    []probe.Owner  // what a descriptor walk found; nil: not walked
	joined     bool           // this received reset was none: a send follows
	joinable   bool           // it may turn out to be none
	bury       bool           // a tombstone may still appear
	doubt      bool           // waits for closer or walk
	asked      bool           // a walk was asked for it
	sought     uint64         // cookie of the socket that refused it, whose holder a walk tells
	identified bool           // it was found out which socket refused it
	storing    bool           // the walk's holder is the process that is stored with that socket
	zk         *zk.Key        // waits for this server's first snapshot
	looking    bool           // waits for a look at its process
	told       bool           // the kernel side knows that it no longer waits
	actor      *event.Process // the process that acted from outside, completed at once
	end        *end           // nil: the record does not tell which RST it was
	local      bool           // the other end is likely here, and may be told within holdTwin
	repeats    bool           // further packets may follow within holdStory
	subflow    bool           // the second RST of an MPTCP child may follow
	more       uint64         // packets merged into this story
	settled    *Resolution    // made when the first of two ends was finished
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
		s.join(raw.Cookie)
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
	// Nobody is told of another namespace's, nor why it could not be asked.
	if s.opts.Select.NetNS.allow(is(raw.Netns)) {
		s.asks.ask(p, &s.names)
	}
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
	s.widest = max(s.widest, len(s.queue))
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
			p.zk, p.looking = nil, false
			s.twins.unlink(p.end)
			p.end = nil
			s.doubtDone(p)
		}
	}
}
