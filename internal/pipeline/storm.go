package pipeline

import (
	"fmt"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

// stormAccount is what became of resets that were only counted, and the
// verdicts that they may have.
type stormAccount struct {
	told, filtered, undecoded uint64
	closed                    bool // no more will be told
	verdicts                  map[probe.StormKey]judged
}

type judged struct {
	verdict *event.Verdict
	at      uint64
}

const (
	verdictKeep = 10e9
	verdictsMax = 1024
)

// settle gives every reset that was only counted its place in the account.
func (a *stormAccount) settle(acc *event.Account) {
	acc.Filtered += a.filtered
	acc.LostDecode += a.undecoded
	acc.Aggregated -= min(acc.Aggregated, a.filtered+a.undecoded)
	if a.closed && acc.Aggregated > a.told { // counted in a line that could not be read
		acc.LostDecode += acc.Aggregated - a.told
		acc.Aggregated = a.told
	}
}

// remember keeps the verdict of a record for the storm that it may be part of.
func (a *stormAccount) remember(raw *probe.ResetEvent, r *event.Reset, now uint64) {
	if r == nil || r.Verdict == nil || now == endOfTime {
		return
	}
	if len(a.verdicts) >= verdictsMax {
		for k, v := range a.verdicts {
			if v.at+verdictKeep/2 < now {
				delete(a.verdicts, k)
			}
		}
	}
	if a.verdicts == nil || len(a.verdicts) >= verdictsMax {
		a.verdicts = map[probe.StormKey]judged{}
	}
	a.verdicts[probe.StormOf(raw)] = judged{r.Verdict, now}
}

func (a *stormAccount) verdict(k *probe.StormKey, at uint64) *event.Verdict {
	v, ok := a.verdicts[*k]
	if !ok || max(at, v.at)-min(at, v.at) > verdictKeep {
		return nil
	}
	return v.verdict
}

// turnEvery is how often the side of the kernel's maps that rests is taken. Twice
// for each line: half the entries are there at a time.
const turnEvery = 5e8

// turnStorms takes what the kernel side has only counted.
func (s *session) turnStorms(now uint64) {
	if now != endOfTime && now-s.turned < turnEvery && s.turned != 0 {
		return
	}
	s.turned = now
	list, err := s.live.Storms()
	if err != nil {
		s.opts.Log.Debug().Err(err).Msg("storms")
	}
	var lines []*event.Storm
	unconfirmed := map[*event.Storm]uint64{}
	for i := range list {
		if st, ok := s.storm(&list[i]); ok {
			lines = append(lines, st)
			if len(st.Others) > 0 {
				unconfirmed[st] = list[i].Unconfirmed
			}
		}
	}
	s.stormed = append(s.stormed, confirm(collapse(lines), unconfirmed)...)
}

// confirm gives the candidate of a line what it surely closed itself: all but the
// sockets that it left to others, which may be any of its line's.
func confirm(lines []*event.Storm, unconfirmed map[*event.Storm]uint64) (out []*event.Storm) {
	for _, st := range lines {
		left, doubtful := unconfirmed[st]
		if !doubtful {
			out = append(out, st)
			continue
		}
		if left = min(left, st.Count); left < st.Count {
			own := *st
			own.Owner, own.OwnerProven, own.Others, own.Count = &st.Others[0], true, []event.Process{}, st.Count-left
			out = append(out, &own)
		}
		if st.Count = left; left > 0 {
			out = append(out, st)
		}
	}
	return out
}

// tellStorms tells what was taken.
func (s *session) tellStorms() {
	for _, st := range collapse(s.stormed) {
		s.finishStorm(st)
	}
	if cap(s.stormed) > 1<<10 {
		s.stormed = nil // a burst leaves nothing behind
	}
	s.stormed = s.stormed[:0]
}

// storm makes the line of one entry; not ok: it is accounted for otherwise.
func (s *session) storm(in *probe.Counted) (*event.Storm, bool) {
	raw := probe.Sample(&in.Key, &in.Count)
	n := in.Count.Count
	res := Resolution{Raw: raw, Owner: s.stormOwner(&raw.Owner), Source: probe.Source(&raw)}
	r, err := s.explain(&res)
	if err != nil {
		s.finisher.storms.undecoded += n
		return nil, false
	}
	r.Verdict = s.finisher.storms.verdict(&in.Key, in.Count.LastNs)
	st := &event.Storm{
		Type: "storm", Schema: event.Schema, Host: s.opts.Host, Time: r.Time,
		DurationNS: int64(in.Count.LastNs - min(in.Count.FirstNs, in.Count.LastNs)), Count: n, Direction: r.Direction,
		Cause: r.Cause, Owner: r.Owner, LocalPort: in.Key.LocalPort, RemotePort: in.Key.PeerPort, Remote: probe.StormRemote(&in.Key),
		NetNS: r.NetNS, Effect: r.Effect, Verdict: r.Verdict, Merged: in.Merged, Others: []event.Process{},
	}
	switch {
	case st.Owner == nil:
	case in.Doubtful():
		st.Others, st.Owner = append(st.Others, *st.Owner), nil
	default:
		st.OwnerProven = res.Source == event.SourceCurrent || probe.ClosedByOwner(&raw)
	}
	f := &s.opts.Filter // the kernel side applied the rest of it
	if s.full() || r.Direction == event.Sent && f.NoSent || r.Direction == event.Received && f.NoReceived || !s.opts.Select.MatchStorm(st) {
		s.finisher.storms.filtered += n
		return nil, false
	}
	return st, true
}

// stormOwner describes the owner by its name of now: what is stored with the
// sockets is that of the time when they were opened, maybe of another program.
func (s *session) stormOwner(o *probe.Owner) *event.Process {
	now := *o
	now.Comm = [16]uint8{}
	if p := s.complete(&now); p == nil || p.Comm != "" {
		return p
	}
	return s.complete(o) // gone, and never looked at
}

// finishStorm hands a line to the sinks; live and replay share it.
func (f *finisher) finishStorm(st *event.Storm) {
	if f.opts.Record != nil {
		f.opts.Record.storm(st, f.printed())
	}
	f.storms.told += st.Count
	for _, t := range f.tallies() {
		t.AddStorm(st)
	}
	if f.opts.Select.QuietExpected && expectedStorm(st) {
		f.hidden += st.Count
		return
	}
	for _, out := range f.opts.Sinks {
		if err := out.Storm(st); err != nil && f.err == nil {
			f.err = fmt.Errorf("write storm: %w", err)
		}
	}
}
