package sink

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"rstwhy/internal/event"
)

// Bounds of what the text shows of one second. A terminal shows some 50 lines;
// what is beyond nobody reads, and a flood of it hides the rest.
const (
	foldAfter  = 10   // lines of one group; the rest are counted
	foldLines  = 200  // lines of all groups, on a terminal
	foldShown  = 20   // counts that are printed, largest first
	foldGroups = 4096 // groups that are told apart: a scan makes a new one with each packet
	foldWindow = time.Second
)

// groupKey is what the resets of one fold have in common.
type groupKey struct {
	direction event.Direction
	cause     string
	pid       uint32
	start     int64
	remote    netip.Prefix
	port      uint16 // of the side that was connected to
	ours      bool   // that is the local one
	merged    bool
}

func keyOf(s *event.Storm) groupKey {
	k := groupKey{direction: s.Direction, cause: s.Cause, remote: s.Remote, port: s.RemotePort, merged: s.Merged}
	if s.LocalPort != 0 {
		k.port, k.ours = s.LocalPort, true
	}
	if s.Owner != nil {
		k.pid, k.start = s.Owner.PID, s.Owner.StartTime.UnixNano()
	}
	return k
}

// stormOf is the storm of one reset, as the kernel side would count it: by the
// port that was connected to, since the other one is any of thousands.
func stormOf(r *event.Reset) event.Storm {
	s := event.Storm{
		Time: r.Time, Count: 1, Direction: r.Direction, Cause: r.Cause, Owner: r.Owner, LocalPort: r.Local.Port,
		Remote: netip.PrefixFrom(r.Peer.Address.WithZone(""), r.Peer.Address.BitLen()), Effect: r.Effect, Verdict: r.Verdict,
	}
	if connected(r) {
		s.LocalPort, s.RemotePort = 0, r.Peer.Port
	}
	return s
}

type group struct {
	seen  int  // resets told or counted
	doubt bool // the owner of one of them is not proven
	storm event.Storm
}

// fold counts the resets of the current second that are not printed.
type fold struct {
	from    time.Time
	printed int
	groups  map[groupKey]*group
	rest    uint64 // beyond foldGroups
}

// take tells whether the reset is counted instead of printed.
func (f *fold) take(r *event.Reset, terminal bool) bool {
	s := stormOf(r)
	g := f.group(keyOf(&s))
	if g == nil {
		f.rest++
		return true
	}
	g.seen++
	if g.seen <= foldAfter && (!terminal || f.printed < foldLines) {
		f.printed++
		return false
	}
	g.doubt = g.doubt || !r.OwnerProven
	g.add(&s, r.Time)
	return true
}

// group finds the group of a key; nil where there are too many.
func (f *fold) group(k groupKey) *group {
	g := f.groups[k]
	if g == nil && len(f.groups) < foldGroups {
		if f.groups == nil {
			f.groups = make(map[groupKey]*group)
		}
		g = new(group)
		f.groups[k] = g
	}
	return g
}

// add counts a storm that began at from.
func (g *group) add(s *event.Storm, from time.Time) {
	if g.storm.Count == 0 {
		g.storm = *s
		g.storm.DurationNS = int64(s.Time.Sub(from))
		return
	}
	start := g.storm.Time.Add(-time.Duration(g.storm.DurationNS))
	if from.Before(start) {
		start = from
	}
	if s.Time.After(g.storm.Time) {
		g.storm.Time = s.Time
	}
	g.storm.DurationNS = int64(g.storm.Time.Sub(start))
	g.storm.Count += s.Count
	if s.Verdict != nil {
		g.storm.Verdict = s.Verdict
	}
	if s.Effect == nil || g.storm.Effect == nil || *s.Effect != *g.storm.Effect {
		g.storm.Effect = nil // they differ: none is true of all
	}
}

// turn prints the counts of the second that ends before now.
func (t *Text) turn(b []byte, now time.Time) []byte {
	// A clock that was set back begins a new second too.
	if d := now.Sub(t.fold.from); d >= 0 && d < foldWindow || d < 0 && d > -foldWindow {
		return b
	}
	b = t.appendFolded(b)
	clear(t.fold.groups)
	t.fold.from, t.fold.printed, t.fold.rest = now, 0, 0
	return b
}

// appendFolded prints the counts, the largest ones if there are many.
func (t *Text) appendFolded(b []byte) []byte {
	var told []*group
	for _, g := range t.fold.groups {
		if g.storm.Count > 0 {
			told = append(told, g)
		}
	}
	slices.SortFunc(told, func(v, w *group) int {
		x, y := &v.storm, &w.storm
		return cmp.Or(cmp.Compare(y.Count, x.Count), cmp.Compare(x.Cause, y.Cause), x.Remote.Compare(y.Remote),
			cmp.Compare(x.LocalPort, y.LocalPort), cmp.Compare(x.RemotePort, y.RemotePort), cmp.Compare(x.Direction, y.Direction), x.Time.Compare(y.Time))
	})
	shown := told[:min(len(told), foldShown)]
	more := t.fold.rest
	for _, g := range told[len(shown):] {
		more += g.storm.Count
	}
	slices.SortStableFunc(shown, func(x, y *group) int { return x.storm.Time.Compare(y.storm.Time) })
	for _, g := range shown {
		b = t.appendStorm(b, &g.storm, g.doubt)
	}
	if more == 0 {
		return b
	}
	groups := plural(uint64(len(told)-len(shown)), "group")
	if t.fold.rest > 0 {
		groups = "too many groups to tell apart"
	}
	b = append(b, spaces(under)...)
	return append(b, "and "+thousands(more)+" more resets in "+groups+"\n"...)
}

// Storm takes a count from the kernel side, to be printed with what was folded
// here of the same group.
func (t *Text) Storm(s *event.Storm) error {
	b := t.turn(t.buf[:0], s.Time)
	if g := t.fold.group(keyOf(s)); g != nil {
		g.doubt = true // a storm's owner is the one that was stored
		g.add(s, s.Time.Add(-time.Duration(s.DurationNS)))
	} else {
		t.fold.rest += s.Count
	}
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
	if len(t.fold.groups) == 0 && t.fold.rest == 0 {
		return nil
	}
	t.buf = t.turn(t.buf[:0], now)
	return t.write(t.buf, "storms")
}

// appendStorm prints a count in the columns of the records.
func (t *Text) appendStorm(b []byte, s *event.Storm, doubt bool) []byte {
	c := row{
		time: s.Time.In(t.opt.Location).Format("15:04:05.000"), dir: direction(s.Direction),
		process: "?", local: "*", was: "-",
		why: thousands(s.Count) + " more in " + lately(s.DurationNS), cause: "(" + Escape(s.Cause, maxWord) + ")",
		second: stormSecond(s),
	}
	switch {
	case s.Owner != nil:
		c.process = process(&event.Reset{Owner: s.Owner, OwnerProven: !doubt}, t.processRoom())
	case stormNoProcess(s):
		c.process = "-"
	}
	if s.LocalPort != 0 {
		c.local = ":" + strconv.Itoa(int(s.LocalPort))
	}
	c.peer = stormPeer(s)
	b = t.appendHeader(b)
	b = t.appendDay(b, s.Time)
	return t.appendRow(b, &c)
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
