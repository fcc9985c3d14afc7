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
// limit is for bursts, which else leave a large heap behind: some 15 MiB of it
// are heap, and about 7 MiB are reachable with all tables full. Where the records
// told are not bounded, those that wait may be 15 MiB more for long, and below a
// limit that cannot be kept the collector would take half of the CPU time.
func (f *traceFlags) boundMemory() {
	debug.SetGCPercent(50)
	if f.rate > 0 && f.rate <= usualRate {
		debug.SetMemoryLimit(memoryLimit)
	}
}
