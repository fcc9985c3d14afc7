package lab

import (
	"math/rand/v2"
	"net/netip"
)

// talk is a connection of the speaker's.
type talk struct {
	s        *speaker
	me, it   netip.AddrPort
	seq, ack uint32 // what it sends next, and what it expects next
}

const speakerPort = 40000

func (s *speaker) talk(to netip.AddrPort) *talk {
	return &talk{s: s, me: netip.AddrPortFrom(s.addr, speakerPort), it: to, seq: rand.Uint32()}
}

// far is the speaker as the other end of a truth.
func (t *talk) far() end { return end{addr: t.me} }

// say sends a segment whose sequence number lies off the expected one by delta.
func (t *talk) say(flags byte, delta int, payload int) {
	g := t.segment(flags, delta)
	g.payload = make([]byte, payload)
	t.s.say(g)
}

func (t *talk) segment(flags byte, delta int) segment {
	g := segment{from: t.me, to: t.it, seq: t.seq + uint32(delta), flags: flags, window: 8192}
	if flags&flagACK != 0 {
		g.ack = t.ack
	}
	return g
}

// rst sends a RST as a kernel does that knows no such connection.
func (t *talk) rst(delta int) { t.say(flagRST, delta, 0) }

// hear waits for a segment of this connection with these flags.
func (t *talk) hear(what string, flags byte) segment {
	return t.s.hear(what, func(g segment) bool {
		return g.from == t.it && g.to == t.me && g.flags&(flagSYN|flagFIN|flagRST|flagACK) == flags
	})
}

// knock sends a SYN and hears the answer.
func (s *speaker) knock(to netip.AddrPort) *talk {
	t := s.talk(to)
	t.say(flagSYN, 0, 0)
	t.seq++
	t.ack = t.hear("SYN+ACK", flagSYN|flagACK).seq + 1
	return t
}

// dial opens a connection to a listener; the worker accepts it.
func (s *speaker) dial(l end) (t *talk, a end) {
	t = s.knock(l.addr)
	t.say(flagACK, 0, 0)
	fd := l.worker().do("accept", l.fd, acceptMS).N
	return t, end{l.by, fd, l.addr}
}

// closeFirst lets the kernel's side close, and acknowledges its FIN; with a FIN
// of its own where fin is set.
func (t *talk) closeFirst(a end, fin bool) {
	a.by.closeFD(a.fd)
	t.ack = t.hear("FIN", flagFIN|flagACK).seq + 1
	if !fin {
		t.say(flagACK, 0, 0)
		return
	}
	t.say(flagFIN|flagACK, 0, 0)
	t.seq++
	t.hear("ACK of the FIN", flagACK)
}

// state looks the kernel's socket up.
func (t *talk) state(w *Worker) row { return w.look(t.it, t.me) }
