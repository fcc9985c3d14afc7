package lab

import (
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
)

// act is what a scenario does with an open connection; a is the actor.
type act struct {
	id, title string
	do        func(*pair) []Truth
}

// actNeeds are the functions of the kernel that an act needs, by its id.
var actNeeds = map[string][]string{"socket-destroyed": needsDiag}

// closings are the ways to give a connection up with a reset, or to be reset.
// They are run on accepted and on connecting ends. A process that has shut down
// its sending side only has not given the connection up.
var closings = []act{
	{"unread-data", "closes with everything unread", func(p *pair) []Truth {
		p.say(100)
		p.closeA()
		p.wasReset()
		return []Truth{p.sent("unread-data").closed(), p.received("peer-reset")}
	}},
	{"unread-rest", "closes with a part unread", func(p *pair) []Truth {
		p.say(100)
		p.a.worker().do("recv", p.a.fd, 40)
		p.closeA()
		p.wasReset()
		return []Truth{p.sent("unread-data").closed(), p.received("peer-reset")}
	}},
	{"unread-after-eof", "closes with data unread after the peer's FIN", func(p *pair) []Truth {
		p.say(100)
		p.z.worker().do("shutdown", p.z.fd, unix.SHUT_WR)
		p.awaitZ("in FIN_WAIT2", func(r row) bool { return r.State == stateFinWait2 })
		p.closeA()
		p.wasReset()
		return []Truth{p.sent("unread-data").closed(), p.received("peer-reset-after-close")}
	}},
	{"linger-zero", "closes with SO_LINGER 0", func(p *pair) []Truth {
		p.a.worker().do("linger", p.a.fd, 0)
		p.closeA()
		p.wasReset()
		return []Truth{p.sent("linger-zero").closed(), p.received("peer-reset")}
	}},
	{"connect-unspec", "connect(AF_UNSPEC)", func(p *pair) []Truth {
		p.a.worker().do("disconnect", p.a.fd)
		p.wasReset()
		return []Truth{p.sent("connect-unspec").closed(), p.received("peer-reset")}
	}},
	{"close-in-thread", "a thread with another name closes with data unread", func(p *pair) []Truth {
		p.say(10)
		p.a.worker().doStr("close-in-thread", p.a.fd, "lab-some-thread")
		p.wasReset()
		return []Truth{p.sent("unread-data").closed(), p.received("peer-reset")}
	}},
	{"killed", "SIGKILL with data unread", func(p *pair) []Truth {
		p.say(100)
		p.a.worker().kill(unix.SIGKILL)
		p.wasReset()
		return []Truth{p.sent("unread-data").killed(unix.SIGKILL), p.received("peer-reset")}
	}},
	{"terminated", "SIGTERM with data unread", func(p *pair) []Truth {
		p.say(100)
		p.a.worker().kill(unix.SIGTERM)
		p.wasReset()
		return []Truth{p.sent("unread-data").killed(unix.SIGTERM), p.received("peer-reset")}
	}},
	{"exit", "exits with status 3 and data unread", func(p *pair) []Truth {
		p.say(100)
		p.a.worker().exit(3)
		p.wasReset()
		return []Truth{p.sent("unread-data").exited(3), p.received("peer-reset")}
	}},
	{"exec-closes", "exec closes the descriptor with data unread", func(p *pair) []Truth {
		p.say(100)
		w := p.a.worker()
		old := w.Comm
		w.execAs(p.b.lab.comm("exec"), -1)
		p.wasReset()
		t := p.sent("unread-data").closed()
		t.Comm = old + "|exe|" + w.Comm // the name changes within the same exec
		return []Truth{t, p.received("peer-reset")}
	}},
	{"linger2-abort", "closes with TCP_LINGER2 -1", func(p *pair) []Truth {
		p.a.worker().do("setint", p.a.fd, unix.IPPROTO_TCP, unix.TCP_LINGER2, -1)
		p.a.worker().do("shutdown", p.a.fd, unix.SHUT_WR)
		p.awaitA("in FIN_WAIT2", func(r row) bool { return r.State == stateFinWait2 })
		p.closeA()
		p.awaitZ("reset", gone)
		return []Truth{p.sent("linger2-abort").closed(), p.received("peer-reset-after-eof")}
	}},
	{"socket-destroyed", "an administrator destroys the socket (ss -K)", func(p *pair) []Truth {
		killer := p.destroy(p.a.addr, p.z.addr)
		p.wasReset()
		return []Truth{p.sent("socket-destroyed").by(event.ActorKiller, killer), p.received("peer-reset")}
	}},
	{"reset-in-recv", "is reset while it waits in recv(), and keeps the socket", func(p *pair) []Truth { return p.resetWaiting(1) }},
	{"reset-in-poll", "is reset while it waits in poll(), and keeps the socket", func(p *pair) []Truth { return p.resetWaiting(0) }},
	{"reset-after-our-fin", "the peer resets while our FIN is acknowledged and we still read", func(p *pair) []Truth {
		p.a.worker().do("shutdown", p.a.fd, unix.SHUT_WR)
		p.awaitA("in FIN_WAIT2", func(r row) bool { return r.State == stateFinWait2 })
		p.reset()
		return []Truth{sent("linger-zero", p.z, p.a).closed(), received("peer-reset-after-close", p.a, p.z)}
	}},
	{"reset-after-close", "the peer resets after we have closed", func(p *pair) []Truth {
		p.a.worker().do("setint", p.a.fd, unix.IPPROTO_TCP, unix.TCP_LINGER2, 120)
		p.closeA()
		p.awaitA("an orphan in FIN_WAIT2", orphanFinWait2)
		p.reset()
		return []Truth{sent("linger-zero", p.z, p.a).closed(), received("peer-reset-after-close", p.a, p.z).closed()}
	}},
	{"reset-after-eof", "the peer closes its sending side, then resets", func(p *pair) []Truth {
		p.z.worker().do("shutdown", p.z.fd, unix.SHUT_WR)
		p.awaitZ("in FIN_WAIT2", func(r row) bool { return r.State == stateFinWait2 })
		p.reset()
		return []Truth{sent("linger-zero", p.z, p.a).closed(), received("peer-reset-after-eof", p.a, p.z)}
	}},
}

// resetWaiting resets a while it is in a system call on the socket, which in a
// process of several threads holds a reference to the file (fdget).
func (p *pair) resetWaiting(how int) []Truth {
	a, z := p.a.worker(), p.z.worker()
	if err := a.send(command{Op: "recv", FD: p.a.fd, Num: []int{10, how}}); err != nil {
		fail("%s: recv: %w", a.Comm, err)
	}
	pause(50 * time.Millisecond) // until it is in the system call
	z.do("linger", p.z.fd, 0)
	z.do("close", p.z.fd)
	r, err := a.receive()
	if err != nil || syscall.Errno(r.Errno) != unix.ECONNRESET {
		fail("%s: recv: got %+v, %v, want %v", a.Comm, r, err, unix.ECONNRESET)
	}
	pause(700 * time.Millisecond)
	return []Truth{sent("linger-zero", p.z, p.a).closed(), received("peer-reset", p.a, p.z)}
}

// A FIN_WAIT2 orphan whose TCP_LINGER2 exceeds TCP_TIMEWAIT_LEN stays a full
// socket (__tcp_close in net/ipv4/tcp.c).
func orphanFinWait2(r row) bool { return r.State == stateFinWait2 && r.Inode == 0 && !r.Timewait }

// destroy lets a process that has nothing to do with the connection destroy it.
func (p *pair) destroy(local, peer netip.AddrPort) (killer int) {
	b := p.b
	w := b.spawnFrom(p.a.by.eye(), b.lab.comm("kill"), -1)
	w.doStr("destroy", -1, local.String()+" "+peer.String())
	return w.PID
}

// lateActs are about what arrives after a has closed, or shut down.
var lateActs = []act{
	{"late-data", "the peer writes after the process has closed", func(p *pair) []Truth {
		p.closeA()
		return p.late()
	}},
	{"late-data-exit", "the peer writes after the process has exited", func(p *pair) []Truth {
		p.a.worker().exit(4)
		ts := p.late()
		ts[0] = ts[0].exited(4)
		return ts
	}},
	{"late-data-killed", "the peer writes after the process was killed", func(p *pair) []Truth {
		p.a.worker().kill(unix.SIGKILL)
		ts := p.late()
		ts[0] = ts[0].killed(unix.SIGKILL)
		return ts
	}},
	{"late-data-orphan", "the peer writes to an orphan in FIN_WAIT2", func(p *pair) []Truth {
		p.a.worker().do("setint", p.a.fd, unix.IPPROTO_TCP, unix.TCP_LINGER2, 120)
		p.closeA()
		p.awaitA("an orphan in FIN_WAIT2", orphanFinWait2)
		p.z.worker().do("send", p.z.fd, 20)
		p.awaitZ("reset", gone)
		return []Truth{p.sent("late-data").closed(), p.received("sent-to-closed-peer")}
	}},
	{"late-data-unsent", "the peer writes while the closed socket still has data to send", func(p *pair) []Truth {
		p.a.worker().do("setint", p.a.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<20)
		p.a.worker().do("fill", p.a.fd)
		p.closeA()
		p.awaitA("an orphan in FIN_WAIT1", func(r row) bool { return r.State == stateFinWait1 && r.Inode == 0 })
		p.z.worker().do("send", p.z.fd, 20)
		p.awaitZ("reset", gone)
		return append([]Truth{p.sent("late-data").closed(), p.received("peer-reset")}, p.straggler()...)
	}},
	{"data-after-shutdown", "the peer writes after shutdown(SHUT_RDWR)", func(p *pair) []Truth {
		p.a.worker().do("shutdown", p.a.fd, unix.SHUT_RDWR)
		p.awaitA("in FIN_WAIT2", func(r row) bool { return r.State == stateFinWait2 })
		p.z.worker().do("send", p.z.fd, 20)
		p.awaitZ("reset", gone)
		return []Truth{p.sent("data-after-shutdown").closed(), p.received("sent-to-closed-peer")}
	}},
	{"late-data-gone", "the peer missed the reset and writes on", lateGone},
}

// late writes to a connection that a has closed and that waits for the peer's
// FIN as a TIME_WAIT minisocket.
func (p *pair) late() []Truth {
	kind, is := finWait2()
	p.awaitA("closed, in FIN_WAIT2", is)
	p.z.worker().do("send", p.z.fd, 20)
	p.awaitZ("reset", gone)
	return []Truth{p.sent("late-data").closed().on(*kind), p.received("sent-to-closed-peer")}
}

// finWait2 waits for the minisocket that a closed socket becomes with the ACK of
// its FIN. Where that ACK met the socket's lock, the socket stays as it is until
// its time-out (tcp_rcv_state_process, "Bad case"), and answers late data itself.
func finWait2() (kind *event.SocketKind, is func(row) bool) {
	kind = new(event.SocketKind)
	began := time.Time{}
	return kind, func(r row) bool {
		if r.State != stateFinWait2 {
			return false
		}
		if began.IsZero() {
			began = time.Now()
		}
		*kind = event.SocketFull
		if r.Timewait {
			*kind = event.SocketTimewait
		}
		return r.Timewait || time.Since(began) > time.Second
	}
}

// lateGone makes z deaf, so that a's reset passes it by and z still believes in
// the connection. Its data then meets no socket at all; deaf again, the second
// reset passes by, too, and retransmissions draw more until z hears.
func lateGone(p *pair) []Truth {
	z := p.z.worker()
	p.say(30)
	z.do("deaf", p.z.fd)
	p.closeA()
	p.awaitA("gone", gone)
	z.do("send", p.z.fd, 20)
	pause(10 * time.Millisecond)
	z.do("hear", p.z.fd)
	z.do("send", p.z.fd, 20)
	p.awaitZ("reset", gone)
	return []Truth{
		p.sent("unread-data").closed(),
		p.sent("late-data").closed().on(event.SocketNone).repeats(),
		dropped("reset-filtered", p.z, p.a).repeats(),
		p.received("peer-reset"),
	}
}

// execAs runs the program anew in the same process, keeping the socket or none.
func (w *Worker) execAs(comm string, fd int) {
	if err := w.send(command{Op: "exec", FD: fd, Str: comm}); err != nil {
		fail("%s: exec: %w", w.Comm, err)
	}
	w.Comm = comm
	if err := w.greet(); err != nil {
		fail("exec as %s: %w", comm, err)
	}
}
