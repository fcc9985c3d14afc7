package pipeline

import "rstwhy/internal/probe"

// closers remembers who closed which socket, so that resets of a socket that
// is already gone profit from what was learned. Bounded by number and by time:
// the oldest half goes.
type closers struct {
	now, old map[uint64]closedBy
	turned   uint64 // when they changed places, boot-clock ns
	last     *probe.Owner
}

type closedBy struct {
	owner  *probe.Owner // never changed: shared with others
	single bool         // the file had one reference at the reset
}

const (
	closersMax = 4096
	// closersKeep is as long as TIME_WAIT: a peer whose connection is gone goes
	// on sending for about as long.
	closersKeep = 60e9
)

func newClosers() closers { return closers{now: map[uint64]closedBy{}, old: map[uint64]closedBy{}} }

func (c *closers) put(cookie uint64, v closedBy, now uint64) {
	if len(c.now) >= closersMax {
		c.turn(now)
	}
	c.now[cookie] = v
}

// turn forgets the older half. Its memory is used again: as garbage it would be
// resident until the next collection.
func (c *closers) turn(now uint64) {
	c.old, c.now, c.turned = c.now, c.old, now
	clear(c.now)
}

// expire forgets, in two steps, what is older than closersKeep.
func (c *closers) expire(now uint64) {
	if now >= c.turned+closersKeep {
		c.turn(now)
	}
}

// share keeps one copy of an owner who closes many sockets in a row.
func (c *closers) share(o *probe.Owner) *probe.Owner {
	if c.last == nil || *c.last != *o {
		kept := *o
		c.last = &kept
	}
	return c.last
}

func (c *closers) get(cookie uint64) (closedBy, bool) {
	v, ok := c.now[cookie]
	if !ok {
		v, ok = c.old[cookie]
	}
	return v, ok
}
