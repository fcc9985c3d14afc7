package pipeline

import (
	"net/netip"

	"rstwhy/internal/diagnose"
	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

// othersMax bounds Reset.Others.
const othersMax = 8

func endpoint(addr [16]uint8, port uint16) event.Endpoint {
	return event.Endpoint{Address: netip.AddrFrom16(addr).Unmap(), Port: port}
}

// actor says who caused the reset. A process is named where it was in a system
// call that reset the connection (the owner then, or whoever stopped the
// listener), where the kernel side saw it act from outside, or where the other
// end's own record names it.
func actor(r *event.Reset, res *Resolution) *event.Actor {
	a := &event.Actor{Kind: res.Actor}
	if a.Kind == "" {
		a.Kind = diagnose.ActorOf(r)
	}
	switch a.Kind {
	case event.ActorProcess:
		a.Process = res.ActorProcess
		if a.Process == nil && r.OwnerSource == event.SourceCurrent {
			a.Process = r.Owner
		}
	case event.ActorKiller, event.ActorPeer:
		a.Process = res.ActorProcess
	}
	return a
}

// outside takes the process that acted from outside, such as ss -K; where it
// is the owner itself it is just the process that acted.
func (s *session) outside(p *pending, res *Resolution) {
	o, ok := probe.Actor(&p.raw)
	if !ok || o.Tgid == 0 {
		return
	}
	res.Actor, res.ActorProcess = event.ActorKiller, p.actor
	if same(o, &p.raw.Owner) || isProcess(res.Owner, o) {
		res.Actor = event.ActorProcess
	}
}

func isProcess(p *event.Process, o *probe.Owner) bool {
	return p != nil && p.PID == o.Tgid && p.StartBoot == o.StartNs
}

// others are the holders besides the owner. Where the owner is unknown they
// are all that may be it.
func (s *session) others(p *pending, res *Resolution) {
	if s.opts.NoNames || p.joined {
		return
	}
	list := p.holders
	if res.Owner == nil {
		list = append(append([]probe.Owner{}, p.holders...), p.raw.Owner)
		if p.closer != nil {
			list = append(list, *p.closer)
		}
	}
	for i := range list {
		o := &list[i]
		if o.Tgid == 0 || isProcess(res.Owner, o) || anySame(list[:i], o) || bornAfter(o, &p.raw) {
			continue
		}
		if len(res.Others) == othersMax {
			return
		}
		if d := s.complete(o); d != nil {
			res.Others = append(res.Others, *d)
		}
	}
}

// other adds what the other end's record tells.
func (s *session) other(p *pending, res *Resolution, now uint64) {
	if p.end == nil || p.end.twin == nil {
		res.NoLocalSender = s.noSender(p, now)
		return
	}
	t := p.end.twin.root()
	owner, acted, nat := t.owner, t.acted, t.nat
	if t.wait != nil {
		theirs := s.settle(t.wait)
		owner = theirs.Owner
		if r, err := s.explain(theirs); err == nil {
			nat = r.NAT
			if r.Actor != nil {
				acted = r.Actor.Process
			}
		}
	}
	// A refused connection leaves no entry behind that could be asked for; the
	// end that answered the SYN saw it (KERNEL.md 9c).
	if nat != nil && t.at.netns == p.raw.Netns && s.names.NATOpen(&p.raw) {
		probe.SetNAT(&p.raw, nat)
		res.Raw = p.raw
	}
	res.Twin = t.id()
	if owner != nil {
		c := *owner
		res.TwinOwner = &c
	}
	if hookOf(&p.raw) == hookReceive || hookOf(&p.raw) == hookDrop {
		res.ActorProcess = acted
		if t.hook == hookFirewall {
			res.Actor, res.ActorProcess = event.ActorFirewall, nil
			// Known for certain; "from this host" is another matter.
			res.NoLocalSender = hookOf(&p.raw) == hookReceive && s.here.certain(&p.raw, now)
		}
	}
}
