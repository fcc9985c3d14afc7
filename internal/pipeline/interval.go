package pipeline

import (
	"fmt"
	"time"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

// between prints the summaries that come before the end: that of each interval
// when it is over, and one when it is asked for. With intervals that is the
// summary of the current one, and a new one begins; otherwise that of the
// session so far.
func (s *session) between(now time.Time) {
	due := s.opts.Interval > 0 && !now.Before(s.due)
	select {
	case <-s.opts.Now:
	default:
		if !due {
			return
		}
	}
	if due {
		// A stopped process does not print one summary for each interval that
		// it missed, but one for all of them: duration_ns tells.
		s.due = s.due.Add(s.opts.Interval * (now.Sub(s.due)/s.opts.Interval + 1))
	}
	sum := s.soFar(s.live.Counts())
	sum.Gaps = s.live.Gaps(now)
	for _, out := range s.opts.Sinks {
		if err := out.Summary(&sum); err != nil && s.err == nil {
			s.err = fmt.Errorf("write summary: %w", err)
		}
	}
}

// soFar is a summary while the session goes on. Its account is that of the
// session, of the hits whose lot is known: it leaves out the records that wait
// in the ring buffer or for their owner, and counts them once they are told.
func (f *finisher) soFar(c probe.Counts) event.Summary {
	sum := f.summary(c)
	a := &sum.Account
	a.Aggregated = f.storms.told
	a.Seen = a.Filtered + a.Joined + a.Delivered + a.Aggregated + a.Lost
	if f.opts.Interval > 0 {
		whole := sum
		sum = f.interval.Summary(time.Now().UTC())
		sum.Scope, sum.Account = event.ScopeInterval, whole.Account
		sum.Checks, sum.Gaps, sum.Warnings = whole.Checks, whole.Gaps, whole.Warnings
		sum.Hidden = f.hidden - f.hiddenAt
		f.interval, f.hiddenAt = newTally(f.opts), f.hidden
	}
	return sum
}
