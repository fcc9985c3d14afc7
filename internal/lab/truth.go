package lab

import (
	"net/netip"
	"strings"
	"syscall"

	"rstwhy/internal/event"
)

// actors tells who causes the RSTs that this host sends; what is not here is
// the kernel's answer to a segment.
var actors = map[string]event.ActorKind{
	"unread-data": event.ActorProcess, "linger-zero": event.ActorProcess, "connect-unspec": event.ActorProcess,
	"listener-closed": event.ActorProcess, "linger2-abort": event.ActorProcess,
	"socket-destroyed": event.ActorKiller, "keepalive-timeout": event.ActorTimer, "user-timeout": event.ActorTimer,
	"mptcp-abort":     event.ActorProcess + "|" + event.ActorKernel, // a fast close may be left to a thread of the kernel
	"firewall-reject": event.ActorFirewall,
}

// sent is a RST that one end sent.
func sent(cause string, by, to end) Truth {
	t := Truth{
		Cause: cause, Direction: event.Sent, Local: by.addr, Peer: to.addr,
		NetNS: by.by.eye().NetNS, Owners: []int{by.by.pid()}, Comm: by.by.name(), Socket: event.SocketFull,
		Hook: event.HookSend, Actor: actors[cause],
	}
	if t.Actor == "" {
		t.Actor = event.ActorKernel
	}
	if strings.Contains(string(t.Actor), string(event.ActorProcess)) {
		t.ActorPIDs = t.Owners
	}
	return t
}

// received is a RST that one end accepted.
func received(cause string, by, from end) Truth {
	t := sent(cause, by, from)
	t.Direction, t.Hook, t.Actor, t.ActorPIDs = event.Received, event.HookReceive, event.ActorPeer, nil
	t.Effect = event.EffectKilled
	if cause == "connect-refused" {
		t.Effect = event.EffectRefused
	}
	return t
}

// dropped is a RST that reached one end and that the kernel did not accept.
func dropped(cause string, by, from end) Truth {
	t := received(cause, by, from)
	t.Hook, t.Effect = event.HookDrop, event.EffectIgnored
	return t
}

// sent is the reset that a's side sent.
func (p *pair) sent(cause string) Truth { return sent(cause, p.a, p.z) }

// received is the reset that z's side received.
func (p *pair) received(cause string) Truth { return received(cause, p.z, p.a) }

func (t Truth) endedBy(e event.Ending) Truth {
	t.EndedBy = &e
	return t
}

func (t Truth) closed() Truth { return t.endedBy(event.Ending{Kind: event.EndClose}) }

func (t Truth) exited(status int) Truth {
	return t.endedBy(event.Ending{Kind: event.EndExit, Status: &status})
}

func (t Truth) killed(s syscall.Signal) Truth {
	n := int(s)
	return t.endedBy(event.Ending{Kind: event.EndSignal, Signal: &n})
}

// on says what kind of socket it was; several by "|".
func (t Truth) on(k event.SocketKind) Truth {
	t.Socket = k
	return t
}

// effect says what the RST did.
func (t Truth) effect(e event.Effect) Truth {
	t.Effect = e
	return t
}

// by says who caused it, where that is not the owner.
func (t Truth) by(k event.ActorKind, pids ...int) Truth {
	t.Actor, t.ActorPIDs = k, pids
	return t
}

// others says who held the socket, too.
func (t Truth) others(pids ...int) Truth {
	t.Others = pids
	return t
}

// counts says how many RST packets the story has at least.
func (t Truth) counts(packets int) Truth {
	t.Packets = uint64(packets)
	return t
}

// translated says what conntrack did: what was asked for, and who answers.
func (t Truth) translated(client, service, server netip.AddrPort) Truth {
	e := func(a netip.AddrPort) event.Endpoint { return event.Endpoint{Address: a.Addr(), Port: a.Port()} }
	t.NAT = &event.NAT{Source: e(client), Destination: e(service), ReplySource: e(server), ReplyDestination: e(client)}
	return t
}

// noOwner: the kernel acted for no process.
func (t Truth) noOwner() Truth {
	t.Owners, t.Comm = nil, ""
	return t
}

func (t Truth) orUnknown() Truth {
	t.AnyOwnerUnknownOK = true
	return t
}

func (t Truth) repeats() Truth {
	t.Repeats = true
	return t
}

func (t Truth) maybe() Truth {
	t.Optional = true
	return t
}

func (t Truth) inside() Truth {
	t.Inside = true
	return t
}

func (t Truth) anyEnding() Truth {
	t.AnyEndingOK = true
	return t
}
