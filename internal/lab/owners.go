package lab

import (
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
)

// moves are further ways in which a connection comes to a process.
var moves = []maker{
	{"io-uring-accept", "process that accepted through io_uring", func(b *Bench) *pair { return uringPair(b, 0) }},
	{"io-uring-worker", "process that accepted in a thread of io_uring", func(b *Bench) *pair { return uringPair(b, 1) }},
	{"pidfd-getfd", "process that took a copy out of another process", func(b *Bench) *pair {
		p := b.pair()
		from := p.a.worker()
		to := b.spawnFrom(from, b.lab.comm("heir"), -1)
		fd := to.do("steal", p.a.fd, from.PID).N
		from.do("close", p.a.fd)
		p.a.by, p.a.fd = to, fd
		return p
	}},
	{"activated", "service that accepted while its manager keeps the listener", func(b *Bench) *pair {
		manager, cli := b.server(), b.client()
		l := b.listen(manager, 8)
		kid := b.spawnFrom(manager, b.lab.comm("unit"), l.fd)
		z := b.connect(cli, l.addr)
		return &pair{b: b, a: end{kid, kid.do("accept", inheritedFD, acceptMS).N, l.addr}, z: z}
	}},
	{"activated-accepted", "service that a manager started with the accepted socket", func(b *Bench) *pair {
		manager, cli := b.server(), b.client()
		l := b.listen(manager, 8)
		z := b.connect(cli, l.addr)
		fd := manager.do("accept", l.fd, acceptMS).N
		kid := b.spawnFrom(manager, b.lab.comm("unit"), fd)
		manager.do("close", fd)
		return &pair{b: b, a: end{kid, inheritedFD, l.addr}, z: z}
	}},
	{"container", "process in pid and network namespaces of its own", func(b *Bench) *pair {
		b.ownHome(unix.CLONE_NEWPID)
		return b.pair()
	}},
}

func uringPair(b *Bench, async int) *pair {
	srv, cli := b.server(), b.client()
	l := b.listen(srv, 8)
	z := b.connect(cli, l.addr)
	fd := srv.uring("uring-accept", l.fd, async).N
	srv.do("close", l.fd)
	return &pair{b: b, a: end{srv, fd, l.addr}, z: z}
}

// uring runs an operation that needs io_uring.
func (w *Worker) uring(op string, fd, async int) reply {
	r, err := w.try(op, fd, "", async)
	if err != nil {
		fail("%s: %w: %w", op, ErrUnavailable, err)
	}
	return r
}

// holders are connections that several processes hold.
var holders = []Scenario{
	{ID: "leaked-reset", Title: "a reset connection of which a child has a leaked copy, closed by both, the child last", Early: EarlyKnown, setup: leakedReset},
	{ID: "shared-shutdown", Title: "one of two holders shuts down, and the peer writes on", Early: EarlyKnown, setup: shared(func(p *pair, kid *Worker) []Truth {
		kid.do("shutdown", inheritedFD, unix.SHUT_RDWR)
		p.awaitA("in FIN_WAIT2", func(r row) bool { return r.State == stateFinWait2 })
		p.z.worker().do("send", p.z.fd, 20)
		p.awaitZ("reset", gone)
		return []Truth{p.sent("data-after-shutdown").closed(), p.received("sent-to-closed-peer")}
	})},
	{ID: "shared-disconnect", Title: "one of two holders disconnects", Early: EarlyKnown, setup: shared(func(p *pair, kid *Worker) []Truth {
		kid.do("disconnect", inheritedFD)
		p.wasReset()
		return []Truth{p.sent("connect-unspec").closed(), p.received("peer-reset")}
	})},
	{ID: "shared-destroyed", Title: "an administrator destroys a connection that two processes hold", Early: EarlyKnown, Needs: needsDiag, setup: func(b *Bench) func() []Truth {
		p := b.pair()
		kid := b.spawnFrom(p.a.worker(), b.lab.comm("kid"), p.a.fd)
		return func() []Truth {
			killer := p.destroy(p.a.addr, p.z.addr)
			p.wasReset()
			pause(700 * time.Millisecond)
			t := p.sent("socket-destroyed").by(event.ActorKiller, killer).orUnknown()
			t.Owners, t.Comm = append(t.Owners, kid.PID), t.Comm+"|"+kid.Comm
			return []Truth{t, p.received("peer-reset")}
		}
	}},
}

// shared lets a child that inherited a copy act, while its parent holds on: the
// child is the one to be named, and the parent the other holder.
func shared(act func(p *pair, kid *Worker) []Truth) func(*Bench) func() []Truth {
	return func(b *Bench) func() []Truth {
		p := b.pair()
		parent := p.a.worker()
		kid := b.spawnFrom(parent, b.lab.comm("kid"), p.a.fd)
		return func() []Truth {
			p.a.by = kid
			truths := act(p, kid)
			pause(700 * time.Millisecond)
			truths[0] = truths[0].others(parent.PID)
			return truths
		}
	}
}

// leakedReset: the parent opened the connection and used it; that the child
// closes last proves nothing.
func leakedReset(b *Bench) func() []Truth {
	p := b.pair()
	parent := p.a.worker()
	kid := b.spawnFrom(parent, b.lab.comm("kid"), p.a.fd)
	return func() []Truth {
		p.say(20)
		parent.do("recv", p.a.fd, 20)
		p.reset()
		pause(30 * time.Millisecond)
		parent.do("close", p.a.fd)
		pause(30 * time.Millisecond)
		kid.do("close", inheritedFD)
		return []Truth{sent("linger-zero", p.z, p.a).closed(), received("peer-reset", p.a, p.z).orUnknown()}
	}
}

// moreClosings are further ways to give a connection up.
var moreClosings = []act{
	{"segfault", "SIGSEGV with data unread", func(p *pair) []Truth {
		p.say(100)
		w := p.a.worker()
		w.do("mortal", -1, int(unix.SIGSEGV))
		w.kill(unix.SIGSEGV)
		p.wasReset()
		return []Truth{p.sent("unread-data").killed(unix.SIGSEGV), p.received("peer-reset")}
	}},
	{"io-uring-close", "closes through io_uring with data unread", func(p *pair) []Truth { return p.uringClose(0) }},
	{"io-uring-close-worker", "closes in a thread of io_uring with data unread", func(p *pair) []Truth { return p.uringClose(1) }},
	{"linger-unread", "closes with SO_LINGER 0 and data unread", func(p *pair) []Truth {
		p.say(100)
		p.a.worker().do("linger", p.a.fd, 0)
		p.closeA()
		p.wasReset()
		return []Truth{p.sent("unread-data").closed(), p.received("peer-reset")}
	}},
	{"linger-killed", "SIGKILL with SO_LINGER 0", func(p *pair) []Truth {
		p.a.worker().do("linger", p.a.fd, 0)
		p.a.worker().kill(unix.SIGKILL)
		p.wasReset()
		return []Truth{p.sent("linger-zero").killed(unix.SIGKILL), p.received("peer-reset")}
	}},
	{"linger2-later", "closes with TCP_LINGER2 -1 before the peer acknowledged", func(p *pair) []Truth {
		z := p.z.worker()
		z.do("deaf", p.z.fd)
		p.a.worker().do("setint", p.a.fd, unix.IPPROTO_TCP, unix.TCP_LINGER2, -1)
		p.closeA()
		p.awaitA("an orphan in FIN_WAIT1", func(r row) bool { return r.State == stateFinWait1 && r.Inode == 0 })
		z.do("hear", p.z.fd)
		p.awaitZ("reset", gone)
		// The kernel aborts at the acknowledgement of the FIN (tcp_rcv_state_process).
		return []Truth{p.sent("linger2-abort").closed().by(event.ActorKernel), p.received("peer-reset-after-eof")}
	}},
	{"unspec-last-ack", "connect(AF_UNSPEC) in LAST_ACK with data unsent", func(p *pair) []Truth {
		p.lastAck()
		p.a.worker().do("disconnect", p.a.fd)
		p.awaitZ("reset", gone)
		return p.crossed(p.sent("connect-unspec"))
	}},
	{"linger-last-ack", "closes with SO_LINGER 0 in LAST_ACK with data unsent", func(p *pair) []Truth {
		p.lastAck()
		p.a.worker().do("linger", p.a.fd, 0)
		p.closeA()
		p.awaitZ("reset", gone)
		return p.crossed(p.sent("linger-zero"))
	}},
}

// crossed: the socket leaves the tables before its RST leaves, and an
// acknowledgement of z's that arrives between, or crosses the RST, meets nobody.
func (p *pair) crossed(t Truth) []Truth {
	stray := p.straggler()
	return []Truth{stray[0], t.closed(), p.received("peer-reset-after-close"), stray[0], stray[1]}
}

// straggler is what z's acknowledgement may draw that comes too late.
func (p *pair) straggler() []Truth {
	return []Truth{
		p.sent("gone-connection|late-data").on(event.SocketNone + "|" + event.SocketTimewait).by(event.ActorKernel).orUnknown().anyEnding().maybe(),
		dropped("reset-to-nobody", p.z, p.a).on(event.SocketNone + "|" + event.SocketFull).orUnknown().anyEnding().maybe(),
	}
}

const stateLastAck = 9

// lastAck: both sides have shut down, and a's data fill the peer's window.
func (p *pair) lastAck() {
	a := p.a.worker()
	p.z.worker().do("shutdown", p.z.fd, unix.SHUT_WR)
	p.awaitZ("in FIN_WAIT2", func(r row) bool { return r.State == stateFinWait2 })
	a.do("fill", p.a.fd)
	a.do("shutdown", p.a.fd, unix.SHUT_WR)
	p.awaitA("in LAST_ACK", func(r row) bool { return r.State == stateLastAck && r.Unsent > 0 })
}

func (p *pair) uringClose(async int) []Truth {
	p.say(100)
	p.a.worker().uring("uring-close", p.a.fd, async)
	p.wasReset()
	return []Truth{p.sent("unread-data").closed(), p.received("peer-reset")}
}
