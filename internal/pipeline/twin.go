package pipeline

import (
	"slices"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

// enum reset_hook and one of enum reset_flags of bpf/event.h; twin_test.go
// holds them against what probe makes of them.
const (
	hookSend     = 1
	hookReceive  = 2
	hookDrop     = 3
	hookFirewall = 4

	flagMPTCP = 1 << 7
)

// hookOf: records of before the hooks had numbers came from the two tracepoints.
func hookOf(e *probe.ResetEvent) uint8 {
	switch {
	case e.Hook != 0:
		return e.Hook
	case probe.Sent(e):
		return hookSend
	}
	return hookReceive
}

// place is a connection as one of its ends names it.
type place struct {
	local, peer         [16]uint8
	netns               uint32
	localPort, peerPort uint16
}

// mirrors tells whether o names the same connection from its other end, which
// may be in another network namespace.
func (p place) mirrors(o place) bool {
	m := o.mirrored()
	m.netns = p.netns
	return p == m
}

func placeOf(e *probe.ResetEvent) place {
	return place{local: e.LocalAddr, peer: e.PeerAddr, netns: e.Netns, localPort: e.LocalPort, peerPort: e.PeerPort}
}

func (p place) mirrored() place {
	p.local, p.peer = p.peer, p.local
	p.localPort, p.peerPort = p.peerPort, p.localPort
	return p
}

// end is one end's view of a RST: what finds the other end's.
type end struct {
	at          place
	time        uint64
	cpu, number uint32 // with the time: its id
	seq, second uint32 // probe.PairKey
	known       bool   // second is known
	ack         bool   // the RST on the wire has an ACK (of a receive: not known)
	hook        uint8
	wait        *pending // nil: finished
	twin        *end     // the other end's view
	into        *end     // a further packet of this one's story
	owner       *event.Process
	acted       *event.Process // process that acted, once finished
	nat         *event.NAT     // what conntrack translates, once finished
}

const (
	twinKeep = 1e9   // a late end finds one that was finished so long ago
	twinNear = 500e6 // the most between two ends of which only one number agrees
	endsMax  = 8192
	slotMax  = 32 // ends under one key; more are packets of one flood
)

func newEnd(p *pending) *end {
	const ack = 0x10
	e := &p.raw
	seq, second, ok := probe.PairKey(e)
	if !ok {
		return nil
	}
	n := &end{
		at: placeOf(e), time: e.TimeNs, cpu: e.Cpu, number: e.Seq, seq: seq, second: second, known: true,
		hook: hookOf(e), wait: p,
	}
	switch n.hook {
	case hookSend: // an active RST and an answer to a segment without ACK carry one (RFC 9293 3.10.7)
		n.ack = !probe.Triggered(e) || e.TriggerFlags&ack == 0
	case hookDrop, hookFirewall: // the segment is the RST
		n.ack = e.TriggerFlags&ack != 0
		n.known = n.ack
	}
	return n
}

func (n *end) id() string {
	return probe.ID(&probe.ResetEvent{TimeNs: n.time, Cpu: n.cpu, Seq: n.number})
}

func (n *end) sends() bool { return n.hook == hookSend || n.hook == hookFirewall }

func (n *end) root() *end {
	for n.into != nil {
		n = n.into
	}
	return n
}

// pairs tells whether s sent the RST that r tells of. The key survives NAT and
// network namespaces (KERNEL.md 9d). A receiver tells what it expected: after a
// FIN that is one more than what came, and it may have sent what the sender
// never saw; then both ends must name the same connection.
func pairs(s, r *end) bool {
	apart := max(s.time, r.time) - min(s.time, r.time)
	if apart > twinKeep || s.seq != r.seq && (r.hook != hookReceive || s.seq != r.seq-1) {
		return false
	}
	mirrored := s.at.mirrors(r.at)
	if r.hook == hookDrop && s.ack != r.ack {
		return false // another packet
	}
	if s.known && r.known && s.second == r.second {
		// The answer to a SYN has sequence number 0: half of the key says nothing.
		return s.seq != 0 || mirrored || s.at.localPort == r.at.peerPort || s.at.peerPort == r.at.localPort
	}
	if s.seq == 0 || !mirrored || apart > twinNear || r.hook == hookDrop && s.known && r.known {
		return false
	}
	return !s.known || !r.known || int32(r.second-s.second) > 0
}

// twins finds the other end of a RST that both ends of this host saw.
type twins struct {
	slots map[uint64][]*end
	order []*end // as they came
}

func slot(seq, second uint32) uint64 {
	if seq != 0 {
		return uint64(seq)
	}
	return 1<<63 | uint64(second)
}

// add finds n's twin and remembers n.
func (t *twins) add(n *end) {
	if t.slots == nil {
		t.slots = map[uint64][]*end{}
	}
	near := n.seq + 1
	if n.hook == hookReceive {
		near = n.seq - 1
	}
	if best := t.find(n, slot(n.seq, n.second), slot(near, n.second)); best != nil {
		link(n, best.root())
	}
	key := slot(n.seq, n.second)
	list := t.slots[key]
	if len(list) >= slotMax {
		list = slices.Delete(list, 0, 1)
	}
	t.slots[key] = append(list, n)
	t.order = append(t.order, n)
	if len(t.order) > endsMax {
		t.forget(t.order[0])
		t.order = t.order[1:]
	}
}

// find gives the earliest that fits and has no twin: the first RST is the one
// that ended the connection. Where all are taken it gives the earliest to a
// RST that was not accepted, whose sender has its story elsewhere.
func (t *twins) find(n *end, keys ...uint64) *end {
	var free, taken *end
	for _, key := range keys {
		for _, o := range t.slots[key] {
			s, r := n, o
			if o.sends() {
				s, r = o, n
			}
			if o.sends() == n.sends() || !pairs(s, r) || o.into == nil && o.wait != nil && o.wait.joined {
				continue
			}
			// A RST that was not accepted gives way to the one that was.
			has := o.root().twin
			if has == nil || n.hook == hookReceive && has.root().hook == hookDrop {
				if free == nil || o.time < free.time {
					free = o
				}
			} else if taken == nil || o.time < taken.time {
				taken = o
			}
		}
	}
	if free == nil && n.hook == hookDrop {
		return taken
	}
	return free
}

// link joins two ends. One that has a twin keeps it.
func link(n, o *end) {
	n.twin = o
	if o.twin == nil || n.hook == hookReceive && o.twin.root().hook == hookDrop {
		o.twin = n
	}
	if n.wait != nil && o.wait != nil {
		until := max(n.wait.until, o.wait.until)
		n.wait.until, o.wait.until = until, until
	}
}

// unlink: n was no RST.
func (t *twins) unlink(n *end) {
	if n == nil {
		return
	}
	if n.twin != nil && n.twin.twin == n {
		n.twin.twin = nil
	}
	n.twin = nil
	t.forget(n)
}

// absorb makes n a further packet of root's story.
func absorb(root, n *end) {
	if root == nil || n == nil {
		return
	}
	n.into = root
	if n.twin == nil {
		return
	}
	if root.twin == nil {
		root.twin = n.twin.root()
	}
	if n.twin.twin == n {
		n.twin.twin = root
	}
}

func (t *twins) forget(n *end) {
	key := slot(n.seq, n.second)
	list := t.slots[key]
	if i := slices.Index(list, n); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) == 0 {
		delete(t.slots, key)
	} else {
		t.slots[key] = list
	}
}

// expire forgets what was finished twinKeep ago.
func (t *twins) expire(now uint64) {
	n := 0
	for n < len(t.order) && t.order[n].wait == nil && t.order[n].time+twinKeep < now {
		t.forget(t.order[n])
		n++
	}
	if n > 0 {
		t.order = slices.Delete(t.order, 0, n)
	}
}
