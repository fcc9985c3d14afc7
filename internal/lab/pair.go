package lab

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// process is what holds a socket: a worker, or a child that one forked.
type process interface {
	pid() int
	name() string
	closeFD(int)
	eye() *Worker // a worker that sees the same network namespace
}

// end is one end of a connection.
type end struct {
	by   process
	fd   int
	addr netip.AddrPort
}

func (e end) worker() *Worker { return e.by.(*Worker) }

// pair is a connection: a is the end that a scenario is about, z the other one.
type pair struct {
	a, z     end
	listener end // fd -1 once it is closed
	b        *Bench
}

// flip makes the other end the one that the scenario is about.
func (p *pair) flip() *pair {
	p.a, p.z = p.z, p.a
	return p
}

// addr gives an address of a worker's side with a port.
func (w *Worker) addr(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(w.Addr), port)
}

// socket gives a worker a TCP socket.
func (b *Bench) socket(w *Worker) int { return w.do("socket", -1, b.domain(), 0).N }

func (w *Worker) sockname(fd int) netip.AddrPort {
	a, err := netip.ParseAddrPort(w.do("name", fd).Str)
	if err != nil {
		fail("%s: name of its socket: %w", w.Comm, err)
	}
	return a
}

// bound gives a worker a socket on a port of the kernel's choice.
func (b *Bench) bound(w *Worker, port uint16) end {
	fd := b.socket(w)
	w.doStr("bind", fd, w.addr(port).String())
	return end{w, fd, w.sockname(fd)}
}

func (b *Bench) listen(w *Worker, backlog int) end {
	l := b.bound(w, 0)
	w.do("listen", l.fd, backlog)
	return l
}

// connect connects a worker to a listener.
func (b *Bench) connect(w *Worker, to netip.AddrPort) end {
	fd := b.socket(w)
	w.doStr("connect", fd, to.String())
	return end{w, fd, w.sockname(fd)}
}

const acceptMS = 5000

// pair opens a connection; a is the accepted end.
func (b *Bench) pair() *pair {
	srv, cli := b.server(), b.client()
	l := b.listen(srv, 8)
	z := b.connect(cli, l.addr)
	s := srv.do("accept", l.fd, acceptMS).N
	srv.do("close", l.fd)
	return &pair{b: b, a: end{srv, s, l.addr}, z: z, listener: end{fd: -1}}
}

// unaccepted opens a connection that waits in the listener's queue; a is the
// listener.
func (b *Bench) unaccepted() *pair {
	srv, cli := b.server(), b.client()
	l := b.listen(srv, 8)
	p := &pair{b: b, a: l, listener: l, z: b.connect(cli, l.addr)}
	srv.awaitRow(l.addr, p.z.addr, "established", func(r row) bool { return r.State == stateEstablished })
	return p
}

// say lets z send, and waits until the bytes lie unread at a.
func (p *pair) say(n int) {
	z := p.z.worker()
	before := p.rowA().Unread
	z.do("send", p.z.fd, n)
	p.awaitA("holding the bytes", func(r row) bool { return r.Unread == before+n })
}

func (p *pair) rowA() row { return p.b.eye(p.a).look(p.a.addr, p.z.addr) }

// eye finds a living worker in the network namespace of an end.
func (b *Bench) eye(e end) *Worker {
	if w := e.by.eye(); !w.gone {
		return w
	}
	for _, w := range b.workers {
		if !w.gone && w.NetNS == e.by.eye().NetNS {
			return w
		}
	}
	holder := b.lab.holderOf(e.by.eye().NetNS)
	if holder == nil {
		fail("nobody can look at the sockets of %s", e.by.name())
	}
	w := b.spawnFrom(holder, b.lab.comm("eye"), -1)
	return w
}

func (p *pair) awaitA(what string, ok func(row) bool) {
	p.b.eye(p.a).awaitRow(p.a.addr, p.z.addr, what, ok)
}

func (p *pair) awaitZ(what string, ok func(row) bool) {
	p.b.eye(p.z).awaitRow(p.z.addr, p.a.addr, what, ok)
}

func gone(r row) bool { return !r.Found }

// closeA closes a's socket.
func (p *pair) closeA() { p.a.by.closeFD(p.a.fd) }

// reset makes z reset the connection with SO_LINGER 0, and waits until a's
// socket has felt it, without touching it.
func (p *pair) reset() {
	p.z.worker().do("linger", p.z.fd, 0)
	p.z.worker().do("close", p.z.fd)
	p.awaitA("reset", gone)
}

// wasReset checks that z's application gets ECONNRESET.
func (p *pair) wasReset() { p.z.worker().want(unix.ECONNRESET, "recv", p.z.fd, "", 64) }

// stay keeps the processes and their network namespace a while, as they are on a
// real host: what a tracer asks of them after a reset (does the connection live?
// what does conntrack, what do the counters of the namespace say?) has an answer.
func stay() { pause(700 * time.Millisecond) }

// pause lets time pass where a scenario is about time.
func pause(d time.Duration) { time.Sleep(d) }
