package pipeline

import "rstwhy/internal/probe"

const (
	holdStory   = 200e6 // an answer to a late segment waits so long for the next ones
	holdSubflow = 5e6   // MPTCP resets an unaccepted child twice, microseconds apart
	followKeep  = 1e9   // RSTs that follow an accepted one belong to it
	// Sequence numbers of one connection are no further apart within the time of
	// one story. A later connection of the same ports begins beyond what it used.
	seqNear = 1 << 24
)

// stories are the records in wait that further packets can join.
type stories struct {
	sends, receives map[place]*pending
	subflows        map[uint64]*pending // by socket cookie
}

func newStories() stories {
	return stories{sends: map[place]*pending{}, receives: map[place]*pending{}, subflows: map[uint64]*pending{}}
}

// repeats tells that the kernel will answer each further segment of the
// connection alike: it answered one, and no live socket is left. A SYN is an
// attempt of its own.
func repeats(e *probe.ResetEvent) bool {
	const syn, rst, ack = 0x02, 0x04, 0x10
	if hookOf(e) != hookSend || !probe.Triggered(e) || e.TriggerFlags&(syn|rst|ack) != ack {
		return false
	}
	const timewait, none, stateClose = 2, 0, 7 // enum socket_kind; include/net/tcp_states.h
	return e.Socket == none || e.Socket == timewait || probe.Orphan(e) || probe.Listening(e) || e.State == stateClose
}

func near(a, b uint32) bool { d := int32(a - b); return -seqNear < d && d < seqNear }

// sameStory tells whether b answers another segment of the connection that a
// was about: the same ports may carry another one by now.
func sameStory(a, b *probe.ResetEvent) bool {
	if b.TimeNs-a.TimeNs > holdStory || a.Cookie != 0 && b.Cookie != 0 && a.Cookie != b.Cookie {
		return false
	}
	return b.OpenedNs <= a.TimeNs && near(a.TriggerSeq, b.TriggerSeq)
}

// follows tells whether d is a further RST for the connection that an accepted
// one, a, ended: nobody was there any more to take it.
func (s *session) follows(a, d *probe.ResetEvent) bool {
	const none = 0 // enum socket_kind
	if d.TimeNs < a.TimeNs || d.TimeNs-a.TimeNs > followKeep || !near(a.RcvNxt, d.TriggerSeq) {
		return false
	}
	if d.Socket != none && !probe.Listening(d) && (d.Cookie == 0 || d.Cookie != a.Cookie) {
		return false // a later connection is there
	}
	switch s.names.DropReasons[d.DropReason] {
	case "", "NO_SOCKET", "TCP_RESET", "TCP_CLOSE":
		return true
	}
	return false // a firewall or the like dropped it, which is a story of its own
}

// gather joins the record with a story that waits, or lets it wait for more.
func (s *session) gather(p *pending) {
	e, at := &p.raw, placeOf(&p.raw)
	switch hookOf(e) {
	case hookSend:
		if e.Flags&flagMPTCP != 0 && !probe.Triggered(e) && e.Cookie != 0 {
			s.subflow(p, at)
		}
		if !repeats(e) {
			return
		}
		first, later := s.stories.sends[at], p
		if first != nil && e.TimeNs < first.raw.TimeNs {
			first, later = p, first // read out of order, from another CPU
		}
		if first != nil && sameStory(&first.raw, &later.raw) {
			s.merge(first, later)
		} else {
			first = p
		}
		first.repeats, first.until = true, max(first.until, first.raw.TimeNs+holdStory+holdJoin)
		s.stories.sends[at] = first
	case hookReceive:
		if !p.joinable {
			s.stories.receives[at] = p
		}
	case hookDrop:
		if first := s.stories.receives[at]; first != nil && s.follows(&first.raw, e) {
			s.merge(first, p)
		}
	}
}

// subflow: MPTCP resets a child that nobody accepted once as a subflow
// (mptcp_do_fastclose) and once as a child (inet_child_forget).
func (s *session) subflow(p *pending, at place) {
	e := &p.raw
	first := s.stories.subflows[e.Cookie]
	if first != nil && placeOf(&first.raw) == at && e.TimeNs-first.raw.TimeNs <= holdStory && e.OpenedNs <= first.raw.TimeNs {
		s.merge(first, p)
		return
	}
	s.stories.subflows[e.Cookie] = p
	p.subflow, p.until = true, max(p.until, e.TimeNs+holdSubflow+holdJoin)
}

// merge makes p a further packet of first.
func (s *session) merge(first, p *pending) {
	first.more += 1 + p.more
	p.more = 0
	p.joined, p.until, p.doubt, p.zk, p.looking = true, 0, false, nil, false
	s.doubtDone(p)
	absorb(first.end, p.end)
}

// leave: the record is finished; what comes later is another story.
func (s *stories) leave(p *pending) {
	at := placeOf(&p.raw)
	for _, m := range []map[place]*pending{s.sends, s.receives} {
		if m[at] == p {
			delete(m, at)
		}
	}
	if s.subflows[p.raw.Cookie] == p {
		delete(s.subflows, p.raw.Cookie)
	}
}
