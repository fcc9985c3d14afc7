package report

import (
	"time"

	"rstwhy/internal/event"
)

const (
	// histogramMax bounds the buckets that are kept, not those that are shown:
	// a session whose length is not known yet begins with fine ones.
	histogramMax = 2000
	barsMax      = 60
)

// widths of a bucket in seconds, each a multiple of the one before, so that
// buckets can be joined. After the last one they double.
var widths = []int64{1, 5, 10, 30, 60, 300, 600, 1800, 3600, 21600, 86400, 604800}

// wider is the next width.
func wider(width int64) int64 {
	for _, w := range widths {
		if w > width {
			return w
		}
	}
	return 2 * width
}

type counts struct{ sent, received uint64 }

// histogram counts resets by time in buckets that grow as it gets long.
type histogram struct {
	width       int64 // seconds; 0: nothing was counted
	buckets     map[int64]counts
	first, last int64 // seconds of the earliest and of the latest reset
}

func (h *histogram) add(at time.Time, d event.Direction, n uint64) {
	second := at.Unix()
	if h.width == 0 {
		h.width, h.buckets, h.first, h.last = widths[0], map[int64]counts{}, second, second
	}
	h.first, h.last = min(h.first, second), max(h.last, second)
	c := counts{received: n}
	if d == event.Sent {
		c = counts{sent: n}
	}
	h.count(floorDiv(second, h.width), c)
	for len(h.buckets) > histogramMax {
		h.widen()
	}
}

func (h *histogram) count(bucket int64, by counts) {
	c := h.buckets[bucket]
	c.sent += by.sent
	c.received += by.received
	h.buckets[bucket] = c
}

func (h *histogram) widen() {
	old, width := h.buckets, h.width
	h.width = wider(width)
	h.buckets = make(map[int64]counts, len(old))
	for bucket, c := range old {
		h.count(floorDiv(bucket*width, h.width), c)
	}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func (h *histogram) span() (first, last time.Time, any bool) {
	return time.Unix(h.first, 0).UTC(), time.Unix(h.last, 0).UTC(), h.width != 0
}

// bar is the resets of one bucket.
type bar struct {
	From           time.Time
	Sent, Received uint64
}

func (b bar) total() uint64 { return b.Sent + b.Received }

// bars are the buckets from the first to the last time, empty ones too, at most
// barsMax of them. The histogram's own width may grow by it.
func (h *histogram) bars(from, to time.Time) (bars []bar, width time.Duration) {
	if h.width == 0 {
		return nil, 0
	}
	for floorDiv(to.Unix(), h.width)-floorDiv(from.Unix(), h.width) >= barsMax {
		h.widen()
	}
	for i := floorDiv(from.Unix(), h.width); i <= floorDiv(to.Unix(), h.width); i++ {
		c := h.buckets[i]
		bars = append(bars, bar{time.Unix(i*h.width, 0).UTC(), c.sent, c.received})
	}
	return bars, time.Duration(h.width) * time.Second
}
