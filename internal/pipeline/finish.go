package pipeline

import (
	"fmt"
	"slices"
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

	Packets       uint64          // RST packets of this one cause; 0 counts as 1
	Twin          string          // id of the same RST as the other end saw it
	TwinOwner     *event.Process  // process at that end
	Actor         event.ActorKind // empty: the cause tells
	ActorProcess  *event.Process  // process that acted, where it is not the owner
	Others        []event.Process
	NoLocalSender bool // event.Facts.NoLocalSender
}

// finisher turns resolutions into printed records; live and replay share it.
type finisher struct {
	opts      Options
	names     probe.Names
	clock     probe.Clock
	clockRead uint64
	tally     sink.Tally // of the session
	interval  sink.Tally // since the last interval summary; only with Options.Interval
	taken     uint64     // raw resets read
	undecoded uint64
	joined    uint64
	filtered  uint64
	delivered uint64
	storms    stormAccount
	shown     uint64    // of those delivered, handed to the sinks
	hidden    uint64    // of those delivered and aggregated, told in the counts only
	hiddenAt  uint64    // hidden when the interval began
	before    uint64    // delivered in parts of a recording that are not replayed, as far as -c counts them
	err       error     // the first error of a sink
	counters  *counters // the kernel's own; nil at replay
}

func newFinisher(opts Options, names probe.Names, clock probe.Clock) finisher {
	return finisher{opts: opts, names: names, clock: clock, tally: newTally(opts), interval: newTally(opts)}
}

func newTally(opts Options) sink.Tally { return sink.Tally{Start: time.Now(), Host: opts.Host} }

// printed is what -c counts.
func (f *finisher) printed() uint64 { return f.shown }

func (f *finisher) full() bool { return f.opts.Count > 0 && f.before+f.printed() >= f.opts.Count }

// tallies are those that count what is told.
func (f *finisher) tallies() []*sink.Tally {
	if f.opts.Interval > 0 {
		return []*sink.Tally{&f.tally, &f.interval}
	}
	return []*sink.Tally{&f.tally}
}

// clockTick follows steps of the wall clock, once a second.
func (f *finisher) clockTick(now uint64) {
	if now == endOfTime || now-f.clockRead < 1e9 {
		return
	}
	f.clockRead = now
	c := readClock()
	// Below a millisecond it is the noise of reading two clocks.
	if d := c.Offset - f.clock.Offset; d > 1e6 || d < -1e6 {
		f.clock = c
	}
}

// explain makes the public record with its cause and actor; the verdict comes
// after the filters.
func (f *finisher) explain(res *Resolution) (*event.Reset, error) {
	r, err := f.names.Reset(&res.Raw, f.clock)
	if err != nil {
		return nil, err
	}
	r.Host = f.opts.Host
	r.Owner, r.OwnerSource, r.OwnerProven, r.ZooKeeper = res.Owner, res.Source, res.Proven, res.ZooKeeper
	if r.Owner == nil && r.OwnerSource != event.SourceNone {
		r.OwnerSource, r.OwnerProven = event.SourceNone, false
	}
	r.Packets = max(res.Packets, 1)
	if res.Twin != "" {
		r.Twin = &res.Twin
	}
	r.TwinOwner = res.TwinOwner
	if res.Others != nil {
		r.Others = res.Others
	}
	r.Facts.NoLocalSender = res.NoLocalSender
	if res.Actor != "" {
		r.Actor = actor(r, res) // known for certain: the cause may tell of it
	}
	r.Cause = diagnose.Classify(r)
	r.Actor = actor(r, res)
	return r, nil
}

// finish explains a record and hands it to the sinks. It returns the record,
// also where a filter leaves it out; nil where it is none.
func (f *finisher) finish(res *Resolution) *event.Reset {
	if f.opts.Record != nil {
		f.opts.Record.reset(res, f.clock, f.printed())
	}
	if res.Joined {
		f.joined++
		return nil
	}
	r, err := f.explain(res)
	if err != nil {
		f.undecoded++
		f.taken--
		return nil
	}
	if f.full() || !f.opts.Filter.Match(r) || !f.opts.Select.wanted(r) {
		f.filtered++
		return r
	}
	x := sink.Explained{CauseID: r.Cause}
	if f.opts.Explain {
		x.Why = diagnose.Sentence(r)
	}
	f.delivered++
	f.counters.count(r)
	for _, t := range f.tallies() {
		t.Add(r)
	}
	if f.opts.Select.QuietExpected && diagnose.Expected(r) {
		f.hidden++
		return r
	}
	f.shown++
	for _, out := range f.opts.Sinks {
		if err := out.Reset(r, x); err != nil && f.err == nil {
			f.err = fmt.Errorf("write record: %w", err)
		}
	}
	return r
}

func (f *finisher) flush() error {
	for _, out := range f.opts.Sinks {
		if err := out.Flush(); err != nil && f.err == nil {
			f.err = fmt.Errorf("write output: %w", err)
		}
	}
	if f.opts.Record != nil {
		f.opts.Record.flush()
		f.recordingFailed()
	}
	return f.err
}

// recordingFailed tells at once that the recording ended; the trace goes on.
func (f *finisher) recordingFailed() {
	if err := f.opts.Record.failed(); err != nil {
		f.opts.Log.Error().Msg(err.Error())
		f.opts.Warnings = append(f.opts.Warnings, err.Error())
	}
}

// finishRecording writes the last frame. The error that it returns may be older
// than the end, and told already.
func (f *finisher) finishRecording(sum *event.Summary) error {
	if f.opts.Record == nil {
		return nil
	}
	err := f.opts.Record.finish(*sum, f.printed())
	f.recordingFailed()
	if err != nil && !slices.Contains(sum.Warnings, err.Error()) {
		sum.Warnings = append(sum.Warnings, err.Error())
	}
	return err
}

// summary closes the account: seen = filtered + joined + delivered + aggregated + lost.
func (f *finisher) summary(c probe.Counts) event.Summary {
	sum := f.tally.Summary(time.Now().UTC())
	sum.Hidden = f.hidden
	sum.Scope, sum.Checks, sum.Gaps = event.ScopeSession, f.counters.checks(c), []event.Gap{}
	sum.Account = event.Account{
		Seen: c.Seen, Filtered: c.Filtered + f.filtered, Joined: c.Joined + f.joined, Delivered: f.delivered, Aggregated: c.Aggregated,
		LostRing: c.LostRing, LostRecursion: c.LostRecursion, LostDecode: f.undecoded,
	}
	f.storms.settle(&sum.Account)
	sum.Account.Lost = sum.Account.LostRing + sum.Account.LostRecursion + sum.Account.LostDecode
	sum.Warnings = append(sum.Warnings, f.opts.Warnings...)
	return sum
}
