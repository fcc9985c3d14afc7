package pipeline

import (
	"fmt"
	"net/netip"
	"slices"

	"rstwhy/internal/event"
	"rstwhy/internal/owner"
	"rstwhy/internal/probe"
)

// story is what a recording keeps of a record beside its owner.
type story struct {
	Packets       uint64          `json:"packets,omitempty"`
	Twin          string          `json:"twin,omitempty"`
	TwinOwner     *process        `json:"twin_owner,omitempty"`
	Actor         event.ActorKind `json:"actor,omitempty"`
	ActorProcess  *process        `json:"actor_process,omitempty"`
	Others        []event.Process `json:"others,omitempty"`
	NoLocalSender bool            `json:"no_local_sender,omitempty"`
}

func storyOf(res *Resolution) story {
	packets := res.Packets
	if packets == 1 {
		packets = 0 // understood
	}
	return story{
		Packets: packets, Twin: res.Twin, TwinOwner: (*process)(res.TwinOwner), Actor: res.Actor,
		ActorProcess: (*process)(res.ActorProcess), Others: res.Others, NoLocalSender: res.NoLocalSender,
	}
}

// restore takes what a recording holds. It may be forged.
func (t *story) restore(res *Resolution) {
	res.Packets, res.NoLocalSender = t.Packets, t.NoLocalSender
	res.TwinOwner, res.ActorProcess = (*event.Process)(t.TwinOwner), (*event.Process)(t.ActorProcess)
	if isID(t.Twin) {
		res.Twin = t.Twin
	}
	switch t.Actor {
	case event.ActorProcess, event.ActorKiller, event.ActorTimer, event.ActorKernel, event.ActorFirewall, event.ActorPeer:
		res.Actor = t.Actor
	}
	res.Others = t.Others[:min(len(t.Others), othersMax)]
	owner.Bound(res.TwinOwner)
	owner.Bound(res.ActorProcess)
	for i := range res.Others {
		owner.Bound(&res.Others[i])
	}
}

// isID tells whether s is made like probe.ID.
func isID(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && c != '-' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 64
}

// storm prints a recorded storm.
func (p *player) storm(st *event.Storm) error {
	if st.Count == 0 || !st.Remote.IsValid() || st.Direction != event.Sent && st.Direction != event.Received {
		return fmt.Errorf("%w: a storm of nothing", probe.ErrRecord)
	}
	owner.Bound(st.Owner)
	st.Type, st.Schema, st.Host = "storm", event.Schema, p.opts.Host
	if p.full() || !mayMatch(p.opts.Filter, st) || !p.opts.Select.MatchStorm(st) {
		p.storms.filtered += st.Count
		return nil
	}
	p.finishStorm(st)
	return nil
}

// mayMatch tells whether any reset of the storm may pass the filter. One of
// several ports or addresses cannot be picked out, so that only what the line
// tells of all of them leaves it out. It never tells the local addresses.
func mayMatch(f probe.Filter, st *event.Storm) bool {
	if st.LocalPort == 0 {
		f.LocalPorts = nil
	}
	if st.RemotePort == 0 {
		f.PeerPorts = nil
	}
	if st.LocalPort == 0 || st.RemotePort == 0 {
		f.Ports = nil
	}
	v4 := st.Remote.Addr().Is4()
	if slices.ContainsFunc(f.Addrs, func(a netip.Prefix) bool { return a.Addr().Is4() == v4 }) {
		f.Addrs = nil
	}
	return f.Match(stormReset(st))
}

// stormReset is a reset of the storm, as far as the line tells.
func stormReset(st *event.Storm) *event.Reset {
	return &event.Reset{
		Type: "reset", Direction: st.Direction, Cause: st.Cause, Owner: st.Owner, NetNS: st.NetNS, Effect: st.Effect,
		Verdict: st.Verdict, Local: event.Endpoint{Address: st.Remote.Addr(), Port: st.LocalPort},
		Peer: event.Endpoint{Address: st.Remote.Addr(), Port: st.RemotePort},
	}
}
