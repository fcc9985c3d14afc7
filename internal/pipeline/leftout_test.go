package pipeline

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

// crowd runs a session that wants one network namespace: a few resets of it
// among thousands of another, of which every fourth is joined.
func crowd(t *testing.T, wanted func(i int) bool, opts Options) (path string, live *memory) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "crowd.rec")
	var err error
	if opts.Record, err = NewRecorder(RecordOptions{Path: path, Size: RecordMin, Files: 2}); err != nil {
		t.Fatal(err)
	}
	opts.Select.NetNS = Terms[uint32]{Any: []uint32{1}}
	kernel := &fakeKernel{}
	s, live := newTestSession(t, kernel, opts)
	if err := opts.Record.start(header(opts, s.names, s.clock)); err != nil {
		t.Fatal(err)
	}
	for i := range longSession {
		at, space := uint64(i+1)*ms, uint32(2)
		if wanted(i) {
			space = 1
		}
		list := []probe.ResetEvent{rawReset(at)}
		if i%4 == 0 {
			recv, send := falseReceive(at, uint64(i+1))
			list = []probe.ResetEvent{recv, send}
		}
		for j := range list {
			list[j].Netns, list[j].PeerPort = space, uint16(i)
			s.reset(&list[j])
			kernel.counts.Seen++
			kernel.counts.Submitted++
		}
		if i%100 == 99 {
			s.tick(^uint64(0), 0, true)
			if err := s.flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, mine := activePair(ms) // counted in the kernel: three are wanted, four are not
	theirs := mine
	mine.Netns, theirs.Netns = 1, 2
	kernel.storms = []probe.Counted{counted(mine, 3), counted(theirs, 4)}
	kernel.counts.Seen, kernel.counts.Aggregated = kernel.counts.Seen+7, 7
	if err := s.end(nil); err != nil {
		t.Fatal(err)
	}
	return path, live
}

// TestOthersTakeNoRoom: what the filters leave out does not drive out of a
// bounded recording what they are for, and its number is exact.
func TestOthersTakeNoRoom(t *testing.T) {
	path, live := crowd(t, func(i int) bool { return i < 5 }, Options{})
	names := piecesOf(t, path)
	if len(names) != 1 {
		t.Fatalf("the recording takes %d files", len(names))
	}
	if st, err := os.Stat(path); err != nil || st.Size() > 64<<10 {
		t.Errorf("five resets take %d bytes, %v", st.Size(), err)
	}
	out, err := replayFiles(t, Options{}, names...)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(live.resets, out.resets, cmpAddr, cmpProcess); diff != "" || len(out.resets) != 5 {
		t.Errorf("%d records (-live +replay):\n%s", len(out.resets), diff)
	}
	if diff := cmp.Diff(live.summary, out.summary, cmpAddr); diff != "" {
		t.Errorf("summary (-live +replay):\n%s", diff)
	}
	want := event.Account{Seen: longSession*5/4 + 7, Filtered: longSession - 5 + 4, Joined: longSession / 4, Delivered: 5, Aggregated: 3}
	if diff := cmp.Diff(want, out.summary.Account); diff != "" {
		t.Errorf("account (-want +got):\n%s", diff)
	}
}

// TestLeftOutOfParts: each part of a recording tells how many were left out in
// its time; together they tell of all.
func TestLeftOutOfParts(t *testing.T) {
	path, live := crowd(t, func(i int) bool { return i%3 == 0 }, Options{})
	names := piecesOf(t, path)
	if len(names) != 2 {
		t.Fatalf("the recording takes %d files", len(names))
	}
	var sum event.Account
	for i, name := range names {
		out, err := replayFiles(t, Options{}, name)
		if err != nil {
			t.Fatal(err)
		}
		a := out.summary.Account
		if !a.Balanced() || a.Filtered < a.Delivered || a.Joined < a.Delivered/2 {
			t.Errorf("part %d: account %+v", i, a)
		}
		sum.Filtered, sum.Joined, sum.Delivered = sum.Filtered+a.Filtered, sum.Joined+a.Joined, sum.Delivered+a.Delivered
	}
	whole := live.summary.Account
	if sum.Delivered != whole.Delivered || sum.Filtered != whole.Filtered || sum.Joined != whole.Joined {
		t.Errorf("the parts tell of %+v, live of %+v", sum, whole)
	}
}

// TestLeftOutOfEarlierVersions: their recordings hold what the filters left
// out, and a replay leaves it out again.
func TestLeftOutOfEarlierVersions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.rec")
	rec, err := NewRecorder(RecordOptions{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	h := header(Options{Select: Select{PIDs: []uint32{1}}}, testNames(), probe.Clock{})
	if err := rec.start(h); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		rec.reset(&Resolution{Raw: rawReset(ms), Source: event.SourceNone}, probe.Clock{}, 0)
	}
	if err := rec.finish(event.Summary{Account: event.Account{Seen: 3, Filtered: 3}}, 0); err != nil {
		t.Fatal(err)
	}
	out, err := replayFiles(t, Options{}, path)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(len(out.resets), out.summary.Account.Filtered); got != "0 3" {
		t.Errorf("records and filtered: %s, want 0 3", got)
	}
}
