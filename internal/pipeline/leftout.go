package pipeline

// leftOut counts resets of which a recording holds nothing else: in a frame,
// those since the frame before it. A bounded recording that held what the
// session's filters leave out would lose to it what they are for.
type leftOut struct {
	Filtered  uint64 `json:"filtered,omitempty"`
	Joined    uint64 `json:"joined,omitempty"`
	Undecoded uint64 `json:"undecoded,omitempty"`
}

func (n leftOut) since(before leftOut) leftOut {
	return leftOut{n.Filtered - before.Filtered, n.Joined - before.Joined, n.Undecoded - before.Undecoded}
}

// leftOut are those of the session so far.
func (f *finisher) leftOut() leftOut {
	return leftOut{
		Filtered:  f.filtered + f.storms.filtered,
		Joined:    f.joined - f.joinedKept,
		Undecoded: f.undecoded + f.storms.undecoded,
	}
}

func (f *finisher) record(res *Resolution) {
	if rec := f.opts.Record; rec != nil {
		rec.leave(f.leftOut())
		rec.reset(res, f.clock, f.printed())
	}
}

// recordJoined keeps what was no reset of its own beside those that are wanted:
// a report of a wrong join can be looked into.
func (f *finisher) recordJoined(res *Resolution) {
	if f.opts.Record == nil {
		return
	}
	if r, err := f.explain(res); err == nil && f.wanted(r) {
		f.record(res)
		f.joinedKept++
	}
}

// leave is told how many were left out up to now, before a frame is written.
func (rec *Recorder) leave(total leftOut) { rec.left = total }

// take gives what the frames up to now do not tell; nil: nothing.
func (rec *Recorder) take() *leftOut {
	n := rec.left.since(rec.leftTold)
	rec.leftTold = rec.left
	if n == (leftOut{}) {
		return nil
	}
	return &n
}

// leave counts what the live session left out before a frame.
func (p *player) leave(n *leftOut) {
	if n != nil {
		p.filtered += n.Filtered
		p.joined += n.Joined
		p.undecoded += n.Undecoded
	}
}
