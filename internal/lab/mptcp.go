package lab

import (
	"time"

	"golang.org/x/sys/unix"
)

// multipaths are the ways to end a connection of multipath TCP. It resets with
// a fast close (net/mptcp/protocol.c: mptcp_do_fastclose), in the process or in
// a worker thread of the kernel; an unaccepted child gets two RSTs, one from
// MPTCP and one from TCP.
var multipaths = []Scenario{
	{ID: "mptcp-abort", Title: "a multipath TCP connection closes with data unread", setup: multipath(true, func(m *multi) Truth {
		m.a.worker().do("close", m.a.fd)
		return m.abort()
	})},
	{ID: "mptcp-linger", Title: "a multipath TCP connection closes with SO_LINGER 0", setup: multipath(true, func(m *multi) Truth {
		m.a.worker().do("linger", m.a.fd, 0)
		m.a.worker().do("close", m.a.fd)
		return m.abort()
	})},
	{ID: "mptcp-killed", Title: "SIGKILL with data of multipath TCP unread", setup: multipath(true, func(m *multi) Truth {
		m.a.worker().kill(unix.SIGKILL)
		return m.abort()
	})},
	{ID: "mptcp-listener", Title: "a listener of multipath TCP closes with a connection unaccepted", setup: multipath(false, func(m *multi) Truth {
		m.l.worker().do("close", m.l.fd)
		t := m.abort()
		t.Cause += "|listener-closed"
		return t
	})},
}

type multi struct{ l, a, z end }

// abort is what the closing side sends. MPTCP moves the process's acts to its
// own socket, so that the subflow does not tell how it was given up.
func (m *multi) abort() Truth { return sent("mptcp-abort", m.a, m.z).orUnknown().anyEnding().repeats() }

func multipath(accept bool, how func(*multi) Truth) func(*Bench) func() []Truth {
	return func(b *Bench) func() []Truth {
		srv, cli := b.server(), b.client()
		socket := func(w *Worker) int {
			r, err := w.try("socket", -1, "", b.domain(), unix.IPPROTO_MPTCP)
			if err != nil {
				fail("multipath TCP: %w: %w", ErrUnavailable, err)
			}
			return r.N
		}
		fd := socket(srv)
		srv.doStr("bind", fd, srv.addr(0).String())
		srv.do("listen", fd, 8)
		l := end{srv, fd, srv.sockname(fd)}
		zfd := socket(cli)
		cli.doStr("connect", zfd, l.addr.String())
		m := &multi{l: l, a: l, z: end{cli, zfd, cli.sockname(zfd)}}
		if accept {
			m.a.fd = srv.do("accept", fd, acceptMS).N
		}
		return func() []Truth {
			cli.do("send", zfd, 100)
			pause(20 * time.Millisecond)
			t := how(m)
			cli.want(unix.ECONNRESET, "recv", zfd, "", 10)
			return []Truth{
				t,
				received("peer-reset|mptcp-abort|peer-reset-after-eof|peer-reset-after-close", m.z, l).orUnknown().anyEnding().repeats().maybe(),
				dropped("reset-to-nobody|reset-challenged|reset-out-of-window|peer-reset-timewait", m.z, l).orUnknown().anyEnding().repeats().maybe().on("full|none|timewait").effect("ignored|killed|unknown"),
			}
		}
	}
}
