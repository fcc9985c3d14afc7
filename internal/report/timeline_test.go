package report

import (
	"testing"
	"time"

	"rstwhy/internal/event"
	"rstwhy/internal/sink"
)

// TestHistogramLosesNothing counts over sessions of every length, in any order
// and with clocks that jump, and finds every reset again.
func TestHistogramLosesNothing(t *testing.T) {
	at := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	for name, steps := range map[string][]time.Duration{
		"one moment": {0, 0, 0}, "a minute": {time.Second}, "a day": {time.Hour, 7 * time.Minute}, "backwards": {-time.Second, -time.Hour},
		"a year": {24 * time.Hour}, "jump": {0, 0, 30 * 365 * 24 * time.Hour}, "before 1970": {-80 * 365 * 24 * time.Hour, time.Second},
	} {
		var h histogram
		when, first, last := at, at, at
		const n = 5000
		for i := range n {
			h.add(when, event.Sent, 1)
			h.add(when, event.Received, 2)
			first, last = earlier(first, when), later(last, when)
			when = when.Add(steps[i%len(steps)])
			if when.Year() > 2200 || when.Year() < 1700 {
				when = at
			}
		}
		if len(h.buckets) > histogramMax {
			t.Errorf("%s: %d buckets", name, len(h.buckets))
		}
		bars, width := h.bars(first, last)
		var sent, received uint64
		for i, b := range bars {
			sent += b.Sent
			received += b.Received
			if i > 0 && b.From.Unix()-bars[i-1].From.Unix() != int64(width/time.Second) {
				t.Fatalf("%s: bar %d begins %v, the one before %v, and each is %v", name, i, b.From, bars[i-1].From, width)
			}
		}
		if sent != n || received != 2*n || len(bars) > barsMax || bars[0].From.After(first) {
			t.Errorf("%s: %d sent and %d received of %d in %d bars from %v (first %v)", name, sent, received, n, len(bars), bars[0].From, first)
		}
	}
}

func TestPeriod(t *testing.T) {
	at := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name     string
		duration time.Duration
		reset    time.Duration // after at
		from, to time.Duration
	}{
		{"quiet at both ends", time.Hour, -30 * time.Minute, -time.Hour, 0},
		{"reset before the start", time.Minute, -2 * time.Minute, -2 * time.Minute, 0},
		{"reset after the end", time.Minute, time.Minute, -time.Minute, time.Minute},
		{"a duration that nothing has", 1 << 62, 0, 0, 0},
		{"negative", -5, 0, 0, 0},
	} {
		var s Session
		_ = s.Reset(&event.Reset{Time: at.Add(c.reset), Direction: event.Sent}, sink.Explained{})
		_ = s.Summary(&event.Summary{Time: at, DurationNS: int64(c.duration)})
		if from, to := s.period(); !from.Equal(at.Add(c.from)) || !to.Equal(at.Add(c.to)) {
			t.Errorf("%s: from %v to %v", c.name, from.Sub(at), to.Sub(at))
		}
	}
}
