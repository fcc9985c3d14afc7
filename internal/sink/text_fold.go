package sink

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"rstwhy/internal/event"
)

// told is a count that is to be printed.
type told struct {
	*count
	more      bool // some of the same were printed in full
	processes int
	many      bool // there are more processes
}

// turn prints the counts of the second that ends before now.
func (t *Text) turn(b []byte, now time.Time) []byte {
	// A clock that was set back begins a new second too.
	if d := now.Sub(t.fold.from); d >= 0 && d < foldWindow || d < 0 && d > -foldWindow {
		return b
	}
	at := len(b)
	b = t.appendFolded(b)
	clear(t.fold.groups)
	clear(t.fold.kinds)
	t.fold = fold{from: now, groups: t.fold.groups, kinds: t.fold.kinds, lines: lines(b[at:])}
	return b
}

func lines(b []byte) int { return bytes.Count(b, []byte{'\n'}) }

// told lists what was counted: the groups of a kind, or the kind if those are
// too many.
func (f *fold) told() []told {
	var all []told
	for k, g := range f.groups {
		if kind := f.kinds[k.kindKey]; g.Count > 0 && kind.groups <= foldApart {
			all = append(all, told{count: &g.count, more: g.printed > 0, processes: 1})
		}
	}
	for _, k := range f.kinds {
		if k.groups > foldApart {
			all = append(all, told{count: &k.count, more: k.printed > 0, processes: len(k.processes), many: k.many})
		}
	}
	slices.SortFunc(all, func(x, y told) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), cmp.Compare(x.Cause, y.Cause), x.Remote.Compare(y.Remote),
			cmp.Compare(x.LocalPort, y.LocalPort), cmp.Compare(x.RemotePort, y.RemotePort), cmp.Compare(x.Direction, y.Direction),
			x.Time.Compare(y.Time), cmp.Compare(x.NetNS, y.NetNS), compareOwners(x.Owner, y.Owner))
	})
	return all
}

func compareOwners(p, q *event.Process) int {
	switch {
	case p == nil && q == nil:
		return 0
	case p == nil:
		return -1
	case q == nil:
		return 1
	}
	return cmp.Or(cmp.Compare(p.Comm, q.Comm), cmp.Compare(p.Label, q.Label), cmp.Compare(p.PID, q.PID))
}

// appendFolded prints the counts, the largest ones if there are many.
func (t *Text) appendFolded(b []byte) []byte {
	all := t.fold.told()
	n, used := 0, 0
	for n < len(all) && n < foldShown {
		c := t.stormRow(&all[n])
		used += lines(t.appendRow(nil, &c))
		if t.opt.Width > 0 && n > 0 && used > foldTold {
			break
		}
		n++
	}
	shown, more := all[:n], t.fold.rest
	for _, s := range all[n:] {
		more += s.Count
	}
	slices.SortStableFunc(shown, func(x, y told) int { return x.Time.Compare(y.Time) })
	for i := range shown {
		b = t.appendStorm(b, &shown[i])
	}
	if more == 0 {
		return b
	}
	groups := Plural(uint64(len(all)-n), "group")
	if t.fold.rest > 0 {
		groups = "too many groups to tell apart"
	}
	return t.appendLines(b, "and "+thousands(more)+" more resets in "+groups, "")
}

// Storm takes a count from the kernel side, to be printed with what was folded
// here of the same group.
func (t *Text) Storm(s *event.Storm) error {
	b := t.turn(t.buf[:0], s.Time)
	k := keyOf(s)
	t.fold.add(t.fold.find(k), k, &count{*s})
	t.buf = b
	return t.write(b, "storms")
}

// Ticker is a sink that holds counts back until their second is over. The
// pipeline tells it the time of events as it passes, also when none come.
type Ticker interface {
	Tick(now time.Time) error
}

var _ Ticker = (*Text)(nil)

// Tick prints the counts of a second that is over.
func (t *Text) Tick(now time.Time) error {
	if len(t.fold.kinds) == 0 && t.fold.rest == 0 {
		return nil
	}
	t.buf = t.turn(t.buf[:0], now)
	return t.write(t.buf, "storms")
}

// appendStorm prints a count in the columns of the records.
func (t *Text) appendStorm(b []byte, s *told) []byte {
	c := t.stormRow(s)
	b = t.appendHeader(b)
	b = t.appendDay(b, s.Time)
	b = t.appendRow(b, &c)
	return t.appendNote(b, s.Owner, s.OwnerProven, stormNoProcess(&s.Storm))
}

func (t *Text) stormRow(s *told) row {
	process, second := stormProcess(s, t.processRoom())
	if rest := stormSecond(&s.Storm); second == "" || rest == "" {
		second += rest
	} else {
		second += " " + rest
	}
	more := ""
	if s.more {
		more = " more"
	}
	c := row{
		time: s.Time.In(t.opt.Location).Format("15:04:05.000"), dir: direction(s.Direction),
		process: process, local: "*", peer: stormPeer(&s.Storm), was: "-",
		why: thousands(s.Count) + more + " in " + lately(s.DurationNS), cause: "(" + Escape(s.Cause, maxWord) + ")",
		second: second,
	}
	if s.LocalPort != 0 {
		c.local = ":" + strconv.Itoa(int(s.LocalPort))
	}
	return c
}

func stormPeer(s *event.Storm) string {
	switch {
	case s.Remote.IsSingleIP() && s.RemotePort != 0:
		return netip.AddrPortFrom(s.Remote.Addr(), s.RemotePort).String()
	case s.Remote.IsSingleIP():
		return s.Remote.Addr().String()
	}
	peer := "*"
	if s.Remote.Bits() > 0 {
		peer = s.Remote.String()
	}
	if s.RemotePort != 0 {
		peer += " :" + strconv.Itoa(int(s.RemotePort))
	}
	return peer
}

// lately says how long a storm lasted.
func lately(ns int64) string {
	if ns <= int64(foldWindow+foldWindow/2) {
		return "the last second"
	}
	return "the last " + Span(ns)
}

// thousands writes a count with commas: storms have many digits.
func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
