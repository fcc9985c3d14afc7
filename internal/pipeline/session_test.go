package pipeline

import (
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"rstwhy/internal/event"
	"rstwhy/internal/owner"
	"rstwhy/internal/probe"
	"rstwhy/internal/sink"
)

// The wire's numbers (bpf/event.h), which probe keeps to itself.
const (
	sent, received                 = 1, 2
	socketNone, socketFull         = 0, 1
	flagTrigger, flagDead          = 1 << 0, 1 << 1
	flagTombstone, flagDoubt       = 1 << 10, 1 << 11
	howCurrent, howConnect         = 1, 2
	howListen, howInherit, howShut = 3, 4, 5
	endedClose                     = 1
	stateEstablished, stateListen  = 1, 10
)

// fakeKernel plays the kernel side.
type fakeKernel struct {
	storms     []probe.Counted
	holders    []probe.Holder
	walkErr    error
	walks      int
	tombstones map[uint64]probe.Tombstone // by the time of the reset that asks
	done       uint64
	raws       [][]byte
	counts     probe.Counts
	detached   bool
}

func (f *fakeKernel) Read(time.Time) ([]byte, error) {
	if len(f.raws) == 0 {
		return nil, os.ErrDeadlineExceeded
	}
	b := f.raws[0]
	f.raws = f.raws[1:]
	return b, nil
}
func (f *fakeKernel) Seek([]uint64) error           { return nil }
func (f *fakeKernel) Walk() ([]probe.Holder, error) { f.walks++; return f.holders, f.walkErr }
func (f *fakeKernel) Tombstone(e *probe.ResetEvent) (probe.Tombstone, bool) {
	t, ok := f.tombstones[e.TimeNs]
	return t, ok
}
func (f *fakeKernel) DoubtDone(n uint64)   { f.done += n }
func (f *fakeKernel) Detach()              { f.detached = true }
func (f *fakeKernel) Counts() probe.Counts { return f.counts }
func (f *fakeKernel) MissedStates() uint64 { return 0 }

// memory is a sink that keeps what it is given.
type memory struct {
	resets  []event.Reset
	storms  []event.Storm
	summary *event.Summary
	fail    error
}

func (m *memory) Reset(r *event.Reset, _ sink.Explained) error {
	m.resets = append(m.resets, *r)
	return m.fail
}
func (m *memory) Summary(s *event.Summary) error { c := *s; m.summary = &c; return m.fail }
func (m *memory) Storm(s *event.Storm) error     { m.storms = append(m.storms, *s); return m.fail }
func (m *memory) Flush() error                   { return m.fail }
func (m *memory) Close() error                   { return nil }

// times are those of the printed records, in the order in which they came.
func (m *memory) times() []int64 {
	var out []int64
	for _, r := range m.resets {
		out = append(out, r.Time.UnixNano())
	}
	return out
}

func testNames() probe.Names {
	return probe.Names{HZ: 250, Reasons: map[uint16]string{2: "TCP_ABORT_ON_CLOSE"}, States: map[uint8]string{
		stateEstablished: "ESTABLISHED", 5: "FIN_WAIT2", 7: "CLOSE", 8: "CLOSE_WAIT", stateListen: "LISTEN",
	}}
}

// newTestSession makes a session whose clock begins with the boot. Within its
// first second the wall clock is not read, so that times are the records' own.
func newTestSession(t testing.TB, live *fakeKernel, opts Options) (*session, *memory) {
	t.Helper()
	out := &memory{}
	opts.Sinks, opts.NoProbe, opts.Log = append(opts.Sinks, out), true, zerolog.Nop()
	s := newSession(opts, live, testNames())
	s.walks.possible, s.walks.log = true, opts.Log
	s.finisher = newFinisher(opts, s.names, probe.Clock{})
	var err error
	if s.procs, err = owner.New(owner.Options{Offset: func() time.Duration { return 0 }}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.procs.Close() })
	s.servers = newServers(opts, nil, s.procs)
	return s, out
}

// proc makes an owner whose pid no process has (above the kernel's limit of
// 2^22), so that only what the record carries is known.
func proc(n uint32) probe.Owner {
	o := probe.Owner{Tgid: 1<<22 + n, StartNs: uint64(n)}
	copy(o.Comm[:], "p"+string(rune('0'+n)))
	return o
}

// rawReset is a sent reset on a connected socket at a time, of process 1.
func rawReset(at uint64) probe.ResetEvent {
	return probe.ResetEvent{
		Kind: 1, Direction: sent, Socket: socketFull, State: stateEstablished, TimeNs: at, Cookie: at, FileRefs: 1,
		LocalAddr: netip.MustParseAddr("192.0.2.1").As16(), PeerAddr: netip.MustParseAddr("192.0.2.2").As16(),
		LocalPort: 1000, PeerPort: 2000, Owner: proc(1), How: howConnect,
	}
}

func doubtful(at uint64) probe.ResetEvent {
	e := rawReset(at)
	e.Flags = flagDoubt
	return e
}

func closerOf(e *probe.ResetEvent, o probe.Owner) *probe.CloserEvent {
	return &probe.CloserEvent{Kind: 2, TimeNs: e.TimeNs + 1, Cookie: e.Cookie, Owner: o}
}

var errTest = errors.New("test failure")

func (k *fakeKernel) TendDrops(time.Time)                       {}
func (k *fakeKernel) TendLate(time.Time)                        {}
func (k *fakeKernel) Gaps(time.Time) []event.Gap                { return nil }
func (k *fakeKernel) NetNSHits() (map[uint32]probe.Hits, error) { return nil, nil }
func (k *fakeKernel) Storms() (out []probe.Counted, err error) {
	out, k.storms = k.storms, nil
	return out, nil
}
