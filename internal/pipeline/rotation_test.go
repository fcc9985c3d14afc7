package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

const longSession = 12000 // records, some 0.7 kB each: more than three files

// longRecording records a session whose files are as small as they may be.
func longRecording(t *testing.T, files int, opts Options) (path string, live *memory) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "long.rec")
	var err error
	opts.Record, err = NewRecorder(RecordOptions{Path: path, Size: RecordMin, Files: files})
	if err != nil {
		t.Fatal(err)
	}
	kernel := &fakeKernel{counts: probe.Counts{Seen: longSession, Submitted: longSession}}
	s, live := newTestSession(t, kernel, opts)
	if err := opts.Record.start(header(opts, s.names, s.clock)); err != nil {
		t.Fatal(err)
	}
	for i := range longSession {
		e := rawReset(uint64(i+1) * 1000)
		e.PeerPort = uint16(i)
		s.reset(&e)
		if i%100 == 99 {
			s.tick(^uint64(0), 0, true)
			if err := s.flush(); err != nil {
				t.Fatal(err)
			}
			checkDisk(t, path, files)
		}
	}
	if err := s.end(nil); err != nil {
		t.Fatal(err)
	}
	checkDisk(t, path, files)
	return path, live
}

func checkDisk(t *testing.T, path string, files int) {
	t.Helper()
	names, total := piecesOf(t, path), int64(0)
	for _, name := range names {
		st, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if st.Size() > RecordMin || st.Mode() != 0o600 {
			t.Fatalf("%s has %d bytes, mode %v", name, st.Size(), st.Mode())
		}
		total += st.Size()
	}
	if len(names) > files || total > int64(files)*RecordMin {
		t.Fatalf("%d files with %d bytes, %d of %d bytes are allowed", len(names), total, files, int64(RecordMin))
	}
}

// piecesOf lists a recording's files in their order.
func piecesOf(t *testing.T, path string) []string {
	t.Helper()
	names, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(names, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return names
}

func replayFiles(t *testing.T, opts Options, names ...string) (*memory, error) {
	t.Helper()
	var parts []Part
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, Part{filepath.Base(name), bytes.NewReader(b)})
	}
	out := &memory{}
	opts.Sinks = append(opts.Sinks, out)
	return out, ReplayParts(parts, opts)
}

func TestRotation(t *testing.T) {
	path, live := longRecording(t, 100, Options{})
	names := piecesOf(t, path)
	if len(names) < 4 || names[0] != path || names[3] != path+".3" {
		t.Fatalf("files: %v", names)
	}
	out, err := replayFiles(t, Options{}, names...)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(live.resets, out.resets, cmpAddr, cmpProcess); diff != "" {
		t.Fatalf("records (-live +replay):\n%.2000s", diff)
	}
	if diff := cmp.Diff(live.summary, out.summary, cmpAddr); diff != "" {
		t.Errorf("summary (-live +replay):\n%s", diff)
	}
	// Each file alone: its records and no others, and an account of them.
	var again []event.Reset
	for i, name := range names {
		out, err := replayFiles(t, Options{}, name)
		if err != nil {
			t.Fatalf("%s alone: %v", name, err)
		}
		again = append(again, out.resets...)
		a := out.summary.Account
		if !a.Balanced() || a.Delivered != uint64(len(out.resets)) || len(out.resets) == 0 {
			t.Errorf("%s alone: %d records, account %+v", name, len(out.resets), a)
		}
		if w := strings.Join(out.summary.Warnings, "\n"); !strings.Contains(w, "not the whole recording") ||
			(i > 0) != strings.Contains(w, "part 0") && (i > 0) != strings.Contains(w, "parts 0 to ") {
			t.Errorf("%s alone: warnings %q", name, w)
		}
		// Only the last file holds what the kernel counted.
		if c := out.summary.Checks; i < len(names)-1 && (len(c) != 1 || c[0].Agree != nil || !strings.Contains(c[0].Explanation, "absent")) {
			t.Errorf("%s alone: checks %+v", name, c)
		}
	}
	if len(again) != len(live.resets) {
		t.Errorf("the files one by one hold %d records, together %d", len(again), len(live.resets))
	}
	if _, err := replayFiles(t, Options{}, names[1], names[0]); err == nil || !strings.Contains(err.Error(), "order") {
		t.Errorf("in the wrong order: %v", err)
	}
	if _, err := replayFiles(t, Options{}, names[1], names[1]); err == nil {
		t.Error("the same file twice is accepted")
	}
	other, _ := longRecording(t, 100, Options{})
	if out, err := replayFiles(t, Options{}, names[0], other+".1"); err == nil || !strings.Contains(err.Error(), "not of one recording") || len(out.resets) > 0 {
		t.Errorf("files of two recordings: %v", err)
	}
}

func TestRotationKeepsTheNewest(t *testing.T) {
	for _, files := range []int{1, 2} {
		path, live := longRecording(t, files, Options{})
		names := piecesOf(t, path)
		out, err := replayFiles(t, Options{}, names...)
		if err != nil {
			t.Fatal(err)
		}
		n := len(out.resets)
		if n == 0 || n == len(live.resets) || cmp.Diff(live.resets[len(live.resets)-n:], out.resets, cmpAddr, cmpProcess) != "" {
			t.Errorf("%d files: %d records, which are not the last of %d", files, n, len(live.resets))
		}
		if w := strings.Join(out.summary.Warnings, "\n"); !strings.Contains(w, fmt.Sprintf("saw %d hits", longSession)) {
			t.Errorf("warnings %q", w)
		}
	}
}

// TestRotationCount: -c is counted over all parts.
func TestRotationCount(t *testing.T) {
	const count = longSession - 10
	path, live := longRecording(t, 100, Options{Count: count})
	names := piecesOf(t, path)
	out, err := replayFiles(t, Options{}, names[len(names)-1])
	if err != nil {
		t.Fatal(err)
	}
	if n := len(out.resets); len(live.resets) != count || n == 0 || cmp.Diff(live.resets[count-n:], out.resets, cmpAddr, cmpProcess) != "" {
		t.Errorf("the last file alone prints %d records", n)
	}
}

// TestRotationTouchesNothingElse: files of others are neither overwritten nor
// removed, whatever their names are.
func TestRotationTouchesNothingElse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.rec")
	mine := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("precious"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mine("a.rec.7")
	if _, err := NewRecorder(RecordOptions{Path: path, Size: RecordMin, Files: 2}); err == nil || !strings.Contains(err.Error(), "a.rec.7") {
		t.Errorf("a later part's name is taken: %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the refused recording left its file: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "a.rec.7")); err != nil {
		t.Fatal(err)
	}
	rec, err := NewRecorder(RecordOptions{Path: path, Size: RecordMin, Files: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := rec.start(Header{Recording: recordingFormat}); err != nil {
		t.Fatal(err)
	}
	// The first file is replaced by another's, and the third's name is taken.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	mine("a.rec")
	if err := os.Symlink(path, path+".2"); err != nil {
		t.Fatal(err)
	}
	for range longSession {
		rec.frame(&frame{Raw: make([]byte, 500)}, 0)
	}
	rec.flush()
	if err := rec.failed(); err == nil || !strings.Contains(err.Error(), "a.rec.2") {
		t.Errorf("error %v", err)
	}
	for _, name := range []string{"a.rec", "a.rec.2"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != "precious" {
			t.Errorf("%s now holds %d bytes, %v", name, len(b), err)
		}
	}
	if err := rec.finish(event.Summary{}, 0); err == nil {
		t.Error("the end does not tell that the recording ended early")
	}
}

func TestRecordOptions(t *testing.T) {
	for _, opts := range []RecordOptions{{Size: RecordMin - 1, Files: 1}, {Size: RecordMin}, {Size: -1, Files: 1}} {
		opts.Path = filepath.Join(t.TempDir(), "a")
		if _, err := NewRecorder(opts); err == nil {
			t.Errorf("%+v is accepted", opts)
		}
	}
}
