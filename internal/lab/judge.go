package lab

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"rstwhy/internal/event"
)

// clockError is what the start of a process, kept in ticks, may seem to lie
// after an event, read from another clock.
const clockError = time.Second

// judge notes what a record says that is not the truth.
func (res *result) judge(r *event.Reset) {
	t := res.truth
	differs := func(f Field, got, want any) { res.find(f, fmt.Sprintf("%s %v, not %v", f, got, want), r) }
	if !slices.Contains(t.Causes(), r.Cause) {
		differs(CauseField, r.Cause, t.Cause)
	}
	if !either(r.Socket, t.Socket) {
		differs(SocketField, r.Socket, t.Socket)
	}
	if t.Hook != "" && !either(r.Hook, t.Hook) {
		differs(HookField, r.Hook, t.Hook)
	}
	if t.Effect != "" && (r.Effect == nil || !either(*r.Effect, t.Effect)) {
		got := event.Effect("none")
		if r.Effect != nil {
			got = *r.Effect
		}
		differs(EffectField, got, t.Effect)
	}
	if t.Packets > 0 && r.Packets < t.Packets {
		differs(PacketsField, r.Packets, fmt.Sprint(t.Packets, " or more"))
	}
	if t.NAT != nil && (r.NAT == nil || *r.NAT != *t.NAT) {
		differs(NATField, natText(r.NAT), natText(t.NAT))
	}
	t.judgeOwner(r, differs)
	t.judgeActor(r, differs)
	// Who does not know the process does not know how it ended; the owner's
	// finding says so.
	unknown := r.Owner == nil && r.EndedBy == nil && len(t.Owners) > 0
	if !t.AnyEndingOK && !unknown && !sameEnding(r.EndedBy, t.EndedBy) {
		differs(EndingField, ending(r.EndedBy), ending(t.EndedBy))
	}
}

func (t *Truth) judgeOwner(r *event.Reset, differs func(f Field, got, want any)) {
	switch {
	case r.Owner == nil:
		if len(t.Owners) > 0 && !t.AnyOwnerUnknownOK {
			differs(UnknownOwner, "unknown", fmt.Sprint(t.Owners, t.Comm))
		}
	case !slices.Contains(t.Owners, int(r.Owner.PID)):
		differs(WrongOwner, fmt.Sprint(r.Owner.PID, " ", r.Owner.Comm), fmt.Sprint(t.Owners, t.Comm))
	default:
		if !slices.Contains(strings.Split(t.Comm, "|"), r.Owner.Comm) {
			differs(CommField, r.Owner.Comm, t.Comm)
		}
		if r.Owner.StartTime.IsZero() || r.Owner.StartTime.After(r.Time.Add(clockError)) {
			differs(StartField, r.Owner.StartTime, "before the reset")
		}
	}
	for _, pid := range t.Others {
		if !slices.ContainsFunc(r.Others, func(p event.Process) bool { return int(p.PID) == pid }) {
			differs(OthersField, pids(r.Others), fmt.Sprint("with ", pid))
		}
	}
	if r.Owner != nil && slices.ContainsFunc(r.Others, func(p event.Process) bool { return p.PID == r.Owner.PID }) {
		differs(OthersField, pids(r.Others), "with the owner among them")
	}
}

// judgeActor: only a process, a killer or a peer on this host can have a process.
func (t *Truth) judgeActor(r *event.Reset, differs func(f Field, got, want any)) {
	if t.Actor == "" {
		return
	}
	if r.Actor == nil || !either(r.Actor.Kind, t.Actor) {
		got := event.ActorKind("none")
		if r.Actor != nil {
			got = r.Actor.Kind
		}
		differs(ActorField, got, t.Actor)
		return
	}
	acts := r.Actor.Kind == event.ActorProcess || r.Actor.Kind == event.ActorKiller
	switch p := r.Actor.Process; {
	case p == nil:
		if acts && len(t.ActorPIDs) > 0 && !t.AnyOwnerUnknownOK {
			differs(ActorField, fmt.Sprint(r.Actor.Kind, " unknown"), t.ActorPIDs)
		}
	case len(t.ActorPIDs) == 0 && r.Actor.Kind == event.ActorPeer:
	case !slices.Contains(t.ActorPIDs, int(p.PID)):
		differs(ActorField, fmt.Sprint("WRONG ", p.PID, " ", p.Comm), t.ActorPIDs)
	}
}

// judgeTwins: where both ends are here, each record names the other one, and
// none names a record of another RST.
func judgeTwins(results []*result) {
	of := map[string]*result{}
	pairs := map[int][]*result{}
	for _, res := range results {
		if res.truth.Pair != 0 {
			pairs[res.truth.Pair] = append(pairs[res.truth.Pair], res)
		}
		for _, r := range res.records {
			if r.ID != "" {
				of[r.ID] = res
			}
		}
	}
	for _, res := range results {
		for i, r := range res.records {
			res.judgeTwin(r, i, of, pairs[res.truth.Pair])
		}
	}
}

func (res *result) judgeTwin(r *event.Reset, i int, of map[string]*result, pair []*result) {
	var far *result
	for _, p := range pair {
		if p != res && len(p.records) > 0 {
			far = p
		}
	}
	if r.Twin == nil {
		if far != nil && i == 0 {
			res.find(TwinField, "twin unknown, not "+far.records[0].ID, r)
		}
		return
	}
	told, known := of[*r.Twin]
	switch {
	case known && (told.truth.Direction == res.truth.Direction || told.truth.Pair != res.truth.Pair):
		res.find(TwinField, fmt.Sprintf("twin WRONG: %s is %s of %s", *r.Twin, told.truth.Cause, told.truth.Scenario), r)
	case !known && far != nil:
		res.find(TwinField, "twin WRONG: "+*r.Twin+", not "+far.records[0].ID, r)
	case known && r.TwinOwner != nil && !slices.Contains(told.truth.Owners, int(r.TwinOwner.PID)):
		res.find(TwinField, fmt.Sprintf("twin owner WRONG: %d %s, not %v", r.TwinOwner.PID, r.TwinOwner.Comm, told.truth.Owners), r)
	case known && r.TwinOwner == nil && told.records[0].Owner != nil:
		res.find(TwinField, fmt.Sprintf("twin owner unknown, not %d %s", told.records[0].Owner.PID, told.records[0].Owner.Comm), r)
	}
}

func pids(all []event.Process) (out []uint32) {
	for _, p := range all {
		out = append(out, p.PID)
	}
	return out
}

func natText(n *event.NAT) string {
	if n == nil {
		return "none"
	}
	return fmt.Sprintf("%v>%v (%v>%v)", n.Source, n.Destination, n.ReplySource, n.ReplyDestination)
}

func sameEnding(a, b *event.Ending) bool {
	if a == nil || b == nil {
		return a == b
	}
	same := func(x, y *int) bool { return x == y || x != nil && y != nil && *x == *y }
	return a.Kind == b.Kind && same(a.Signal, b.Signal) && same(a.Status, b.Status)
}

func ending(e *event.Ending) string {
	switch {
	case e == nil:
		return "nobody"
	case e.Signal != nil:
		return fmt.Sprintf("%s %d", e.Kind, *e.Signal)
	case e.Status != nil:
		return fmt.Sprintf("%s %d", e.Kind, *e.Status)
	}
	return string(e.Kind)
}
