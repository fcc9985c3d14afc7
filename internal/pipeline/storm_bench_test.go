package pipeline

import (
	"encoding/binary"
	"io"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"rstwhy/internal/probe"
	"rstwhy/internal/sink"
)

// BenchmarkStormSecond is what user space does in one second of a storm of
// 200,000 resets over 1,000 pairs of owner and remote address: 2,000 records that
// the kernel side tells one by one (the default of --max-rate), decoded,
// attributed, explained and written as JSON, and the other 198,000 as counts. The
// figure core-% is its CPU time against that second. Left out: the reader's
// system calls (one poll in 20 ms, and the look at two maps a second).
func BenchmarkStormSecond(b *testing.B) {
	const pairs, told, all = 1000, 2000, 200_000
	live := &fakeKernel{}
	s, _ := newTestSession(b, live, Options{})
	s.opts.Sinks = []sink.Sink{sink.NewJSON(io.Discard)}
	s.finisher.opts.Sinks = s.opts.Sinks
	var in probe.Record
	second := uint64(0)
	began := processTime()
	for b.Loop() {
		second += 1e9
		counted := make([]probe.Counted, pairs)
		for i := range told {
			e := stormReset200k(second+uint64(i)*400_000, i%pairs)
			raw := unsafe.Slice((*byte)(unsafe.Pointer(&e)), unsafe.Sizeof(e))
			s.raw(raw, &in)
			if i < pairs {
				counted[i] = probe.Counted{Key: probe.StormOf(&e), Count: probe.Storm{Owner: e.Owner, Count: (all - told) / pairs, FirstNs: second, LastNs: second + 9e8}}
			}
			if i%40 == 0 { // a poll
				s.tick(e.TimeNs, e.TimeNs, false)
			}
		}
		live.storms = counted
		s.tick(second+1e9-1, second+1e9-1, false)
		if err := s.flush(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(processTime()-began)/1e9/float64(b.N)*100, "core-%")
	if s.delivered == 0 || s.finisher.storms.told == 0 {
		b.Fatalf("%d told, %d counted: the storm did not pass", s.delivered, s.finisher.storms.told)
	}
}

func processTime() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts)
	return ts.Nano()
}

// stormReset200k is the reset of a pair: one of fifty processes closed a
// connection of one of a thousand clients with data unread.
func stormReset200k(at uint64, pair int) probe.ResetEvent {
	e := rawReset(at)
	e.State, e.PrevState, e.Shutdown, e.Reason = 7, stateEstablished, 3, 2
	e.Owner.Tgid = 1<<22 + uint32(pair%50)
	e.Cookie = at
	binary.BigEndian.PutUint16(e.PeerAddr[14:], uint16(pair))
	return e
}
