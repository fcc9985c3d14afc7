package pipeline

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"rstwhy/internal/event"
)

const (
	stormRemotes = 64 // addresses, and prefixes of a width, told one by one
	stormPorts   = 64 // local ports told one by one
	heavyPart    = 16 // one in so many resets makes an address or port that is told, whatever the others
)

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
	merged    bool
	doubtful  bool // pid is a candidate
}

func groupOf(st *event.Storm) stormGroup {
	g := stormGroup{direction: st.Direction, cause: st.Cause, v4: st.Remote.Addr().Is4(), netns: st.NetNS, port: st.LocalPort, merged: st.Merged}
	if st.Owner != nil {
		g.pid, g.started = st.Owner.PID, st.Owner.StartBoot
	}
	if st.Owner == nil && len(st.Others) > 0 {
		g.pid, g.started, g.doubtful = st.Others[0].PID, st.Others[0].StartBoot, true
	}
	if st.Effect != nil {
		g.effect = *st.Effect
	}
	return g
}

// collapse joins lines of one group, remote address and local port; a group
// with many local ports becomes one without, and one with many addresses one of
// prefixes, but for those that have a good part of the resets. The result is in order of time.
func collapse(in []*event.Storm) []*event.Storm {
	ports, totals := map[stormGroup]map[uint16]uint64{}, map[stormGroup]uint64{}
	for _, st := range in {
		g := groupOf(st)
		g.port = 0
		if ports[g] == nil {
			ports[g] = map[uint16]uint64{}
		}
		ports[g][st.LocalPort] += st.Count
		totals[g] += st.Count
	}
	groups := map[stormGroup][]*event.Storm{}
	for _, st := range in {
		g := groupOf(st)
		all := g
		all.port = 0
		if len(ports[all]) > stormPorts && ports[all][st.LocalPort] < totals[all]/heavyPart {
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

// byPrefix widens the remote addresses until stormRemotes lines suffice. An
// address with a good part of the resets stays as it is.
func byPrefix(list []*event.Storm, v4 bool) []*event.Storm {
	widths := []int{128, 64, 48, 0}
	if v4 {
		widths = []int{32, 24, 16, 0}
	}
	list = joined(list, widths[0])
	if len(list) <= stormRemotes {
		return list
	}
	total := uint64(0)
	for _, st := range list {
		total += st.Count
	}
	var heavy, light []*event.Storm
	for _, st := range list {
		if st.Count >= total/heavyPart && st.Remote.IsSingleIP() {
			heavy = append(heavy, st)
		} else {
			light = append(light, st)
		}
	}
	for _, bits := range widths[1:] {
		light = joined(light, bits)
		if len(heavy)+len(light) <= stormRemotes {
			break
		}
	}
	return append(heavy, light...)
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
	if a.RemotePort != b.RemotePort {
		a.RemotePort = 0
	}
	a.OwnerProven = a.OwnerProven && b.OwnerProven
	if a.Verdict == nil || b.Verdict == nil || a.Verdict.Rule != b.Verdict.Rule {
		a.Verdict = nil // not true of all
	}
}
