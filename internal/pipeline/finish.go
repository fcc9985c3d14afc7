package pipeline

import (
	"fmt"
	"time"

	"rstwhy/internal/diagnose"
	"rstwhy/internal/event"
	"rstwhy/internal/probe"
	"rstwhy/internal/sink"
)

// Resolution is a raw record with all that was learned about it: what a
// recording keeps, and all that a replay needs.
type Resolution struct {
	Raw       probe.ResetEvent
	Joined    bool // not a reset: the send that follows is
	Owner     *event.Process
	Source    event.OwnerSource
	Proven    bool
	ZooKeeper *event.ZooKeeper
}

// finisher turns resolutions into printed records; live and replay share it.
type finisher struct {
	opts      Options
	names     probe.Names
	clock     probe.Clock
	clockRead uint64
	tally     sink.Tally
	taken     uint64 // raw resets read
	undecoded uint64
	joined    uint64
	filtered  uint64
	delivered uint64
	err       error     // the first error of a sink
	counters  *counters // the kernel's own; nil at replay
}

func newFinisher(opts Options, names probe.Names, clock probe.Clock) finisher {
	return finisher{opts: opts, names: names, clock: clock, tally: sink.Tally{Start: time.Now(), Host: opts.Host}}
}

func (f *finisher) full() bool { return f.opts.Count > 0 && f.delivered >= f.opts.Count }

// clockTick follows steps of the wall clock, once a second.
func (f *finisher) clockTick(now uint64) {
	if now == ^uint64(0) || now-f.clockRead < 1e9 {
		return
	}
	f.clockRead = now
	c := readClock()
	// Below a millisecond it is the noise of reading two clocks.
	if d := c.Offset - f.clock.Offset; d > 1e6 || d < -1e6 {
		f.clock = c
	}
}

// finish explains a record and hands it to the sinks.
func (f *finisher) finish(res *Resolution) {
	if f.opts.Record != nil {
		f.opts.Record.reset(res, f.clock)
	}
	if res.Joined {
		f.joined++
		return
	}
	r, err := f.names.Reset(&res.Raw, f.clock)
	if err != nil {
		f.undecoded++
		f.taken--
		return
	}
	r.Host = f.opts.Host
	r.Owner, r.OwnerSource, r.OwnerProven, r.ZooKeeper = res.Owner, res.Source, res.Proven, res.ZooKeeper
	if r.Owner == nil && r.OwnerSource != event.SourceNone {
		r.OwnerSource, r.OwnerProven = event.SourceNone, false
	}
	if f.full() || !f.opts.Filter.Match(r) || !f.opts.Select.Match(r) {
		f.filtered++
		return
	}
	r.Cause = diagnose.Classify(r)
	r.Verdict = diagnose.Judge(r)
	f.counters.count(r)
	x := sink.Explained{CauseID: r.Cause}
	if f.opts.Explain {
		x.Why = diagnose.Sentence(r)
	}
	f.delivered++
	f.tally.Add(r)
	for _, out := range f.opts.Sinks {
		if err := out.Reset(r, x); err != nil && f.err == nil {
			f.err = fmt.Errorf("write record: %w", err)
		}
	}
}

func (f *finisher) flush() error {
	for _, out := range f.opts.Sinks {
		if err := out.Flush(); err != nil && f.err == nil {
			f.err = fmt.Errorf("write output: %w", err)
		}
	}
	if f.opts.Record != nil {
		f.opts.Record.flush()
	}
	return f.err
}

// summary closes the account: seen = filtered + joined + delivered + aggregated + lost.
func (f *finisher) summary(c probe.Counts) event.Summary {
	sum := f.tally.Summary(time.Now().UTC())
	sum.Scope, sum.Checks, sum.Gaps = event.ScopeSession, f.counters.checks(c), []event.Gap{}
	sum.Account = event.Account{
		Seen: c.Seen, Filtered: c.Filtered + f.filtered, Joined: f.joined, Delivered: f.delivered, Aggregated: c.Aggregated,
		LostRing: c.LostRing, LostRecursion: c.LostRecursion, LostDecode: f.undecoded,
	}
	sum.Account.Lost = c.LostRing + c.LostRecursion + f.undecoded
	sum.Warnings = append(sum.Warnings, f.opts.Warnings...)
	return sum
}
