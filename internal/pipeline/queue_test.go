package pipeline

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

const ms = uint64(1e6)

func feed(s *session, raws ...probe.ResetEvent) {
	for i := range raws {
		s.reset(&raws[i])
	}
}

func TestOrderOfEventTime(t *testing.T) {
	s, out := newTestSession(t, &fakeKernel{}, Options{})
	var want []int64
	raws := make([]probe.ResetEvent, 200)
	for i := range raws {
		raws[i] = rawReset(uint64(i/4+1) * ms)
		raws[i].Cpu, raws[i].Seq = uint32(i/2%2), uint32(i%2)
		want = append(want, int64(raws[i].TimeNs))
	}
	ids := make([]string, len(raws))
	for i := range raws {
		ids[i] = probe.ID(&raws[i])
	}
	rand.New(rand.NewPCG(5, 6)).Shuffle(len(raws), func(i, j int) { raws[i], raws[j] = raws[j], raws[i] })
	feed(s, raws...)
	s.tick(900*ms, 900*ms, false)
	if diff := cmp.Diff(want, out.times()); diff != "" {
		t.Errorf("times of the records (-want +got):\n%s", diff)
	}
	for i := range out.resets {
		if out.resets[i].ID != ids[i] {
			t.Fatalf("record %d is %s, want %s: ties go by CPU and number", i, out.resets[i].ID, ids[i])
		}
	}
}

// TestWatermark: a record stays while an earlier one may still be unread.
func TestWatermark(t *testing.T) {
	s, out := newTestSession(t, &fakeKernel{}, Options{})
	feed(s, rawReset(5*ms), rawReset(7*ms))
	s.tick(6*ms, 900*ms, false)
	if got := out.times(); !slices.Equal(got, []int64{5e6}) {
		t.Errorf("up to 6 ms: %v", got)
	}
	feed(s, rawReset(6*ms)) // comes late from another CPU
	s.tick(8*ms, 900*ms, false)
	if got := out.times(); !slices.Equal(got, []int64{5e6, 6e6, 7e6}) {
		t.Errorf("up to 8 ms: %v", got)
	}
}

// TestHoldForCloser: a doubtful record waits for whoever closes its socket, and
// the later ones wait behind it, half a second at most.
func TestHoldForCloser(t *testing.T) {
	live := &fakeKernel{}
	s, out := newTestSession(t, live, Options{})
	held := doubtful(10 * ms)
	feed(s, held, rawReset(11*ms))
	s.tick(400*ms, 300*ms, false)
	if len(out.resets) != 0 || live.done != 0 {
		t.Fatalf("after 290 ms: %d printed, %d told to be done", len(out.resets), live.done)
	}
	s.closer(closerOf(&held, proc(2)))
	s.tick(400*ms, 300*ms, false)
	if got := out.times(); !slices.Equal(got, []int64{10e6, 11e6}) || live.done != 1 {
		t.Fatalf("after the close: %v printed, %d told to be done", got, live.done)
	}
	if r := out.resets[0]; r.Owner == nil || r.Owner.PID != 1<<22+2 || r.OwnerSource != event.SourceCloser || !r.OwnerProven {
		t.Errorf("owner %+v by %s, proven %v", r.Owner, r.OwnerSource, r.OwnerProven)
	}

	feed(s, doubtful(20*ms), rawReset(21*ms))
	s.tick(600*ms, 519*ms, false)
	if len(out.resets) != 2 {
		t.Errorf("499 ms after the reset: %d printed, want it held", len(out.resets)-2)
	}
	s.tick(600*ms, 520*ms, false)
	if got := out.times(); !slices.Equal(got[2:], []int64{20e6, 21e6}) || live.done != 2 {
		t.Errorf("500 ms after the reset: %v printed, %d told to be done", got[2:], live.done)
	}
	if r := out.resets[2]; r.Owner != nil || r.OwnerSource != event.SourceNone {
		t.Errorf("nobody closed it, nobody holds it: owner %+v by %s", r.Owner, r.OwnerSource)
	}
}

// TestCloserOfAnotherTime: a close before the reset, or of another socket,
// tells nothing.
func TestCloserOfAnotherTime(t *testing.T) {
	s, out := newTestSession(t, &fakeKernel{}, Options{})
	held := doubtful(10 * ms)
	feed(s, held)
	early, other := closerOf(&held, proc(2)), closerOf(&held, proc(3))
	early.TimeNs = held.TimeNs - 1
	other.Cookie++
	s.closer(early)
	s.closer(other)
	s.tick(900*ms, 900*ms, false)
	if r := out.resets[0]; r.Owner != nil || r.OwnerProven {
		t.Errorf("owner %+v by %s, proven %v", r.Owner, r.OwnerSource, r.OwnerProven)
	}
}

// TestWalk: shared sockets and listeners are looked for at once, others when
// nobody closed them; one look serves all, and costs at most 1 % of a core.
func TestWalk(t *testing.T) {
	live := &fakeKernel{}
	s, out := newTestSession(t, live, Options{})
	plain := doubtful(10 * ms)
	feed(s, plain)
	s.tick(900*ms, 359*ms, false)
	if live.walks != 0 {
		t.Errorf("%d walks before 350 ms", live.walks)
	}
	live.holders = []probe.Holder{{Cookie: plain.Cookie, Owner: proc(3)}, {Cookie: 12345, Owner: proc(4)}}
	s.tick(900*ms, 360*ms, false)
	if live.walks != 1 || len(out.resets) != 1 || out.resets[0].OwnerSource != event.SourceIterator || out.resets[0].Owner.PID != 1<<22+3 {
		t.Fatalf("after 350 ms: %d walks, printed %+v", live.walks, out.resets)
	}
	s.walks.credit = -500 * time.Microsecond // paid off by 50 ms
	open := doubtful(400 * ms)
	open.FileRefs = 2
	feed(s, open)
	s.tick(900*ms, 405*ms, false)
	if live.walks != 1 {
		t.Error("walked although the last walk was too dear")
	}
	live.holders, live.walkErr = nil, errTest
	s.tick(900*ms, 501*ms, false)
	if live.walks != 2 || len(out.resets) != 1 {
		t.Errorf("a failed walk: %d walks, %d printed", live.walks, len(out.resets))
	}
	s.tick(900*ms, 900*ms, false)
	if len(out.resets) != 2 || out.resets[1].OwnerProven {
		t.Errorf("after half a second: %+v", out.resets)
	}
}

// falseReceive is what tcp_reset() reports for data that came after the
// process had closed; the send that follows is the reset.
func falseReceive(at, cookie uint64) (recv, send probe.ResetEvent) {
	recv, send = rawReset(at), rawReset(at+1000)
	recv.Direction, recv.Flags, recv.Cookie = received, flagDead, cookie
	send.Flags, send.Cookie = flagTrigger|flagDead, cookie
	return recv, send
}

func TestFalseReceiveIsJoined(t *testing.T) {
	live := &fakeKernel{counts: probe.Counts{Seen: 4, Submitted: 4}}
	s, out := newTestSession(t, live, Options{})
	recv, send := falseReceive(10*ms, 7)
	alone, _ := falseReceive(12*ms, 8)
	other := rawReset(13 * ms)
	feed(s, recv, send, alone, other)
	s.tick(31*ms, 31*ms, false)
	if got := out.times(); !slices.Equal(got, []int64{10e6 + 1000}) || out.resets[0].Direction != event.Sent {
		t.Fatalf("printed %v, want the send alone while the other receive may be false", got)
	}
	s.tick(33*ms, 33*ms, false)
	if got := out.times(); !slices.Equal(got[1:], []int64{12e6, 13e6}) || out.resets[1].Direction != event.Received {
		t.Errorf("then printed %v, want the receive that no send followed", got[1:])
	}
	if err := s.end(nil); err != nil {
		t.Fatal(err)
	}
	want := event.Account{Seen: 4, Joined: 1, Delivered: 3}
	if out.summary.Account != want || !want.Balanced() || !live.detached {
		t.Errorf("account %+v, want %+v", out.summary.Account, want)
	}
}

// TestNotJoined: what does not prove that no RST came.
func TestNotJoined(t *testing.T) {
	for name, set := range map[string]func(recv, send *probe.ResetEvent){
		"another socket":           func(_, send *probe.ResetEvent) { send.Cookie = 9 },
		"an active reset":          func(_, send *probe.ResetEvent) { send.Flags = flagDead },
		"no socket":                func(recv, send *probe.ResetEvent) { recv.Cookie, send.Cookie = 0, 0 },
		"the process still had it": func(recv, _ *probe.ResetEvent) { recv.Flags = 0 },
	} {
		s, out := newTestSession(t, &fakeKernel{}, Options{})
		recv, send := falseReceive(10*ms, 7)
		set(&recv, &send)
		feed(s, recv, send)
		s.tick(900*ms, 900*ms, false)
		if len(out.resets) != 2 {
			t.Errorf("%s: %d printed, want both", name, len(out.resets))
		}
	}
}

// TestJoinedDoubtIsDoneOnce: the kernel side stops asking for a closer.
func TestJoinedDoubtIsDoneOnce(t *testing.T) {
	live := &fakeKernel{}
	s, _ := newTestSession(t, live, Options{})
	recv, send := falseReceive(10*ms, 7)
	recv.Flags, recv.Shutdown = flagDoubt, 3
	send.Flags |= flagDoubt
	feed(s, recv, send)
	if live.done != 1 {
		t.Errorf("%d told to be done at the join, want 1", live.done)
	}
	s.tick(900*ms, 900*ms, false)
	if live.done != 2 || len(s.queue) != 0 || len(s.byCookie) != 0 {
		t.Errorf("%d told to be done, %d queued, %d sockets kept", live.done, len(s.queue), len(s.byCookie))
	}
}

// TestLateTombstone: the segment can be quicker than the note of the close.
func TestLateTombstone(t *testing.T) {
	e := probe.ResetEvent{Kind: 1, Direction: sent, Socket: socketNone, Flags: flagTrigger, TriggerFlags: 0x12, TimeNs: 10 * ms}
	live := &fakeKernel{tombstones: map[uint64]probe.Tombstone{10 * ms: {Owner: proc(2), Ended: endedClose, LeftState: 5, Cookie: 77}}}
	s, out := newTestSession(t, live, Options{})
	feed(s, e)
	s.tick(900*ms, 13*ms, false)
	if len(out.resets) != 0 {
		t.Error("printed before 4 ms")
	}
	s.tick(900*ms, 14*ms, false)
	if len(out.resets) != 1 {
		t.Fatalf("%d printed after 4 ms", len(out.resets))
	}
	if r := out.resets[0]; r.OwnerSource != event.SourceTombstone || r.Owner.PID != 1<<22+2 || !r.OwnerProven || !r.Facts.TombstoneHit {
		t.Errorf("owner %+v by %s, proven %v", r.Owner, r.OwnerSource, r.OwnerProven)
	}
}

func rawBytes(e *probe.ResetEvent) []byte {
	return slices.Clone(unsafe.Slice((*byte)(unsafe.Pointer(e)), unsafe.Sizeof(*e)))
}

// TestAccount: every hit is filtered, joined, delivered or lost; the records
// that the ring still holds at the end are read, also when a sink failed.
func TestAccount(t *testing.T) {
	for name, fail := range map[string]error{"all well": nil, "broken pipe": errTest} {
		live := &fakeKernel{counts: probe.Counts{Seen: 20, Filtered: 5, LostRing: 3, LostRecursion: 1, Submitted: 11}}
		recv, send := falseReceive(30*ms, 7)
		elsewhere := rawReset(40 * ms)
		elsewhere.LocalPort = 9
		unreadable := rawReset(50 * ms)
		unreadable.Socket = 9
		for _, e := range []probe.ResetEvent{rawReset(10 * ms), doubtful(20 * ms), recv, send, elsewhere, unreadable} {
			live.raws = append(live.raws, rawBytes(&e))
		}
		live.raws = append(live.raws, []byte("no record"))
		for i := range uint64(4) {
			e := rawReset(60*ms + i)
			live.raws = append(live.raws, rawBytes(&e))
		}
		s, out := newTestSession(t, live, Options{Count: 5, Filter: probe.Filter{LocalPorts: []uint16{1000}}})
		err := s.end(fail)
		if (err == nil) != (fail == nil) {
			t.Errorf("%s: error %v", name, err)
		}
		want := event.Account{Seen: 20, Filtered: 5 + 1 + 2, Joined: 1, Delivered: 5, Lost: 6, LostRing: 3, LostRecursion: 1, LostDecode: 2}
		if out.summary == nil {
			t.Fatalf("%s: no summary", name)
		}
		if diff := cmp.Diff(want, out.summary.Account); diff != "" || !out.summary.Account.Balanced() {
			t.Errorf("%s: account (-want +got):\n%s", name, diff)
		}
	}
}

// TestErrorIsToldOnce: a closed pipe is one error, not one a flush.
func TestErrorIsToldOnce(t *testing.T) {
	s, out := newTestSession(t, &fakeKernel{}, Options{})
	out.fail = errTest
	feed(s, rawReset(ms))
	s.tick(900*ms, 900*ms, false)
	err := s.end(s.flush())
	if err == nil || err.Error() != "write record: test failure" {
		t.Errorf("error %q", err)
	}
}
