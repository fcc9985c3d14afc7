package lab

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
)

// firewalls are RSTs that no socket of this host sends although they carry its
// address: netfilter's REJECT (net/ipv4/netfilter/nf_reject_ipv4.c:
// nf_send_reset) and a forged segment.
var firewalls = inFamilies(needsNFT, []Scenario{
	{ID: "reject/input-syn", Title: "a rule for incoming segments rejects a connect", Needs: needsReject, setup: rejectSYN("input")},
	{ID: "reject/output-syn", Title: "a rule for outgoing segments rejects a connect", Needs: needsReject, setup: rejectSYN("output")},
	{ID: "reject/input-data", Title: "a rule for incoming segments rejects data of an open connection", Needs: needsReject, setup: rejectData("input")},
	{ID: "reject/output-data", Title: "a rule for outgoing segments rejects data of an open connection", Needs: needsReject, setup: rejectData("output")},

	{ID: "nat/closed-port", Title: "a service address leads to a closed port", Needs: needsNAT, setup: natClosedPort},
	{ID: "nat/late-data", Title: "data through a service address after the server has closed", Needs: needsNAT, setup: natClosed(true)},
	{ID: "nat/unread-data", Title: "the server behind a service address closes with data unread", Needs: needsNAT, setup: natClosed(false)},
})

var forgeries = inFamilies(nil, []Scenario{
	{ID: "forged-reset", Title: "a process sends a RST in the name of the other end", setup: forgedReset},
})

// notSent is a RST that an end accepted and that no socket here sent; fire is
// the same one where the tracer watches the firewall.
func notSent(by, from end, effect event.Effect) (got, fire Truth) {
	got = received("reset-not-sent-here", by, from).effect(effect).by(event.ActorFirewall + "|" + event.ActorPeer + "|" + event.ActorUnknown)
	got.Unsure = map[event.Effect]string{event.EffectKilled: "peer-reset", event.EffectRefused: "connect-refused"}[effect]
	fire = sent("firewall-reject", from, by).noOwner().on(event.SocketNone)
	fire.Hook, fire.Firewall, fire.NetNS = event.HookFirewall, true, got.NetNS
	pairOf(&got, &fire)
	return got, fire
}

func (b *Bench) reject(hook string, port uint16) {
	b.rules(fmt.Sprintf("table inet lab { chain rejects { type filter hook %s priority 0; tcp dport %d reject with tcp reset; }; }", hook, port))
}

func rejectSYN(hook string) func(*Bench) func() []Truth {
	return func(b *Bench) func() []Truth {
		b.ownHome()
		l, cli := b.listen(b.server(), 8), b.client()
		b.reject(hook, l.addr.Port())
		return func() []Truth {
			z := b.bound(cli, 0)
			cli.want(unix.ECONNREFUSED, "connect", z.fd, l.addr.String())
			stay()
			got, fire := notSent(z, l, event.EffectRefused)
			return []Truth{got, fire}
		}
	}
}

func rejectData(hook string) func(*Bench) func() []Truth {
	return func(b *Bench) func() []Truth {
		b.ownHome()
		p := b.pair()
		return func() []Truth {
			b.reject(hook, p.a.addr.Port())
			p.z.worker().do("send", p.z.fd, 20)
			p.wasReset()
			if r := p.rowA(); r.State != stateEstablished {
				fail("the end behind the firewall: %+v", r)
			}
			stay()
			got, fire := notSent(p.z, p.a, event.EffectKilled)
			return []Truth{got, fire}
		}
	}
}

func forgedReset(b *Bench) func() []Truth {
	b.ownHome()
	p := b.pair()
	stranger := b.client()
	return func() []Truth {
		_, next, _ := strings.Cut(p.a.worker().do("numbers", p.a.fd).Str, " ")
		seq, err := strconv.ParseUint(next, 10, 32)
		if err != nil {
			fail("sequence number %q: %w", next, err)
		}
		g := segment{from: p.z.addr, to: p.a.addr, seq: uint32(seq), flags: flagRST}
		stranger.doStr("forge", -1, hex.EncodeToString(g.packet()))
		p.a.worker().want(unix.ECONNRESET, "recv", p.a.fd, "", 10)
		stay()
		t := received("reset-not-sent-here", p.a, p.z).by(event.ActorPeer + "|" + event.ActorUnknown)
		t.Unsure = "peer-reset"
		return []Truth{t}
	}
}

// natted is a connection through a service address.
type natted struct {
	l, z    end            // the listener behind it, and the client
	service netip.AddrPort // what the client connects to
	cli     *Worker
}

// nat makes a namespace in which a service address leads to a server's.
func (b *Bench) nat() *natted {
	addr := []string{"192.0.2.10", "192.0.2.20", "10.96.0.1"}
	rule, bits := "ip daddr %s tcp dport 80 dnat ip to %s:%d", "/32"
	if b.place == IPv6 {
		addr = []string{"2001:db8:2::10", "2001:db8:2::20", "fd00:96::1"}
		rule, bits = "ip6 daddr %s tcp dport 80 dnat ip6 to [%s]:%d", "/128"
	}
	home := b.ownHome()
	for _, a := range addr {
		home.doStr("address", -1, "lo "+a+bits)
	}
	srv, cli := b.server(), b.client()
	srv.Addr, cli.Addr = addr[0], addr[1]
	n := &natted{l: b.listen(srv, 8), z: b.bound(cli, 0), cli: cli, service: netip.AddrPortFrom(netip.MustParseAddr(addr[2]), 80)}
	b.rules("table inet lab { chain services { type nat hook output priority -100; " + fmt.Sprintf(rule, addr[2], addr[0], n.l.addr.Port()) + "; }; }")
	return n
}

// truths gives both sides of one RST, which carry different addresses.
func (n *natted) truths(s, r Truth) []Truth {
	stay()
	r.Peer = n.service
	s = s.translated(n.z.addr, n.service, n.l.addr)
	if r.Effect != event.EffectRefused {
		r.NAT = s.NAT
	}
	pairOf(&s, &r)
	return []Truth{s, r}
}

func natClosedPort(b *Bench) func() []Truth {
	n := b.nat()
	n.l.worker().do("close", n.l.fd)
	return func() []Truth {
		n.cli.want(unix.ECONNREFUSED, "connect", n.z.fd, n.service.String())
		// Conntrack forgets a refused connection at once, so that only the RST that
		// the other end sends still shows the translation.
		return n.truths(sent("closed-port", n.l, n.z).noOwner().on(event.SocketNone), received("connect-refused", n.z, n.l))
	}
}

func natClosed(late bool) func(*Bench) func() []Truth {
	return func(b *Bench) func() []Truth {
		n := b.nat()
		srv := n.l.worker()
		return func() []Truth {
			n.cli.doStr("connect", n.z.fd, n.service.String())
			a := end{srv, srv.do("accept", n.l.fd, acceptMS).N, n.l.addr}
			s, r := sent("unread-data", a, n.z).closed(), received("peer-reset", n.z, a)
			if late {
				srv.do("close", a.fd)
				kind, is := finWait2()
				srv.awaitRow(a.addr, n.z.addr, "closed, in FIN_WAIT2", is)
				n.cli.do("send", n.z.fd, 20)
				s, r = sent("late-data", a, n.z).closed().on(*kind), received("sent-to-closed-peer", n.z, a)
			} else {
				n.cli.do("send", n.z.fd, 20)
				srv.awaitRow(a.addr, n.z.addr, "holding the bytes", func(r row) bool { return r.Unread == 20 })
				srv.do("close", a.fd)
			}
			n.cli.awaitRow(n.z.addr, n.service, "reset", gone)
			return n.truths(s, r)
		}
	}
}
