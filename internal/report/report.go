// Package report tells a recorded session as a document for a reader who was
// not there: Markdown, or one HTML page that needs nothing beside itself.
//
// A [Session] is a sink of a replay. It keeps the summary, and counts by time,
// which a summary does not; everything else on the page is in the summary's
// JSON too. Names, versions and the like come from other processes and hosts:
// each passes [sink.Escape], and then the escaping of the document's own form.
package report

import (
	"errors"
	"time"

	"rstwhy/internal/event"
	"rstwhy/internal/sink"
)

// Options say what a report tells beside the session.
type Options struct {
	Version string   // of rstwhy
	Sources []string // names of the recording's files
}

// Session collects what a report is made from. Its zero value is ready.
type Session struct {
	when    histogram
	summary *event.Summary
}

var _ sink.Sink = (*Session)(nil)

// ErrNoSummary says that a session has not ended.
var ErrNoSummary = errors.New("report: the session has no summary")

// Reset counts a record.
func (s *Session) Reset(r *event.Reset, _ sink.Explained) error {
	s.when.add(r.Time, r.Direction, 1)
	return nil
}

// Storm counts what a storm counted.
func (s *Session) Storm(st *event.Storm) error {
	s.when.add(st.Time, st.Direction, st.Count)
	return nil
}

// Summary keeps the summary of the session.
func (s *Session) Summary(sum *event.Summary) error {
	if sum.Scope != event.ScopeInterval {
		c := *sum
		s.summary = &c
	}
	return nil
}

// Flush does nothing: nothing is written before the end.
func (s *Session) Flush() error { return nil }

// Close does nothing.
func (s *Session) Close() error { return nil }

// period is the time that the report covers: that of the summary, and of every
// reset. A duration that no session has is not believed.
func (s *Session) period() (from, to time.Time) {
	to = s.summary.Time.UTC()
	from = to
	const most = 10 * 365 * 24 * time.Hour
	if d := time.Duration(s.summary.DurationNS); d > 0 && d < most {
		from = to.Add(-d)
	}
	if first, last, any := s.when.span(); any {
		from, to = earlier(from, first), later(to, last)
	}
	return from, to
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
