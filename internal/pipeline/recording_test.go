package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

var cmpAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// recordedSession runs a session over some resets and records it.
func recordedSession(t *testing.T, opts Options) (file []byte, out *memory) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.rec")
	var err error
	if opts.Record, err = NewRecorder(RecordOptions{Path: path}); err != nil {
		t.Fatal(err)
	}
	opts.Host = "h1"
	live := &fakeKernel{counts: probe.Counts{Seen: 6, Filtered: 1, Submitted: 5}}
	s, out := newTestSession(t, live, opts)
	if err := opts.Record.start(header(opts, s.names, s.clock)); err != nil {
		t.Fatal(err)
	}
	recv, send := falseReceive(10*ms, 7)
	zk := rawReset(12 * ms)
	zk.Flags, zk.PeerPort, zk.How = 1<<8, 2181, howCurrent
	named := rawReset(13 * ms)
	copy(named.Owner.Comm[:], "a\x1b[31m\n\xff<>&")
	feed(s, recv, send, doubtful(11*ms), zk, named)
	if err := s.end(nil); err != nil {
		t.Fatal(err)
	}
	if file, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	return file, out
}

func replay(file []byte, opts Options) (*memory, error) {
	out := &memory{}
	opts.Sinks = append(opts.Sinks, out)
	return out, Replay(bytes.NewReader(file), opts)
}

func TestReplayIsWhatWasLive(t *testing.T) {
	for name, opts := range map[string]Options{
		"everything": {ZKPorts: []uint16{2181}}, "count": {Count: 2}, "only ZooKeeper": {ZKPorts: []uint16{2181}, Select: Select{ZK: true}},
		"one direction": {Filter: probe.Filter{NoReceived: true}}, "nothing": {Select: Select{PIDs: []uint32{1}}},
	} {
		file, live := recordedSession(t, opts)
		again, err := replay(file, Options{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(live.resets, again.resets, cmpAddr, cmpProcess); diff != "" {
			t.Errorf("%s: records (-live +replay):\n%s", name, diff)
		}
		if diff := cmp.Diff(live.summary, again.summary, cmpAddr); diff != "" {
			t.Errorf("%s: summary (-live +replay):\n%s", name, diff)
		}
	}
	file, live := recordedSession(t, Options{ZKPorts: []uint16{2181}})
	if len(live.resets) != 4 || live.resets[2].ZooKeeper == nil || bytes.Count(file, []byte{'\n'}) != 7 {
		t.Errorf("%d resets, %d lines: the test recorded too little: %+v", len(live.resets), bytes.Count(file, []byte{'\n'}), live.resets)
	}
}

// cmpProcess leaves out what only the live session needs to find a process.
var cmpProcess = cmp.Transformer("printed", func(p event.Process) event.Process {
	p.CgroupID, p.StartBoot = 0, 0
	return p
})

// TestReplayNarrows: filters given to the replay leave out more, never less.
func TestReplayNarrows(t *testing.T) {
	file, live := recordedSession(t, Options{ZKPorts: []uint16{2181}})
	out, err := replay(file, Options{Select: Select{ZK: true}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.resets) != 1 || out.summary.Account.Delivered != 1 || !out.summary.Account.Balanced() {
		t.Errorf("%d records of %d, account %+v", len(out.resets), len(live.resets), out.summary.Account)
	}
	if out, err = replay(file, Options{Count: 1}); err != nil || len(out.resets) != 1 || !out.summary.Account.Balanced() {
		t.Errorf("-c 1: %d records, %v, account %+v", len(out.resets), err, out.summary.Account)
	}
}

// TestTruncatedEverywhere cuts a recording at every byte: an error that says
// so, and every whole record before the cut.
func TestTruncatedEverywhere(t *testing.T) {
	file, live := recordedSession(t, Options{})
	headerEnd := bytes.IndexByte(file, '\n') + 1
	for n := range file {
		if n < headerEnd && n > 64 && n < headerEnd-64 {
			continue // the middle of the header, some kilobytes
		}
		out, err := replay(file[:n], Options{})
		if !errors.Is(err, ErrRecording) || strings.Contains(err.Error(), "\n") {
			t.Fatalf("cut to %d of %d bytes: error %q", n, len(file), err)
		}
		// The joined receive takes a line and is not printed.
		lines := bytes.Count(file[:n], []byte{'\n'})
		want := min(max(0, lines-2), len(live.resets))
		if len(out.resets) != want || out.summary != nil {
			t.Fatalf("cut to %d bytes, %d lines: %d records printed, want %d; summary %v", n, lines, len(out.resets), want, out.summary)
		}
		if diff := cmp.Diff(live.resets[:want], out.resets, cmpAddr, cmpProcess, cmpEmpty); diff != "" {
			t.Fatalf("cut to %d bytes (-live +replay):\n%s", n, diff)
		}
	}
}

var cmpEmpty = cmp.FilterValues(func(a, b []event.Reset) bool { return len(a)+len(b) == 0 }, cmp.Ignore())

// TestBitFlips: no damaged byte goes unseen, and none is printed.
func TestBitFlips(t *testing.T) {
	file, live := recordedSession(t, Options{})
	for i := 0; i < len(file); i += 1 + len(file)/4000 {
		bad := slices.Clone(file)
		bad[i] ^= 1 << (i % 8)
		out, err := replay(bad, Options{})
		if err == nil && bytes.EqualFold(bad, file) {
			continue // a digit of a check sum in the other case
		}
		if !errors.Is(err, ErrRecording) {
			t.Fatalf("byte %d changed from %q to %q: error %v", i, file[i], bad[i], err)
		}
		if n := len(out.resets); n > 0 && cmp.Diff(live.resets[:n], out.resets, cmpAddr, cmpProcess) != "" {
			t.Fatalf("byte %d changed: a damaged record was printed", i)
		}
	}
}

// framed makes a line with a right check sum.
func framed(json string) string {
	return fmt.Sprintf("%08x %s\n", crc32.Checksum([]byte(json), castagnoli), json)
}

func TestForeignFiles(t *testing.T) {
	file, _ := recordedSession(t, Options{})
	first, _, _ := bytes.Cut(file, []byte{'\n'})
	head := string(first) + "\n"
	for _, tt := range []struct{ name, content, want string }{
		{"empty", "", "it is empty"},
		{"passwd", "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/bin/sh\n", "line 1"},
		{"gzip", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x01\n\x00", "line 1"},
		{"pcap", "\xd4\xc3\xb2\xa1\x02\x00\x04\x00", "line 1 is cut off"},
		{"no end of line", strings.Repeat("x", 10<<20), "line 1 is longer than 1048576 bytes"},
		{"JSON lines", `{"type":"reset"}` + "\n", "line 1"},
		{"another tool's frames", framed(`{"a":1}`), "line 1 is not the first line"},
		{"null", framed(`null`), "line 1 is not the first line"},
		{"a later format", framed(`{"rstwhy_recording":99}`), "use a newer rstwhy"},
		{"no layout", framed(`{"rstwhy_recording":1}`), "layout"},
		{"impossible layout", framed(`{"rstwhy_recording":1,"layout":[{"name":"kind","offset":0,"size":99999}]}`), "layout"},
		{"long line later", head + strings.Repeat("x", 2<<20), "line 2 is longer"},
		{"short record", head + framed(`{"raw":"AAAA"}`), "line 2"},
		{"no record", head + framed(`{}`), "line 2"},
		{"not of the type", head + framed(`{"raw":7}`), "line 2"},
		{"only a header", head, "ends after line 1"},
	} {
		out, err := replay([]byte(tt.content), Options{})
		if !errors.Is(err, ErrRecording) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %q, want %q in it, in one line", tt.name, err, tt.want)
		}
		if len(out.resets) != 0 || out.summary != nil {
			t.Errorf("%s: something was printed: %+v", tt.name, out)
		}
	}
}

func TestRecorderFile(t *testing.T) {
	dir := t.TempDir()
	old := unix.Umask(0)
	rec, err := NewRecorder(RecordOptions{Path: filepath.Join(dir, "new")})
	unix.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(filepath.Join(dir, "new")); err != nil || st.Mode() != 0o600 {
		t.Errorf("mode %v, %v; want 0600 whatever the umask", st.Mode(), err)
	}
	kept := filepath.Join(dir, "kept")
	if err := os.WriteFile(kept, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"link": kept, "dangling": filepath.Join(dir, "nowhere")} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"kept", "link", "dangling"} {
		if _, err := NewRecorder(RecordOptions{Path: filepath.Join(dir, name)}); err == nil || !strings.Contains(err.Error(), "exists") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if b, _ := os.ReadFile(kept); string(b) != "precious" {
		t.Errorf("the existing file now holds %q", b)
	}
	if _, err := os.Lstat(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a file was made through a dangling link")
	}
	rec.abandon()
	if _, err := os.Lstat(filepath.Join(dir, "new")); err == nil {
		t.Error("the recording of a session that never began stays")
	}
	(*Recorder)(nil).abandon()
}

// TestFullDisk: tracing goes on, and the end tells that the recording did not.
func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here: ", err)
	}
	rec := recorderOn(full)
	s, out := newTestSession(t, &fakeKernel{counts: probe.Counts{Seen: 1, Submitted: 1}}, Options{Record: rec})
	rec.started = true
	feed(s, rawReset(ms))
	err = s.end(nil)
	if err == nil || !strings.Contains(err.Error(), "/dev/full") || !strings.Contains(err.Error(), "no space") {
		t.Errorf("error %v", err)
	}
	if len(out.resets) != 1 || out.summary == nil {
		t.Fatalf("%d records, summary %v: the trace must go on", len(out.resets), out.summary)
	}
	if w := strings.Join(out.summary.Warnings, "\n"); strings.Count(w, "recording ends here") != 1 {
		t.Errorf("warnings %q", w)
	}
}

func FuzzReplay(f *testing.F) {
	head := framed(`{"rstwhy_recording":1,"layout":[{"name":"kind","offset":0,"size":4},{"name":"direction","offset":4,"size":1}],"names":{"states":{"1":"ESTABLISHED"},"hz":250}}`)
	for _, seed := range []string{
		"", head, head + framed(`{"raw":"AQAAAAE="}`), head + framed(`{"raw":"AQAAAAE=","joined":true}`) + framed(`{"summary":{}}`),
		head + framed(`{"raw":"AQAAAAE=","owner":{"pid":1,"comm":"\u001b[2J"},"owner_source":"x","zookeeper":{"server":null}}`) + framed(`{"summary":{"account":{"delivered":9}}}`),
		head + framed(`{"raw":"AQAAAAE=","twin":"1-2-3","twin_owner":{"comm":"\u001b"},"actor":"killer","others":[{"pid":1}],"packets":18446744073709551615}`) + framed(`{"storm":{"count":7,"direction":"sent","remote":"10.0.0.0/8"}}`) + framed(`{"storm":{}}`),
		framed(`{"rstwhy_recording":2}`), "00000000 {}\n",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, file []byte, sums bool) {
		if sums { // right check sums, so that what lies behind them is reached
			var b strings.Builder
			for line := range strings.Lines(string(file)) {
				line = strings.TrimSuffix(line, "\n")
				b.WriteString(framed(line[min(9, len(line)):]))
			}
			file = []byte(b.String())
		}
		began := time.Now()
		out, err := replay(file, Options{})
		if err == nil && out.summary == nil {
			t.Error("no error and no summary")
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
	})
}
