package pipeline

import (
	"encoding/binary"
	"runtime"
	"testing"
)

// TestShrink: a burst leaves nothing behind, and what still waits is not lost.
func TestShrink(t *testing.T) {
	s, out := newTestSession(t, &fakeKernel{}, Options{})
	reset := func(n uint32, at uint64) {
		e := lateSend(at, 7_000)
		e.Cookie = uint64(n) + 1
		binary.NativeEndian.PutUint32(e.PeerAddr[12:], n)
		s.reset(&e)
	}
	before := reachable()
	for n := range uint32(queueMax) {
		reset(n, 3000*ms)
	}
	full := reachable() - before
	reset(queueMax, 5900*ms)
	s.tick(5950*ms, 5950*ms, false) // the burst is over; one still waits for more of its kind
	if len(out.resets) != queueMax || len(s.queue) != 1 {
		t.Fatalf("%d records told, %d wait", len(out.resets), len(s.queue))
	}
	out.resets = nil
	s.tick(8000*ms, 8000*ms, false)
	if len(out.resets) != 1 || len(s.byCookie) != 0 || len(s.stories.sends) != 0 {
		t.Errorf("%d records told of 1 that waited; %d cookies and %d stories left", len(out.resets), len(s.byCookie), len(s.stories.sends))
	}
	// The tables of the summary and of those who sent stay: they are bounded.
	if left := reachable() - before; left > full/10 {
		t.Errorf("of %d bytes for %d records %d are left", full, queueMax, left)
	}
	runtime.KeepAlive(s)
}

// reachable is what the heap holds, in bytes.
func reachable() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
