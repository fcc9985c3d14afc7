package pipeline

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"rstwhy/internal/diagnose"
	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

// stormed is one line of what the kernel side only counted.
type stormed = struct {
	Key   probe.StormKey
	Count probe.Storm
}

// stormSide is a kernel side that counts resets beyond a bound. Storms empties
// what it has counted since the last call.
type stormSide interface {
	Storms() ([]stormed, error)
}

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
	verdictKeep   = 10e9
	verdictsMax   = 1024
	stormRemotes  = 64 // addresses, and prefixes of a width, told one by one
	stormPorts    = 64 // local ports told one by one
	chores        = 1e9
	stormLastTime = ^uint64(0)
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
	if r == nil || r.Verdict == nil || now == stormLastTime {
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

// tellStorms tells what the kernel side has only counted.
func (s *session) tellStorms() {
	k, ok := s.live.(stormSide)
	if !ok {
		return
	}
	list, err := k.Storms()
	if err != nil {
		s.opts.Log.Debug().Err(err).Msg("storms")
	}
	s.tellStormed(list)
}

func (s *session) tellStormed(list []stormed) {
	var out []*event.Storm
	for i := range list {
		if st, ok := s.storm(&list[i]); ok {
			out = append(out, st)
		}
	}
	for _, st := range collapse(out) {
		s.finishStorm(st)
	}
}

// storm makes the line of one entry; not ok: it is accounted for otherwise.
func (s *session) storm(in *stormed) (*event.Storm, bool) {
	n := in.Count.Count
	raw := probe.Sample(&in.Key, &in.Count)
	res := Resolution{Raw: raw, Owner: s.complete(&raw.Owner), Source: probe.Source(&raw)}
	if res.Owner != nil && s.mayConcernZooKeeper(&raw, res.Owner.Comm) {
		s.servers.attach(&res, s.names, s.clock)
	}
	r, err := s.explain(&res)
	if err != nil {
		s.finisher.storms.undecoded += n
		return nil, false
	}
	r.Verdict = s.finisher.storms.verdict(&in.Key, in.Count.LastNs)
	if s.full() || !s.opts.Select.Match(r) {
		s.finisher.storms.filtered += n
		return nil, false
	}
	return &event.Storm{
		Type: "storm", Schema: event.Schema, Host: s.opts.Host, Time: r.Time,
		DurationNS: int64(in.Count.LastNs - min(in.Count.FirstNs, in.Count.LastNs)), Count: n, Direction: r.Direction,
		Cause: diagnose.Classify(r), Owner: r.Owner, LocalPort: in.Key.LocalPort, Remote: probe.StormRemote(&in.Key),
		NetNS: r.NetNS, Effect: r.Effect, Verdict: r.Verdict,
	}, true
}

// finishStorm hands a line to the sinks; live and replay share it.
func (f *finisher) finishStorm(st *event.Storm) {
	if f.opts.Record != nil {
		f.opts.Record.storm(st)
	}
	f.storms.told += st.Count
	if t, ok := any(&f.tally).(interface{ AddStorm(*event.Storm) }); ok {
		t.AddStorm(st)
	}
	for _, out := range f.opts.Sinks {
		if err := out.Storm(st); err != nil && f.err == nil {
			f.err = fmt.Errorf("write storm: %w", err)
		}
	}
}

// stormGroup is what a line says besides address and local port.
type stormGroup struct {
	direction event.Direction
	cause     string
	pid       uint32
	started   uint64
	effect    event.Effect
	v4        bool
	netns     uint32
	port      uint16
}

func groupOf(st *event.Storm) stormGroup {
	g := stormGroup{direction: st.Direction, cause: st.Cause, v4: st.Remote.Addr().Is4(), netns: st.NetNS, port: st.LocalPort}
	if st.Owner != nil {
		g.pid, g.started = st.Owner.PID, st.Owner.StartBoot
	}
	if st.Effect != nil {
		g.effect = *st.Effect
	}
	return g
}

// collapse joins lines of one group, remote address and local port; a group
// with many local ports becomes one without, and one with many addresses one of
// prefixes. The result is in order of time.
func collapse(in []*event.Storm) []*event.Storm {
	ports := map[stormGroup]map[uint16]bool{}
	for _, st := range in {
		g := groupOf(st)
		g.port = 0
		if ports[g] == nil {
			ports[g] = map[uint16]bool{}
		}
		ports[g][st.LocalPort] = true
	}
	groups := map[stormGroup][]*event.Storm{}
	for _, st := range in {
		g := groupOf(st)
		all := g
		all.port = 0
		if len(ports[all]) > stormPorts {
			g, st.LocalPort = all, 0
		}
		groups[g] = append(groups[g], st)
	}
	var out []*event.Storm
	for g, list := range groups {
		out = append(out, byPrefix(list, g.v4)...)
	}
	slices.SortFunc(out, func(a, b *event.Storm) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(b.Count, a.Count), cmp.Compare(a.LocalPort, b.LocalPort),
			cmp.Compare(a.Remote.String(), b.Remote.String()), cmp.Compare(a.Cause, b.Cause))
	})
	return out
}

// byPrefix widens the remote addresses until stormRemotes lines suffice.
func byPrefix(list []*event.Storm, v4 bool) []*event.Storm {
	widths := []int{128, 64, 48, 0}
	if v4 {
		widths = []int{32, 24, 16, 0}
	}
	for _, bits := range widths {
		list = joined(list, bits)
		if len(list) <= stormRemotes {
			break
		}
	}
	return list
}

func joined(list []*event.Storm, bits int) []*event.Storm {
	at := map[netip.Prefix]*event.Storm{}
	var out []*event.Storm
	for _, st := range list {
		st.Remote = netip.PrefixFrom(st.Remote.Addr(), min(bits, st.Remote.Bits())).Masked()
		if have := at[st.Remote]; have != nil {
			addStorm(have, st)
			continue
		}
		at[st.Remote] = st
		out = append(out, st)
	}
	return out
}

// addStorm adds b to a, both of one group.
func addStorm(a, b *event.Storm) {
	first := a.Time.Add(-time.Duration(a.DurationNS))
	if f := b.Time.Add(-time.Duration(b.DurationNS)); f.Before(first) {
		first = f
	}
	if b.Time.After(a.Time) {
		a.Time = b.Time
	}
	a.DurationNS = int64(a.Time.Sub(first))
	a.Count += b.Count
	if a.Verdict == nil || b.Verdict == nil || a.Verdict.Rule != b.Verdict.Rule {
		a.Verdict = nil // not true of all
	}
}

// begin takes the first readings, when every hook is attached.
func (s *session) begin(now uint64) {
	s.senders.began = now
	s.housekeeping(now)
}

// housekeeping does, once a second, what is not tied to a record.
func (s *session) housekeeping(now uint64) {
	if now == stormLastTime || now-s.chores < chores && s.chores != 0 {
		return
	}
	s.chores = now
	s.here.refresh(now, ownEvery)
	s.twins.expire(now)
	n := &s.senders
	n.budget = askBudget
	n.losses(s.live.Counts(), s.undecoded, now)
	if s.here.netns != 0 {
		n.sample(s.here.netns, 0, now)
	}
	s.tellStorms()
}
