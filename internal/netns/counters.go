package netns

import (
	"slices"
	"sync"
	"time"

	"rstwhy/internal/event"
)

// perRound bounds the namespaces read in one round; where there are more, the
// next round goes on.
const perRound = 256

// tracksMax bounds the namespaces followed; those that are gone are forgotten
// first.
const tracksMax = 2048

// Seen is what the hooks saw in one namespace since they were attached.
type Seen struct {
	// Hits of the hooks, before any filter; nil: not known by namespace.
	Hits map[event.Hook]uint64
	// Must counts, by the counter's name, the records told in full that must
	// have counted there.
	Must map[string]uint64
}

// track follows the counters of one namespace. Counters and hooks cannot be
// read at one instant, so each end is an interval: the counters stood between
// lo and hi when the hooks began (or ended) to see.
type track struct {
	startLo, startHi values
	seenStartLo      uint64 // hits of the send hook at the start, where it was read late
	seenStartHi      uint64
	mustStart        map[string]uint64
	endLo, endHi     values
	seenEndLo        uint64
	seenEndHi        uint64
	mustEnd          map[string]uint64
	began, read      time.Time // of the start and the end
	ticks            uint64    // of the end too, in the unit of process starts
	round            uint64    // in which the end was read
	gone             bool      // a later reading failed
	young            bool      // made after the hooks were attached
	late             bool      // the start is later than the session's
}

// Counters follows the kernel's own counters in every network namespace.
//
// Order of calls: Attaching, (hooks are attached), Attached, any number of
// Round, Detaching, (hooks are detached), Detached. Checks may be called at any
// time after Attached. All may be called from several goroutines.
type Counters struct {
	spaces *Spaces
	seen   func() map[uint32]Seen

	mu     sync.Mutex
	tracks map[uint32]*track
	next   int
	round  uint64
	ended  bool  // Detached was called
	unable error // why a namespace was not read, the latest
}

// NewCounters follows the namespaces that spaces finds.
func NewCounters(spaces *Spaces) *Counters {
	return &Counters{spaces: spaces, tracks: map[uint32]*track{}}
}

// Attaching takes the readings before the hooks are attached.
func (c *Counters) Attaching() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spaces.Scan()
	for _, netns := range c.pick() {
		var v values
		if _, err := c.spaces.read(netns, &v); err != nil {
			c.unable = err
			continue
		}
		c.tracks[netns] = &track{startLo: v, startHi: v, endLo: v, endHi: v, began: time.Now(), read: time.Now(), ticks: c.spaces.now()}
	}
}

// Attached takes the readings after the hooks were attached. seen tells what
// they saw; it may be called from any goroutine.
func (c *Counters) Attached(seen func() map[uint32]Seen) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = seen
	for netns, t := range c.tracks {
		var v values
		if _, err := c.spaces.read(netns, &v); err == nil {
			t.startHi, t.endLo, t.endHi = v, v, v
		}
	}
}

// Round reads what there is now, for at most perRound namespaces.
func (c *Counters) Round() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		return
	}
	c.spaces.Scan()
	c.round++
	before := c.seen()
	now := map[uint32]values{}
	for _, netns := range c.pick() {
		var v values
		since, err := c.spaces.read(netns, &v)
		t := c.tracks[netns]
		if t != nil && (err != nil || since > t.ticks || v.below(&t.endLo)) {
			t.gone = true
		}
		if err == nil {
			now[netns] = v
			continue
		}
		c.unable = err
		c.spaces.Forget(netns)
	}
	after := c.seen()
	for netns, v := range now {
		t := c.tracks[netns]
		if t == nil || t.gone {
			t = c.begin(netns, &v, before[netns], after[netns])
		}
		t.endLo, t.endHi, t.read, t.round, t.ticks = v, v, time.Now(), c.round, c.spaces.now()
		t.seenEndLo, t.seenEndHi = before[netns].sends(), after[netns].sends()
		t.mustEnd = before[netns].Must
	}
}

// begin follows a namespace from now on. One that is younger than the hooks
// began at zero under their eyes; of another the past is not known. Numbers are
// used again soon, so hits from before the first reading may be those of an
// earlier namespace; all the same no more can have been counted than were seen.
func (c *Counters) begin(netns uint32, v *values, before, after Seen) *track {
	old, t := c.tracks[netns], &track{began: time.Now()}
	t.mustStart = after.Must
	switch {
	case old != nil:
		t.seenStartLo, t.seenStartHi, t.young = old.seenEndLo, before.sends(), true
	case c.spaces.Young(netns):
		t.seenStartHi, t.young = before.sends(), true
	default:
		t.startLo, t.startHi, t.late = *v, *v, true
		t.seenStartLo, t.seenStartHi = before.sends(), after.sends()
	}
	if old == nil && len(c.tracks) >= tracksMax {
		c.evict()
	}
	c.tracks[netns] = t
	return t
}

func (c *Counters) evict() {
	var netns uint32
	var oldest *track
	for n, t := range c.tracks {
		if oldest == nil || (t.gone && !oldest.gone) || (t.gone == oldest.gone && t.read.Before(oldest.read)) {
			netns, oldest = n, t
		}
	}
	delete(c.tracks, netns)
}

// Detaching takes the readings before the hooks are detached.
func (c *Counters) Detaching() { c.Round() }

// Detached takes the readings after that: what the hooks saw stands still now.
func (c *Counters) Detached() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		return
	}
	c.ended = true
	final := c.seen()
	for netns, t := range c.tracks {
		var v values
		if t.gone || t.round != c.round {
			continue
		}
		if since, err := c.spaces.read(netns, &v); err != nil || since > t.ticks || v.below(&t.endLo) {
			continue // what the last round read is the end
		}
		t.endHi, t.read = v, time.Now()
		t.seenEndLo, t.seenEndHi = final[netns].sends(), final[netns].sends()
		t.mustEnd = final[netns].Must
	}
}

// pick chooses whom to read in this round, in turn where there are too many.
func (c *Counters) pick() []uint32 {
	all := c.spaces.All()
	if len(all) <= perRound {
		return all
	}
	slices.Sort(all)
	c.next %= len(all)
	turn := append(slices.Clone(all[c.next:]), all[:c.next]...)[:perRound]
	c.next += perRound
	return turn
}

// below tells that a counter fell, which none does: another namespace's.
func (v *values) below(before *values) bool {
	for i := range v {
		if v[i] < before[i] {
			return true
		}
	}
	return false
}

func (s Seen) sends() uint64 { return s.Hits[event.HookSend] }
