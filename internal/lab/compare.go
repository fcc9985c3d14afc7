package lab

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"rstwhy/internal/event"
)

// Finding is one thing that a tracer told and that is not so, or did not tell.
type Finding struct {
	Scenario string // empty: a record that belongs to no scenario
	What     string
	Truth    *Truth       // nil for an unexpected record
	Reset    *event.Reset // nil for a missing one
}

// Score sums a comparison up for one scenario.
type Score struct {
	Scenario string
	Truths   int // resets that had to be told
	Told     int // of these, found among the records
	Right    int // of these, right in everything
	Named    int // of these, with an owner
	Records  int // that tell of them; more where a truth repeats
}

// Add sums up.
func (s *Score) Add(o Score) {
	s.Truths, s.Told, s.Right, s.Named, s.Records = s.Truths+o.Truths, s.Told+o.Told, s.Right+o.Right, s.Named+o.Named, s.Records+o.Records
}

// clockError is what the start of a process, kept in ticks, may seem to lie
// after an event, read from another clock.
const clockError = time.Second

type key struct {
	direction   event.Direction
	local, peer netip.AddrPort
	netns       uint32
}

func (t *Truth) key() key { return key{t.Direction, t.Local, t.Peer, t.NetNS} }

func resetKey(r *event.Reset) key {
	unmap := func(e event.Endpoint) netip.AddrPort { return netip.AddrPortFrom(e.Address.Unmap(), e.Port) }
	return key{r.Direction, unmap(r.Local), unmap(r.Peer), r.NetNS}
}

// connection is the key without the side that looks.
type connection struct {
	low, high netip.AddrPort
}

func (k key) connection() connection {
	if k.local.Compare(k.peer) > 0 {
		return connection{k.peer, k.local}
	}
	return connection{k.local, k.peer}
}

// Compare matches what a tracer told to what happened. Every truth needs its
// own record; a record on a connection of the lab's, or with an owner
// from the lab, needs a truth. What else the host did is ignored. Records of one
// end of one connection are matched in the order of time. Lab.Has is the usual mine.
func Compare(truths []Truth, resets []event.Reset, mine func(pid int) bool) (scores []Score, findings []Finding) {
	told := map[key][]*event.Reset{}
	for i := range resets {
		told[resetKey(&resets[i])] = append(told[resetKey(&resets[i])], &resets[i])
	}
	for _, list := range told {
		slices.SortStableFunc(list, func(a, b *event.Reset) int { return a.Time.Compare(b.Time) })
	}
	score := map[string]*Score{}
	ours := map[connection]string{}
	for i := range truths {
		t := &truths[i]
		s := score[t.Scenario]
		if s == nil {
			s = &Score{Scenario: t.Scenario}
			score[t.Scenario] = s
		}
		k := t.key()
		ours[k.connection()] = t.Scenario
		var f []Finding
		told[k], f = match(t, told[k], s)
		findings = append(findings, f...)
	}
	for k, list := range told {
		scenario, known := ours[k.connection()]
		for _, r := range list {
			if known || r.Owner != nil && mine(int(r.Owner.PID)) {
				findings = append(findings, Finding{Scenario: scenario, What: "unexpected record", Reset: r})
			}
		}
	}
	for _, s := range score {
		scores = append(scores, *s)
	}
	slices.SortFunc(scores, func(a, b Score) int { return cmp.Compare(a.Scenario, b.Scenario) })
	slices.SortStableFunc(findings, func(a, b Finding) int { return cmp.Compare(a.Scenario, b.Scenario) })
	return scores, findings
}

// match takes the records that tell of one truth from the front of the list.
func match(t *Truth, list []*event.Reset, s *Score) (rest []*event.Reset, findings []Finding) {
	fits := func(r *event.Reset) bool { return slices.Contains(t.Causes(), r.Cause) }
	if t.Optional && (len(list) == 0 || !fits(list[0])) {
		return list, nil
	}
	s.Truths++
	if len(list) == 0 {
		return nil, []Finding{{Scenario: t.Scenario, What: "missing record", Truth: t}}
	}
	n := 1
	for t.Repeats && n < len(list) && fits(list[n]) {
		n++
	}
	s.Told, s.Records = s.Told+1, s.Records+n
	for _, r := range list[:n] {
		for _, what := range t.differences(r) {
			findings = append(findings, Finding{Scenario: t.Scenario, What: what, Truth: t, Reset: r})
		}
	}
	if len(findings) == 0 {
		s.Right++
	}
	if list[0].Owner != nil {
		s.Named++
	}
	return list[n:], findings
}

// differences lists what a record says that is not the truth.
func (t *Truth) differences(r *event.Reset) (all []string) {
	differs := func(what string, got, want any) { all = append(all, fmt.Sprintf("%s %v, not %v", what, got, want)) }
	if !slices.Contains(t.Causes(), r.Cause) {
		differs("cause", r.Cause, t.Cause)
	}
	if r.Socket != t.Socket {
		differs("socket", r.Socket, t.Socket)
	}
	switch {
	case r.Owner == nil:
		if len(t.Owners) > 0 && !t.AnyOwnerUnknownOK {
			differs("owner", "unknown", fmt.Sprint(t.Owners, t.Comm))
		}
	case !slices.Contains(t.Owners, int(r.Owner.PID)):
		differs("WRONG OWNER", fmt.Sprint(r.Owner.PID, " ", r.Owner.Comm), fmt.Sprint(t.Owners, t.Comm))
	default:
		if !slices.Contains(strings.Split(t.Comm, "|"), r.Owner.Comm) {
			differs("comm", r.Owner.Comm, t.Comm)
		}
		if r.Owner.StartTime.IsZero() || r.Owner.StartTime.After(r.Time.Add(clockError)) {
			differs("start time", r.Owner.StartTime, "before the reset")
		}
	}
	if !t.AnyEndingOK && !sameEnding(r.EndedBy, t.EndedBy) {
		differs("ended by", ending(r.EndedBy), ending(t.EndedBy))
	}
	return all
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
