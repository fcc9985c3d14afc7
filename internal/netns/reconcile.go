package netns

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"rstwhy/internal/event"
)

// checksMax bounds what a summary holds; disagreements come first.
const checksMax = 256

// Losses are what is known to have been missed, in whatever namespace.
type Losses struct {
	Recursion uint64 // hits of the send hook that the kernel skipped
	Blind     string // resets that the send hook cannot show on this kernel; empty: none
	NoHits    string // why hits are not known by namespace, so that OutRsts is not held against them; empty: they are
}

// Checks holds the counters against what the hooks saw, up to the last reading.
func (c *Counters) Checks(lost Losses) []event.CounterCheck {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := []event.CounterCheck{}
	if c.ended {
		// Records that were in wait at the end are finished by now.
		for netns, s := range c.seen() {
			if t := c.tracks[netns]; t != nil && !t.gone && t.round == c.round {
				t.mustEnd = s.Must
			}
		}
	}
	numbers := make([]uint32, 0, len(c.tracks))
	for netns := range c.tracks {
		numbers = append(numbers, netns)
	}
	slices.Sort(numbers)
	for _, netns := range numbers {
		t := c.tracks[netns]
		for i := range counters {
			if check, ok := t.check(i, &lost); ok {
				check.NetNS = netns
				all = append(all, check)
			}
		}
	}
	if c.seen != nil {
		all = append(all, c.unread()...)
	}
	if len(c.tracks) == 0 && len(all) == 0 {
		all = append(all, c.unreadable())
	}
	slices.SortStableFunc(all, func(a, b event.CounterCheck) int { return cmp.Compare(rank(a), rank(b)) })
	return all[:min(len(all), checksMax)]
}

// unread tells of namespaces that came and went between two readings.
func (c *Counters) unread() (all []event.CounterCheck) {
	for netns, s := range c.seen() {
		if c.tracks[netns] == nil && s.sends() > 0 {
			all = append(all, event.CounterCheck{
				NetNS: netns, Counter: "OutRsts", Seen: int64(s.sends()),
				Explanation: notCompared + "the namespace came and went, or could not be entered, before its counters were read",
			})
		}
	}
	slices.SortFunc(all, func(a, b event.CounterCheck) int { return cmp.Compare(a.NetNS, b.NetNS) })
	return all
}

// unreadable tells, of rstwhy's own namespace, that no counter could be read.
func (c *Counters) unreadable() event.CounterCheck {
	why := "no network namespace was found"
	if c.unable != nil {
		why = c.unable.Error()
	}
	own, _ := Own() // 0: not known either
	return event.CounterCheck{NetNS: own, Counter: "OutRsts", Explanation: notCompared + "the counters of no network namespace could be read: " + why}
}

// notCompared begins the explanation of every check whose Agree is nil.
const notCompared = "not compared: "

// rank puts what was not compared last: where the list is cut, it must not seem
// that nothing was.
func rank(c event.CounterCheck) int {
	switch {
	case c.Agree == nil:
		return 2
	case *c.Agree:
		return 1
	}
	return 0
}

// check compares one counter; false where it has nothing to tell.
func (t *track) check(i int, lost *Losses) (event.CounterCheck, bool) {
	lo, hi := less(t.endLo[i], t.startHi[i]), less(t.endHi[i], t.startLo[i])
	out := event.CounterCheck{Counter: counters[i].name, Kernel: int64(hi), Agree: new(true)}
	switch counters[i].rule {
	case exact:
		if lost.NoHits != "" {
			out.Agree, out.Explanation = nil, notCompared+"what the hooks saw is not known by network namespace: "+lost.NoHits
			break
		}
		t.exact(&out, i, lo, hi, lost)
	case atLeast:
		t.atLeast(&out, i, hi)
	case alone:
		out.Agree, out.Explanation = nil, notCompared+"only the counter knows; "+counters[i].also
	}
	if out.Kernel == 0 && out.Seen == 0 {
		return out, false
	}
	switch {
	case t.gone:
		out.Explanation = join(out.Explanation, "the namespace is gone: the counters were last read at "+clock(t.read)+", and what came later cannot be reconciled")
	case t.late:
		out.Explanation = join(out.Explanation, "counted from "+clock(t.began)+" on, when this namespace was found")
	}
	return out, true
}

// exact: the send hook is hit once for each that is counted. Known exceptions,
// by function: tcp_send_active_reset counts and gives no event where it has no
// memory (TCPAbortFailed); tcp_v6_send_response does not count what finds no
// route back, and the event was before it.
func (t *track) exact(out *event.CounterCheck, i int, lo, hi uint64, lost *Losses) {
	seenLo, seenHi := less(t.seenEndLo, t.seenStartHi), less(t.seenEndHi, t.seenStartLo)
	if t.young {
		seenHi = max(seenLo, min(seenHi, hi)) // the others may be an earlier namespace's
	}
	out.Seen = int64(seenHi)
	switch {
	case lo > seenHi:
		t.unseen(out, lo-seenHi, lost)
	case seenLo > hi:
		out.Agree = new(false)
		out.Explanation = fmt.Sprintf("%d more were seen than counted: likely IPv6 resets that found no route back, which the kernel does not count (net/ipv6/tcp_ipv6.c: tcp_v6_send_response)", seenLo-hi)
	case hi != seenHi:
		out.Explanation = fmt.Sprintf("%d within the moments in which hooks and counters were read or attached one after the other", distance(hi, seenHi))
	}
	if !*out.Agree {
		out.Explanation += "; counted by " + counters[i].where
	}
}

// unseen names the likely source of resets that were counted and not seen.
func (t *track) unseen(out *event.CounterCheck, missing uint64, lost *Losses) {
	failed := less(t.endHi[failedAt], t.startLo[failedAt])
	switch {
	case lost.Recursion >= missing:
		lost.Recursion -= missing
		out.Explanation = fmt.Sprintf("%d hits were skipped by the kernel because the hook was running on that CPU (recursion misses); they are among the lost", missing)
	case failed >= missing:
		out.Explanation = fmt.Sprintf("%d without an event: the kernel had no memory to make them (TCPAbortFailed)", missing)
	case lost.Blind != "":
		out.Explanation = fmt.Sprintf("%d without an event: %s", missing, lost.Blind)
	default:
		out.Agree = new(false)
		out.Explanation = fmt.Sprintf("%d were sent that no hook saw: likely they interrupted a task on top of which the kernel runs no BPF program (docs/known-issues.md)", missing)
	}
}

var failedAt = slices.IndexFunc(counters[:], func(c counter) bool { return c.name == "TCPAbortFailed" })

func (t *track) atLeast(out *event.CounterCheck, i int, hi uint64) {
	must := less(t.mustEnd[counters[i].name], t.mustStart[counters[i].name])
	out.Seen = int64(must)
	switch {
	case must > hi:
		out.Agree = new(false)
		out.Explanation = fmt.Sprintf("%d more were seen than counted: their state before the reset may have been another one; counted by %s", must-hi, counters[i].where)
	case must < hi:
		out.Explanation = counters[i].also + "; resets that were filtered, aggregated or lost are not among those seen"
	}
}

// less is a - b, and 0 where that is negative: a counter never falls, so it
// would be another namespace's.
func less(a, b uint64) uint64 {
	if a < b {
		return 0
	}
	return a - b
}

func distance(a, b uint64) uint64 { return max(a, b) - min(a, b) }

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05Z") }
