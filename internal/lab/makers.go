package lab

import (
	"time"

	"golang.org/x/sys/unix"
)

// maker opens a connection whose end a was handed to another process.
type maker struct {
	id, title string
	open      func(*Bench) *pair
}

var handovers = []maker{
	{"fork", "forked child", func(b *Bench) *pair {
		p := b.pair()
		parent := p.a.worker()
		child := b.forkFrom(parent)
		parent.do("close", p.a.fd)
		p.a.by = child
		return p
	}},
	{"spawn", "child by fork and exec", func(b *Bench) *pair {
		p := b.pair()
		parent := p.a.worker()
		p.a.by = b.spawnFrom(parent, b.lab.comm("kid"), p.a.fd)
		parent.do("close", p.a.fd)
		p.a.fd = inheritedFD
		return p
	}},
	{"exec", "same process after exec", func(b *Bench) *pair {
		p := b.pair()
		p.a.worker().execAs(b.lab.comm("exec"), p.a.fd)
		p.a.fd = inheritedFD
		return p
	}},
	{"scm-rights", "process that got it by SCM_RIGHTS", func(b *Bench) *pair { return b.pair().handOver() }},
	{"scm-rights-connected", "process that got a connecting end by SCM_RIGHTS", func(b *Bench) *pair {
		return b.pair().flip().handOver()
	}},
	{"prefork", "preforked child that accepted", func(b *Bench) *pair {
		srv, cli := b.server(), b.client()
		l := b.listen(srv, 8)
		first, second := b.forkFrom(srv), b.forkFrom(srv)
		z := b.connect(cli, l.addr)
		fd := second.acceptFD(l.fd)
		first.closeFD(l.fd)
		second.closeFD(l.fd)
		srv.do("close", l.fd)
		return &pair{b: b, a: end{second, fd, l.addr}, z: z}
	}},
	{"spawned-listener", "child that accepted from an inherited listener", func(b *Bench) *pair {
		srv, cli := b.server(), b.client()
		l := b.listen(srv, 8)
		kid := b.spawnFrom(srv, b.lab.comm("kid"), l.fd)
		srv.do("close", l.fd)
		z := b.connect(cli, l.addr)
		fd := kid.do("accept", inheritedFD, acceptMS).N
		return &pair{b: b, a: end{kid, fd, l.addr}, z: z}
	}},
	{"pid-namespace", "process in a pid namespace of its own", func(b *Bench) *pair {
		outside, cli := b.server(), b.client()
		srv := b.spawnFrom(outside, b.lab.comm("pod"), -1, unix.CLONE_NEWPID)
		l := b.listen(srv, 8)
		z := b.connect(cli, l.addr)
		p := &pair{b: b, a: end{srv, srv.do("accept", l.fd, acceptMS).N, l.addr}, z: z}
		srv.do("close", l.fd)
		return p
	}},
	{"thread", "process whose thread with another name connected", func(b *Bench) *pair {
		srv, cli := b.server(), b.client()
		l := b.listen(srv, 8)
		fd := b.socket(cli)
		cli.doStr("connect-in-thread", fd, l.addr.String())
		a := end{cli, fd, cli.sockname(fd)}
		z := end{srv, srv.do("accept", l.fd, acceptMS).N, l.addr}
		srv.do("close", l.fd)
		return &pair{b: b, a: a, z: z}
	}},
	{"reuseport", "one of two SO_REUSEPORT workers", reuseport},
}

// handOver gives a's socket to another process by SCM_RIGHTS.
func (p *pair) handOver() *pair {
	from := p.a.worker()
	to := p.b.spawnFrom(from, p.b.lab.comm("heir"), -1)
	from.doStr("give", p.a.fd, to.mailbox)
	fd := to.do("take", -1).N
	from.do("close", p.a.fd)
	p.a.by, p.a.fd = to, fd
	return p
}

// reuseport lets two processes listen on one port; the kernel picks.
func reuseport(b *Bench) *pair {
	one, two, cli := b.server(), b.server(), b.client()
	listen := func(w *Worker, port uint16) end {
		fd := b.socket(w)
		w.do("setint", fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		w.doStr("bind", fd, w.addr(port).String())
		w.do("listen", fd, 8)
		return end{w, fd, w.sockname(fd)}
	}
	l1 := listen(one, 0)
	l2 := listen(two, l1.addr.Port())
	z := b.connect(cli, l1.addr)
	for until := time.Now().Add(patience); time.Now().Before(until); {
		for _, l := range []end{l1, l2} {
			if r, err := l.worker().try("accept", l.fd, "", 5); err == nil {
				return &pair{b: b, a: end{l.by, r.N, l.addr}, z: z}
			}
		}
	}
	fail("neither SO_REUSEPORT worker got the connection")
	return nil
}

// inherited is what happens to a connection that changed hands. Nobody touches
// it between the handover and the event.
var inherited = []act{
	{"unread-data", "closes with data unread", func(p *pair) []Truth {
		p.say(100)
		p.closeA()
		p.wasReset()
		return []Truth{p.sent("unread-data").closed(), p.received("peer-reset")}
	}},
	{"late-data", "closes, and the peer writes on", func(p *pair) []Truth {
		p.closeA()
		return p.late()
	}},
	{"reset-then-close", "is reset untouched and closes soon after", func(p *pair) []Truth {
		p.reset()
		pause(40 * time.Millisecond)
		p.closeA()
		return []Truth{sent("linger-zero", p.z, p.a).closed(), received("peer-reset", p.a, p.z)}
	}},
	{"reset-and-idle", "is reset untouched and does nothing for a second", func(p *pair) []Truth {
		p.reset()
		pause(time.Second)
		return []Truth{sent("linger-zero", p.z, p.a).closed(), received("peer-reset", p.a, p.z)}
	}},
}
