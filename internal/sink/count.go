package sink

import (
	"net/netip"
	"slices"
	"time"

	"rstwhy/internal/event"
)

// Prefixes shorter than these are shared by too much of the world to say
// anything.
const (
	leastBits4 = 8
	leastBits6 = 16
)

// count is a number of resets with what is true of each of them.
type count struct{ event.Storm }

func (c *count) start() time.Time { return c.Time.Add(-time.Duration(c.DurationNS)) }

// add counts more, of whatever address and port.
func (c *count) add(o *count) {
	start := c.start()
	if o.start().Before(start) {
		start = o.start()
	}
	if o.Time.After(c.Time) {
		c.Time = o.Time
	}
	c.DurationNS = int64(c.Time.Sub(start))
	c.Count += o.Count
	c.OwnerProven = c.OwnerProven && o.OwnerProven
	for i := range o.Others {
		if len(c.Others) > mostOthers {
			break
		}
		if !slices.ContainsFunc(c.Others, func(p event.Process) bool { return sameProcess(&p, &o.Others[i]) }) {
			c.Others = append(slices.Clip(c.Others), o.Others[i])
		}
	}
	if o.Effect == nil || c.Effect == nil || *o.Effect != *c.Effect {
		c.Effect = nil // they differ: none is true of all
	}
}

// addOne counts more of the same group.
func (c *count) addOne(o *count) {
	if c.Count == 0 {
		*c = *o
		return
	}
	c.add(o)
	if o.Verdict != nil {
		c.Verdict = o.Verdict // the first of a storm may come before the first verdict
	}
}

// addAny counts more of the same kind.
func (c *count) addAny(o *count) {
	if c.Count == 0 {
		*c = *o
		return
	}
	c.add(o)
	if o.LocalPort != c.LocalPort {
		c.LocalPort = 0
	}
	if o.RemotePort != c.RemotePort {
		c.RemotePort = 0
	}
	c.Remote = enclosing(c.Remote, o.Remote)
	if c.Verdict != o.Verdict && !slices.Equal(verdictWords(c.Verdict), verdictWords(o.Verdict)) {
		c.Verdict = nil // it names one server or client, say
	}
}

// enclosing is the longest prefix of both, or all addresses.
func enclosing(p, q netip.Prefix) netip.Prefix {
	anywhere := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	least := leastBits6
	if p.Addr().Is4() {
		least = leastBits4
	}
	if p.Addr().BitLen() != q.Addr().BitLen() {
		return anywhere
	}
	for bits := min(p.Bits(), q.Bits()); bits >= least; bits-- {
		if both := netip.PrefixFrom(p.Addr(), bits).Masked(); both.Contains(q.Addr()) {
			return both
		}
	}
	return anywhere
}
