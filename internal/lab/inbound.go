package lab

import (
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
)

// far is a distance out of every receive window of the lab's.
const far = 1 << 30

const (
	stateSynRecv  = 3
	stateTimeWait = 6
)

// inSetup makes the speaker and a listener.
func (b *Bench) inSetup() (*speaker, end) {
	s := b.speaker()
	return s, b.listen(b.server(), 8)
}

func inRequest(delta int) func(*Bench) func() []Truth {
	return func(b *Bench) func() []Truth {
		s, l := b.inSetup()
		return func() []Truth {
			t := s.knock(l.addr)
			t.rst(delta)
			s.drain()
			truth := dropped("peer-reset-handshake", l, t.far()).on(requestSocket)
			// Before 6.1 the inexact one ends it, too.
			if r := t.state(l.worker()); !r.Found {
				truth = truth.effect(event.EffectKilled)
			} else if r.State != stateSynRecv || delta == 0 {
				fail("half-open connection after the RST: %+v", r)
			}
			stay()
			return []Truth{truth}
		}
	}
}

func inCookie(b *Bench) func() []Truth {
	s, l := b.inSetup()
	b.home.doStr("sysctl", -1, "ipv4/tcp_syncookies 2")
	return func() []Truth {
		t := s.knock(l.addr)
		t.rst(0)
		return []Truth{dropped("reset-to-nobody", l, t.far()).inside()}
	}
}

func inTimeWait(fin bool, delta int, rfc1337 bool) func(*Bench) func() []Truth {
	return func(b *Bench) func() []Truth {
		s, l := b.inSetup()
		if rfc1337 {
			b.home.doStr("sysctl", -1, "ipv4/tcp_rfc1337 1")
		}
		return func() []Truth {
			t, a := s.dial(l)
			t.closeFirst(a, fin)
			state := map[bool]int{true: stateTimeWait, false: stateFinWait2}[fin]
			l.worker().awaitRow(t.it, t.me, "a TIME_WAIT entry", func(r row) bool { return r.Timewait && r.State == state })
			t.rst(delta)
			s.drain()
			truth := dropped("peer-reset-timewait", a, t.far()).closed().on(event.SocketTimewait)
			if fin {
				// Nothing can come late once both FINs are in, so rstwhy keeps no
				// memory of such a connection (docs/decisions/0002-attribution.md).
				truth.AnyOwnerUnknownOK, truth.AnyEndingOK = true, true
			}
			lives := fin && (delta != 0 || rfc1337)
			if !lives {
				truth = truth.effect(event.EffectKilled)
			}
			if r := t.state(l.worker()); r.Found != lives {
				fail("TIME_WAIT entry after the RST: %+v", r)
			}
			return []Truth{truth}
		}
	}
}

func inAccepted(b *Bench) func() []Truth {
	s, l := b.inSetup()
	t, a := s.dial(l)
	return func() []Truth {
		t.rst(0)
		l.worker().want(unix.ECONNRESET, "recv", a.fd, "", 10)
		return []Truth{received("peer-reset", a, t.far())}
	}
}

func inAfterFIN(b *Bench) func() []Truth {
	s, l := b.inSetup()
	return func() []Truth {
		t, a := s.dial(l)
		t.say(flagFIN|flagACK, 0, 0)
		t.hear("ACK of the FIN", flagACK)
		t.rst(0) // the number of the FIN itself, once more
		l.worker().awaitRow(t.it, t.me, "reset", gone)
		return []Truth{received("peer-reset-after-eof", a, t.far())}
	}
}

func inEstablished(cause string, deltas ...int) func(*Bench) func() []Truth {
	return func(b *Bench) func() []Truth {
		s, l := b.inSetup()
		t, a := s.dial(l)
		return func() (all []Truth) {
			for _, d := range deltas {
				t.rst(d)
				all = append(all, dropped(cause, a, t.far()).inside())
			}
			s.drain()
			t.lives(a)
			return all
		}
	}
}

func (t *talk) lives(a end) {
	if r := t.state(a.worker()); r.State != stateEstablished {
		fail("connection after the RST: %+v", r)
	}
}

// filtered is a RST that TCP never got to see. Which socket it was for, the
// kernel does not say where it had not looked.
func (t *talk) filtered(a end) []Truth {
	t.s.drain()
	t.lives(a)
	return []Truth{dropped("reset-filtered", a, t.far()).on(event.SocketFull + "|" + event.SocketNone).orUnknown()}
}

func inSpoilt(b *Bench) func() []Truth {
	s, l := b.inSetup()
	return func() []Truth {
		t, a := s.dial(l)
		g := t.segment(flagRST, 0)
		g.spoilt = true
		s.say(g)
		return t.filtered(a)
	}
}

// md5Option is a TCP MD5 signature (RFC 2385), padded; it is wrong.
var md5Option = append([]byte{1, 1, 19, 18}, make([]byte, 16)...)

func inSigned(b *Bench) func() []Truth {
	s, l := b.inSetup()
	return func() []Truth {
		t, a := s.dial(l)
		g := t.segment(flagRST, 0)
		g.options = md5Option
		s.say(g)
		return t.filtered(a)
	}
}

func inUnsigned(b *Bench) func() []Truth {
	s, l := b.inSetup()
	return func() []Truth {
		t, a := s.dial(l)
		if _, err := a.worker().try("md5", a.fd, t.me.String()); err != nil {
			fail("TCP_MD5SIG: %w: %w", ErrUnavailable, err)
		}
		t.rst(0)
		return t.filtered(a)
	}
}

func inDropped(b *Bench) func() []Truth {
	s, l := b.inSetup()
	b.rules("table inet lab { chain input { type filter hook input priority 0; tcp flags & rst == rst drop; }; }")
	return func() []Truth {
		t, a := s.dial(l)
		t.rst(0)
		return t.filtered(a)
	}
}

func inListen(b *Bench) func() []Truth {
	s, l := b.inSetup()
	return func() []Truth {
		t := s.talk(l.addr)
		t.rst(0)
		return []Truth{dropped("reset-to-nobody", l, t.far()).inside()}
	}
}

func inNobody(b *Bench) func() []Truth {
	s := b.speaker()
	srv := b.bound(b.server(), 0)
	return func() []Truth {
		t := s.talk(srv.addr)
		t.rst(0)
		return []Truth{dropped("reset-to-nobody", srv, t.far()).noOwner().on(event.SocketNone)}
	}
}

// inLocked: the RST waits in the socket's backlog until the process lets go of
// the socket (net/core/sock.c: release_sock).
func inLocked(b *Bench) func() []Truth {
	s, l := b.inSetup()
	return func() []Truth {
		t, a := s.dial(l)
		w := a.worker()
		if err := w.send(command{Op: "send-slowly", FD: a.fd, Num: []int{150}}); err != nil {
			fail("%s: send-slowly: %w", w.Comm, err)
		}
		pause(70 * time.Millisecond) // until it holds the socket
		t.rst(0)
		r, err := w.receive()
		if err != nil {
			fail("%s: send-slowly: %w", w.Comm, err)
		}
		if err := r.err(); err != nil && r.Errno == 0 {
			fail("a page fault that lasts: %w: %w", ErrUnavailable, err)
		}
		w.awaitRow(t.it, t.me, "reset", gone)
		return []Truth{received("peer-reset", a, t.far())}
	}
}

func inSynSent(b *Bench) func() []Truth {
	s := b.speaker()
	a := b.bound(b.client(), 0)
	return func() []Truth {
		t := s.talk(a.addr)
		a.worker().doStr("connect", a.fd, t.me.String(), 1)
		t.ack = t.hear("SYN", flagSYN).seq + 1
		t.rst(0)
		g := t.segment(flagRST|flagACK, 0)
		g.ack += far
		s.say(g)
		t.say(flagRST|flagACK, 0, 0)
		a.worker().want(unix.ECONNREFUSED, "recv", a.fd, "", 1)
		odd := dropped("reset-unexpected-handshake", a, t.far())
		return []Truth{odd.inside(), odd, received("connect-refused", a, t.far())}
	}
}

func inBurst(b *Bench) func() []Truth {
	const n = 5
	s, l := b.inSetup()
	return func() []Truth {
		t, a := s.dial(l)
		t.closeFirst(a, false)
		l.worker().awaitRow(t.it, t.me, "a minisocket in FIN_WAIT2", func(r row) bool { return r.Timewait && r.State == stateFinWait2 })
		for i := range n {
			t.say(flagACK, i*20, 20)
		}
		for range n {
			t.hear("RST", flagRST)
		}
		return []Truth{sent("late-data", a, t.far()).closed().on(event.SocketTimewait).counts(n)}
	}
}

func inMoreRSTs(b *Bench) func() []Truth {
	s, l := b.inSetup()
	return func() []Truth {
		t, a := s.dial(l)
		t.rst(0)
		l.worker().awaitRow(t.it, t.me, "reset", gone)
		t.rst(0)
		t.rst(0)
		s.drain()
		return []Truth{
			received("peer-reset", a, t.far()),
			// A tracer may count them with the first one.
			dropped("reset-to-nobody", l, t.far()).orUnknown().on(event.SocketFull + "|" + event.SocketNone).repeats().maybe(),
		}
	}
}
