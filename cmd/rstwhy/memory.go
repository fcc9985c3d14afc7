package main

import "runtime/debug"

// Bounds of memory: resident are some 17 MiB besides, of the program itself and
// of the ring buffer, which is mapped twice.
const (
	usualRate   = 2000 // of --max-rate
	memoryLimit = 22 << 20
)

// boundMemory lets less garbage wait than the runtime would by itself: an
// always-on tracer is judged by its memory, and spends little time on it. The
// limit is for bursts, which else leave a large heap behind. What is reachable
// is less than half of it, if the number of records told is bounded; where it
// is not, the collector would spend half of the CPU time below a limit that
// cannot be kept.
func (f *traceFlags) boundMemory() {
	debug.SetGCPercent(50)
	if f.rate > 0 && f.rate <= usualRate {
		debug.SetMemoryLimit(memoryLimit)
	}
}
