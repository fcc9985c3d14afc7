package pipeline

import (
	"fmt"
	"time"

	"rstwhy/internal/probe"
	"rstwhy/internal/sink"
)

// endOfTime is the clock's reading when the session ends.
const endOfTime = ^uint64(0)

func newSession(opts Options, live kernelSide, names probe.Names) *session {
	return &session{
		opts: opts, live: live, names: names, byCookie: map[uint64][]*pending{}, closers: newClosers(),
		stories: newStories(), here: newHere(), senders: newSenders(),
	}
}

// begin takes the first readings, when every hook is attached.
func (s *session) begin(now uint64) {
	s.senders.began = now
	s.housekeeping(now)
}

// housekeeping does what is not tied to a record, most of it once a second.
func (s *session) housekeeping(now uint64) {
	if now == endOfTime {
		return
	}
	s.turnStorms(now)
	s.twins.expire(now) // once a second would double what is held of a storm
	if now-s.chores < 1e9 && s.chores != 0 {
		return
	}
	s.chores = now
	s.here.refresh(now, ownEvery)
	s.closers.expire(now)
	s.undescribe(time.Now())
	n := &s.senders
	n.budget = askBudget
	n.losses(s.live.Counts(), s.undecoded, now)
	if s.here.netns != 0 {
		n.sample(s.here.netns, 0, now)
	}
	s.tellStorms()
	for _, out := range s.opts.Sinks {
		if t, ok := out.(sink.Ticker); ok {
			if err := t.Tick(s.clock.Time(now)); err != nil && s.err == nil {
				s.err = fmt.Errorf("write output: %w", err)
			}
		}
	}
}
