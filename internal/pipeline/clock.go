package pipeline

import (
	"golang.org/x/sys/unix"

	"rstwhy/internal/probe"
)

func bootNow() uint64 { return clockNow(unix.CLOCK_BOOTTIME) }

func clockNow(id int32) uint64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(id, &ts)
	return uint64(ts.Nano())
}

// readClock takes the wall clock between two readings of the boot clock, so
// that a preemption between them cannot shift event times by more than the
// shortest of three tries took.
func readClock() probe.Clock {
	best, offset := uint64(1<<62), int64(0)
	for range 3 {
		a := bootNow()
		wall := clockNow(unix.CLOCK_REALTIME)
		b := bootNow()
		if b-a < best {
			best, offset = b-a, int64(wall)-int64(a+(b-a)/2)
		}
	}
	return probe.Clock{Offset: offset}
}
