package lab

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
)

// requestSocket is what a RST meets that hits a half-open connection: the kernel
// shows the listener.
const requestSocket = event.SocketFull + "|" + event.SocketRequest

// specials are the scenarios that open their connections themselves.
var specials = []Scenario{
	{ID: "closed-port", Title: "a connection to a port on which nobody listens", setup: closedPort},
	{ID: "refused-and-kept", Title: "the same, and the process keeps the socket", setup: refusedKept},
	{ID: "gone-connection", Title: "data for a connection that this host never had", setup: func(b *Bench) func() []Truth {
		srv, cli := b.bound(b.server(), 0), b.client() // bound, not listening: nobody can take the port
		return func() []Truth {
			z := b.forged(cli, srv.addr, 0)
			cli.do("send", z.fd, 20)
			cli.want(unix.ECONNRESET, "recv", z.fd, "", 1)
			return []Truth{sent("gone-connection", srv, z).noOwner().on(event.SocketNone), received("peer-reset", z, srv)}
		}
	}},
	{ID: "stale-segment", Title: "data for a listener that knows no such connection", Early: EarlyKnown, setup: func(b *Bench) func() []Truth {
		l, cli := b.listen(b.server(), 8), b.client()
		return func() []Truth {
			z := b.forged(cli, l.addr, 0)
			cli.do("send", z.fd, 20)
			cli.want(unix.ECONNRESET, "recv", z.fd, "", 1)
			return []Truth{sent("stale-segment", l, z), received("peer-reset", z, l)}
		}
	}},
	{ID: "bad-handshake-ack", Title: "a connection attempt meets a half-open connection", setup: badHandshakeAck},
	{ID: "handshake-syn", Title: "a second SYN meets an unfinished handshake", Early: EarlyKnown, setup: handshakeSYN},
	{ID: "connect-abandoned", Title: "the answer comes after the connection attempt was given up", Slow: 1900 * time.Millisecond, setup: connectAbandoned},
	{ID: "backlog-overflow", Title: "a full accept queue with tcp_abort_on_overflow", Early: EarlyKnown, Own: true, setup: backlogOverflow},
	{ID: "keepalive-timeout", Title: "keepalive probes stay unanswered", Slow: 2500 * time.Millisecond, Early: EarlyKnown, setup: func(b *Bench) func() []Truth {
		return silent(b, "keepalive-timeout", [][2]int{{unix.TCP_KEEPCNT, 1}})
	}},
	{ID: "user-timeout", Title: "TCP_USER_TIMEOUT passes on an idle connection", Slow: 2500 * time.Millisecond, Early: EarlyKnown, setup: func(b *Bench) func() []Truth {
		return silent(b, "user-timeout", [][2]int{{unix.TCP_KEEPCNT, 9}, {unix.TCP_USER_TIMEOUT, 1500}})
	}},
	{ID: "listener-closed", Title: "a listener closes with a connection unaccepted", Early: EarlyKnown, setup: listenerEnds(func(p *pair) Truth {
		p.closeA()
		return p.sent("listener-closed").closed()
	}, 0)},
	{ID: "listener-closed-data", Title: "a listener closes with a connection unaccepted that has data", Early: EarlyKnown, setup: listenerEnds(func(p *pair) Truth {
		p.closeA()
		return p.sent("listener-closed").closed()
	}, 50)},
	{ID: "listener-killed", Title: "a listening process is killed with a connection unaccepted", Early: EarlyKnown, setup: listenerEnds(func(p *pair) Truth {
		p.a.worker().kill(unix.SIGKILL)
		return p.sent("listener-closed").killed(unix.SIGKILL)
	}, 0)},
	{ID: "listener-shutdown", Title: "shutdown(SHUT_RD) of a listener with a connection unaccepted", Early: EarlyKnown, setup: listenerEnds(func(p *pair) Truth {
		p.a.worker().do("shutdown", p.a.fd, unix.SHUT_RD)
		return p.sent("listener-closed").closed()
	}, 0)},
	{ID: "listener-destroyed", Title: "an administrator destroys a listener with a connection unaccepted", Early: EarlyKnown, Needs: needsDiag, setup: listenerEnds(func(p *pair) Truth {
		any := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
		if p.a.addr.Addr().Is6() {
			any = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
		}
		killer := p.destroy(p.a.addr, any)
		// Nobody closed; the killer must not be named as the owner.
		return p.sent("socket-destroyed|listener-closed").anyEnding().orUnknown().by(event.ActorKiller, killer)
	}, 0)},
	{ID: "reset-before-accept", Title: "the peer resets before the process accepts", Early: EarlyUnknown, setup: func(b *Bench) func() []Truth {
		p := b.unaccepted()
		return func() []Truth {
			p.reset()
			return []Truth{sent("linger-zero", p.z, p.a).closed(), received("peer-reset-before-accept", p.a, p.z)}
		}
	}},
	{ID: "inherited-leak", Title: "a child holds a leaked copy: the parent's close does nothing, the child's death resets", Early: EarlyKnown, setup: leakedCopy},
	{ID: "shared-reset", Title: "a connection that parent and child both hold is reset", Early: EarlyKnown, setup: func(b *Bench) func() []Truth {
		p := b.pair()
		kid := b.spawnFrom(p.a.worker(), b.lab.comm("kid"), p.a.fd)
		return func() []Truth {
			p.reset()
			pause(700 * time.Millisecond)
			t := received("peer-reset", p.a, p.z).orUnknown()
			t.Owners, t.Comm = append(t.Owners, kid.PID), t.Comm+"|"+kid.Comm
			return []Truth{sent("linger-zero", p.z, p.a).closed(), t}
		}
	}},
	{ID: "out-of-memory", Title: "the OOM killer kills a process with data unread", Early: EarlyKnown, setup: outOfMemory},
}

// refusedKept: a program that keeps the socket after ECONNREFUSED; nobody
// closes it, so that only a walk over descriptors can confirm its owner.
func refusedKept(b *Bench) func() []Truth {
	run := closedPort(b)
	return func() []Truth {
		truths := run()
		pause(700 * time.Millisecond)
		return truths
	}
}

func closedPort(b *Bench) func() []Truth {
	srv, cli := b.bound(b.server(), 0), b.client()
	return func() []Truth {
		z := b.bound(cli, 0)
		cli.want(unix.ECONNREFUSED, "connect", z.fd, srv.addr.String())
		return []Truth{
			sent("closed-port", srv, z).noOwner().on(event.SocketNone),
			received("connect-refused", z, srv),
		}
	}
}

// forged makes an established socket out of nothing (TCP_REPAIR), as a host
// has it that slept through its peer's restart.
func (b *Bench) forged(w *Worker, to netip.AddrPort, port uint16) end {
	e := b.bound(w, port)
	repair := func(v int) { w.do("setint", e.fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, v) }
	repair(1)
	for _, queue := range []int{1, 2} { // TCP_RECV_QUEUE, TCP_SEND_QUEUE
		w.do("setint", e.fd, unix.IPPROTO_TCP, unix.TCP_REPAIR_QUEUE, queue)
		// No two connections of a host have the same numbers (RFC 6528).
		w.do("setint", e.fd, unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ, int(rand.Int32()))
	}
	w.doStr("connect", e.fd, to.String())
	repair(-1) // TCP_REPAIR_OFF_NO_WP: without a window probe
	return e
}

// badHandshakeAck: RFC 9293 3.5.1, figure 9 (half-open connection discovery):
// the SYN draws an ACK that the new connection cannot accept. It sends its SYN
// again two ticks later (tcp_rcv_synsent_state_process), to a port that is closed
// by then.
func badHandshakeAck(b *Bench) func() []Truth {
	srv, cli := b.server(), b.client()
	a := b.bound(cli, 0)
	z := b.forged(srv, a.addr, 0)
	return func() []Truth {
		cli.doStr("connect", a.fd, z.addr.String(), 1)
		cli.want(unix.ECONNREFUSED, "recv", a.fd, "", 1)
		return []Truth{
			sent("bad-handshake-ack", a, z), received("peer-reset", z, a),
			sent("closed-port", z, a).noOwner().on(event.SocketNone), received("connect-refused", a, z),
		}
	}
}

// handshakeSYN: a client that never hears the SYN-ACK starts anew from the same
// port, its sequence number a little ahead (tcp_check_req: embryonic_reset).
func handshakeSYN(b *Bench) func() []Truth {
	l, cli := b.listen(b.server(), 8), b.client()
	return func() []Truth {
		try := func(port uint16, seq int) end {
			z := b.bound(cli, port)
			cli.do("setint", z.fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1)
			cli.do("setint", z.fd, unix.IPPROTO_TCP, unix.TCP_REPAIR_QUEUE, 2)
			cli.do("setint", z.fd, unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ, seq)
			cli.do("setint", z.fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, -1)
			return z
		}
		first := try(0, 5_000_000)
		cli.do("deaf", first.fd)
		cli.doStr("connect", first.fd, l.addr.String(), 1)
		pause(20 * time.Millisecond)
		cli.do("close", first.fd)
		second := try(first.addr.Port(), 5_000_100)
		cli.want(unix.ECONNREFUSED, "connect", second.fd, l.addr.String())
		return []Truth{sent("handshake-syn", l, second), received("connect-refused", second, l)}
	}
}

// connectAbandoned: the first SYN-ACK passes the deaf client by, the second one
// comes a second later and meets no socket. The server's half-open request dies of
// the reset, which the kernel frees as if it had dropped it (tcp_check_req).
func connectAbandoned(b *Bench) func() []Truth {
	l, cli := b.listen(b.server(), 8), b.client()
	return func() []Truth {
		a := b.bound(cli, 0)
		cli.do("deaf", a.fd)
		cli.doStr("connect", a.fd, l.addr.String(), 1)
		pause(50 * time.Millisecond)
		cli.do("close", a.fd)
		pause(1200 * time.Millisecond)
		stay()
		return []Truth{
			sent("connect-abandoned", a, l).closed().on(event.SocketNone),
			dropped("peer-reset-handshake", l, a).effect(event.EffectKilled).on(requestSocket),
		}
	}
}

// backlogOverflow: with TCP_DEFER_ACCEPT both clients are connected before
// either counts in the queue, which then gets room for one only (a small queue
// from the start would draw SYN cookies, which are not deferred).
func backlogOverflow(b *Bench) func() []Truth {
	srv, cli := b.server(), b.client()
	l := b.listen(srv, 8)
	srv.do("setint", l.fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 5)
	return func() []Truth {
		one, two := b.connect(cli, l.addr), b.connect(cli, l.addr)
		srv.do("listen", l.fd, 0)
		cli.do("send", one.fd, 10)
		srv.awaitRow(l.addr, one.addr, "established", func(r row) bool { return r.State == stateEstablished })
		cli.do("send", two.fd, 10)
		cli.want(unix.ECONNRESET, "recv", two.fd, "", 1)
		return []Truth{sent("backlog-overflow", l, two), received("peer-reset", two, l)}
	}
}

// silent makes the peer deaf; the peer does not hear the reset either.
func silent(b *Bench, cause string, options [][2]int) func() []Truth {
	p := b.pair()
	return func() []Truth {
		a := p.a.worker()
		p.z.worker().do("deaf", p.z.fd)
		for _, o := range append([][2]int{{unix.TCP_KEEPIDLE, 1}, {unix.TCP_KEEPINTVL, 1}}, options...) {
			a.do("setint", p.a.fd, unix.IPPROTO_TCP, o[0], o[1])
		}
		a.do("setint", p.a.fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		p.awaitA("timed out", gone)
		return []Truth{p.sent(cause), dropped("reset-filtered", p.z, p.a)}
	}
}

// listenerEnds ends a listener that has an unaccepted connection.
func listenerEnds(how func(*pair) Truth, bytes int) func(*Bench) func() []Truth {
	return func(b *Bench) func() []Truth {
		p := b.unaccepted()
		if bytes > 0 {
			p.say(bytes)
		}
		return func() []Truth {
			t := how(p)
			p.wasReset()
			return []Truth{t, p.received("peer-reset")}
		}
	}
}

func leakedCopy(b *Bench) func() []Truth {
	p := b.pair()
	parent := p.a.worker()
	kid := b.spawnFrom(parent, b.lab.comm("kid"), p.a.fd)
	return func() []Truth {
		p.say(100)
		parent.do("close", p.a.fd)
		pause(20 * time.Millisecond)
		if !p.rowA().Found {
			fail("the parent's close ended a connection that its child holds")
		}
		p.a.by = kid
		kid.kill(unix.SIGKILL)
		p.wasReset()
		return []Truth{p.sent("unread-data").killed(unix.SIGKILL), p.received("peer-reset")}
	}
}
