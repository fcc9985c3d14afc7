package pipeline

import (
	"fmt"

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

// storm prints a recorded storm. It is narrowed by what it tells: one of
// several local ports, or of a prefix, cannot be picked out.
func (p *player) storm(st *event.Storm) error {
	if st.Count == 0 || !st.Remote.IsValid() || st.Direction != event.Sent && st.Direction != event.Received {
		return fmt.Errorf("%w: a storm of nothing", probe.ErrRecord)
	}
	owner.Bound(st.Owner)
	st.Type, st.Schema, st.Host = "storm", event.Schema, p.opts.Host
	r := stormReset(st)
	if p.full() || !p.opts.Filter.Match(r) || !p.opts.Select.MatchStorm(st) {
		p.storms.filtered += st.Count
		return nil
	}
	p.finishStorm(st)
	return nil
}

// stormReset is a reset of the storm, as far as the line tells.
func stormReset(st *event.Storm) *event.Reset {
	return &event.Reset{
		Type: "reset", Direction: st.Direction, Cause: st.Cause, Owner: st.Owner, NetNS: st.NetNS, Effect: st.Effect,
		Verdict: st.Verdict, Local: event.Endpoint{Address: st.Remote.Addr(), Port: st.LocalPort},
		Peer: event.Endpoint{Address: st.Remote.Addr()},
	}
}
