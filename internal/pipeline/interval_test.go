package pipeline

import (
	"os"
	"testing"
	"time"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

func TestInterval(t *testing.T) {
	now := make(chan os.Signal, 1)
	kernel := &fakeKernel{counts: probe.Counts{Seen: 5, Submitted: 4, Filtered: 1}}
	s, out := newTestSession(t, kernel, Options{Interval: time.Minute, Now: now})
	start := time.Now()
	s.due = start.Add(time.Minute)
	s.reset(ptr(rawReset(ms)))
	s.reset(ptr(rawReset(2 * ms)))
	s.tick(^uint64(0), 0, true)
	expect := func(what string, at time.Duration, want uint64, whole uint64) {
		t.Helper()
		out.summary = nil
		s.between(start.Add(at))
		switch got := out.summary; {
		case want == 99:
			if got != nil {
				t.Errorf("%s: a summary was printed: %+v", what, got)
			}
		case got == nil:
			t.Errorf("%s: no summary", what)
		case got.Scope != event.ScopeInterval || got.Sent != want || got.Account.Delivered != whole || got.Account.Filtered != 1 || !got.Account.Balanced():
			t.Errorf("%s: want %d sent, %d in all: %+v", what, want, whole, got)
		}
	}
	expect("too early", 59*time.Second, 99, 0)
	expect("first", time.Minute, 2, 2)
	expect("again at once", time.Minute+time.Second, 99, 0)
	s.reset(ptr(rawReset(3 * ms)))
	s.tick(^uint64(0), 0, true)
	now <- os.Interrupt
	expect("asked", 90*time.Second, 1, 3)
	s.reset(ptr(rawReset(4 * ms)))
	s.tick(^uint64(0), 0, true)
	expect("stopped for long", 10*time.Minute+time.Second, 1, 4)
	expect("once only", 10*time.Minute+2*time.Second, 99, 0)
	expect("still on the minute", 11*time.Minute, 0, 4)
	if err := s.end(nil); err != nil {
		t.Fatal(err)
	}
	if out.summary.Scope != event.ScopeSession || out.summary.Sent != 4 || !out.summary.Account.Balanced() {
		t.Errorf("the last summary: %+v", out.summary)
	}
}

// TestAsked: without intervals the summary is that of the session so far.
func TestAsked(t *testing.T) {
	now := make(chan os.Signal, 1)
	s, out := newTestSession(t, &fakeKernel{counts: probe.Counts{Seen: 2, Submitted: 2}}, Options{Now: now})
	for i := range uint64(2) {
		s.reset(ptr(rawReset((i + 1) * ms)))
		s.tick(^uint64(0), 0, true)
		now <- os.Interrupt
		s.between(time.Now())
		if got := out.summary; got == nil || got.Scope != event.ScopeSession || got.Sent != i+1 || !got.Account.Balanced() {
			t.Errorf("summary %+v after %d resets", got, i+1)
		}
	}
}

func ptr[T any](v T) *T { return &v }
