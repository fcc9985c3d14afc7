package probe

import (
	"slices"
	"time"
)

// Counts are the kernel side's counters, all hooks together.
// Seen = Filtered + LostRing + Aggregated + Joined + Submitted + LostRecursion.
type Counts struct {
	Seen, Filtered, LostRing, LostRecursion, Aggregated, Submitted, Joined uint64
	Recovered                                                              uint64 // of Seen: found by the shadow programs
	LostRecursionSent                                                      uint64 // of LostRecursion, those of sent resets
	OwnerLost, CloserLost                                                  uint64
	Dropped                                                                uint64 // packets that passed the hook of refused resets, whatever they were
	DropsMissed                                                            uint64 // of all drops, skipped while that program ran on the CPU: one may have been a reset
}

// Counts reads the counters. They balance exactly once Detach returned.
func (l *Live) Counts() Counts {
	if l.detached {
		return l.final
	}
	return l.counts()
}

func (l *Live) counts() Counts {
	var out Counts
	if l.coll == nil {
		return out
	}
	var per []kernelCounters
	key := uint32(0)
	if err := l.coll.Maps["counts"].Lookup(&key, &per); err != nil {
		l.log.Warn().Err(err).Msg("counters not read")
		return out
	}
	for _, c := range per {
		for h := range c.Seen {
			out.Seen += c.Seen[h]
			out.Filtered += c.Filtered[h]
			out.LostRing += c.Lost[h]
			out.Aggregated += c.Aggregated[h]
			out.Joined += c.Joined[h]
			out.Submitted += c.Submitted[h]
			out.Recovered += c.Recovered[h]
		}
		out.CloserLost += c.CloserLost
		out.OwnerLost += c.OwnerLost
		out.Dropped += c.Dropped
	}
	// A hit that the kernel skipped was seen by nobody, unless the shadow
	// program took it; then it is among Seen already.
	sent := l.unrecovered(l.servedBy(sentHook), per, kernelResetHookHOOK_SEND)
	for _, h := range Hooks {
		if slices.Contains(h.OnlyWith, sentPart) {
			sent += l.recursionMisses(l.servedBy(h.Name))
		}
	}
	out.LostRecursionSent = sent
	out.LostRecursion = sent + l.unrecovered("tp_btf__tcp_receive_reset", per, kernelResetHookHOOK_RECEIVE)
	out.Seen += out.LostRecursion
	out.DropsMissed = l.recursionMisses(l.servedBy(refusedHook))
	return out
}

// unrecovered counts the hits of a hook that neither its program nor the shadow
// program saw.
func (l *Live) unrecovered(program string, per []kernelCounters, hook kernelResetHook) uint64 {
	recovered := uint64(0)
	for i := range per {
		recovered += per[i].Recovered[hook]
	}
	missed := l.recursionMisses(program)
	return max(missed, recovered) - recovered
}

func (l *Live) recursionMisses(name string) uint64 {
	prog := l.progs[name]
	if prog == nil {
		return 0
	}
	st, err := prog.Stats()
	if err != nil {
		return 0
	}
	return st.RecursionMisses
}

// statesRecovered counts the state changes that the shadow program took.
func (l *Live) statesRecovered() (n uint64) {
	var per []kernelBusy
	key := uint32(0)
	if l.coll == nil || l.coll.Maps["busy_cpus"].Lookup(&key, &per) != nil {
		return 0
	}
	for i := range per {
		n += uint64(per[i].StatesRecovered)
	}
	return n
}

// MissedStates counts the state changes that the kernel skipped because the
// state program was running on that CPU.
func (l *Live) MissedStates() uint64 { return l.missedStates }

// Detach removes the hooks, so that the counters stand still and the ring
// buffer can be drained to its end.
func (l *Live) Detach() {
	if l.detached {
		return
	}
	for _, lnk := range l.links {
		lnk.Close()
	}
	clear(l.links)
	now := time.Now()
	l.drops.gaps.end(now)
	l.late.end(now)
	// Programs that run on another CPU right now end within microseconds; the
	// link's release does not wait for them.
	time.Sleep(5 * time.Millisecond)
	l.final = l.counts()
	if n, r := l.recursionMisses("tp_btf__inet_sock_set_state"), l.statesRecovered(); n > r {
		l.missedStates = n - r
	}
	l.detached = true
}
