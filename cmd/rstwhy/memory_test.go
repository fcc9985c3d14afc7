package main

import (
	"math"
	"runtime/debug"
	"testing"
)

// TestBoundMemory: only a session whose records are bounded has a limit; below
// one that cannot be kept the runtime would collect all the time.
func TestBoundMemory(t *testing.T) {
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
	t.Cleanup(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
	for rate, want := range map[uint32]int64{
		0: math.MaxInt64, 1: memoryLimit, usualRate: memoryLimit, usualRate + 1: math.MaxInt64,
	} {
		debug.SetMemoryLimit(math.MaxInt64)
		f := traceFlags{rate: rate}
		f.boundMemory()
		if got := debug.SetMemoryLimit(-1); got != want {
			t.Errorf("--max-rate %d: a limit of %d bytes, want %d", rate, got, want)
		}
		if got := debug.SetGCPercent(100); got != 50 {
			t.Errorf("--max-rate %d: GOGC %d", rate, got)
		}
	}
}
