package sink

import (
	"bytes"
	"encoding/json"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"rstwhy/internal/event"
)

func TestJSONGolden(t *testing.T) {
	var out bytes.Buffer
	j := NewJSON(&out)
	for _, s := range append(samples(), shared()...) {
		if err := j.Reset(&s.r, s.x); err != nil {
			t.Fatal(err)
		}
	}
	storm := squall()
	if err := j.Storm(&storm); err != nil {
		t.Fatal(err)
	}
	sum := session()
	if err := j.Summary(&sum); err != nil {
		t.Fatal(err)
	}
	if out.Len() != 0 {
		t.Error("written before Flush, although the buffer had room")
	}
	if err := j.Flush(); err != nil {
		t.Fatal(err)
	}
	golden(t, "json", out.Bytes())
}

// What is printed reads back as the same record, whatever the strings hold.
func TestJSONHostile(t *testing.T) {
	valid := strings.ToValidUTF8(evil, "?") + "<>&\u2028\U000e0041😀"
	s := hostile(valid)
	s.r.Peer = end("1.2.3.4:5") // a zone is no field of its own
	var out bytes.Buffer
	j := NewJSON(&out)
	if err := j.Reset(&s.r, s.x); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	line := out.String()
	if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
		t.Errorf("not one line: %q", line)
	}
	if !strings.Contains(line, "<>&") {
		t.Errorf("escaped for HTML: %s", line)
	}
	for _, r := range strings.TrimSuffix(line, "\n") {
		if r <= 0xffff && steers(r) {
			t.Errorf("rune %U is raw in %q", r, line)
		}
	}
	var back event.Reset
	if err := json.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.r, back, cmpopts.IgnoreTypes(event.Facts{}), cmpopts.EquateComparable(event.Endpoint{}, netip.Addr{})); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

func TestJSONInvalidUTF8(t *testing.T) {
	s := hostile(evil)
	var out bytes.Buffer
	j := NewJSON(&out)
	if err := j.Reset(&s.r, s.x); err != nil {
		t.Fatal(err)
	}
	if err := j.Flush(); err != nil {
		t.Fatal(err)
	}
	var back event.Reset
	if err := json.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if want := strings.ToValidUTF8(strings.ReplaceAll(evil, "\xff\xfe", "\ufffd\ufffd"), "\ufffd"); back.Owner.Comm != want {
		t.Errorf("comm %q, want %q", back.Owner.Comm, want)
	}
}

func TestJSONListsAreNeverNull(t *testing.T) {
	r := samples()[0].r
	r.Verdict = &event.Verdict{Rule: "r"}
	var out bytes.Buffer
	j := NewJSON(&out)
	if err := j.Reset(&r, Explained{}); err != nil {
		t.Fatal(err)
	}
	if r.Verdict.Do != nil {
		t.Error("the caller's record was changed")
	}
	if err := j.Storm(&event.Storm{Verdict: &event.Verdict{Rule: "in a storm"}}); err != nil {
		t.Fatal(err)
	}
	if err := j.Summary(&event.Summary{Verdicts: []event.VerdictTally{{Rule: "r"}}}); err != nil {
		t.Fatal(err)
	}
	if err := j.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"because":[],"do":[]`, `"by_cause":[]`, `"do":[],"because":[],`, `"zookeeper_servers":[]`, `"checks":[]`, `"gaps":[]`, `"others":[]`, `"in a storm","title":"","confidence":"","because":[],"do":[]`, `"warnings":[]`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is missing in %s", want, out.String())
		}
	}
}

// writes records the size of each write.
type writes struct{ ends []byte }

func (w *writes) Write(b []byte) (int, error) {
	w.ends = append(w.ends, b[len(b)-1])
	return len(b), nil
}

func TestJSONWritesWholeLines(t *testing.T) {
	var w writes
	j := NewJSON(&w)
	r := samples()[0].r
	for range 1000 {
		if err := j.Reset(&r, Explained{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.ends) < 5 {
		t.Fatalf("%d writes for a megabyte", len(w.ends))
	}
	for i, c := range w.ends {
		if c != '\n' {
			t.Errorf("write %d ends inside a line", i)
		}
	}
}

func BenchmarkJSON(b *testing.B) {
	j := NewJSON(io.Discard)
	r := samples()[0].r
	b.ReportAllocs()
	for b.Loop() {
		if err := j.Reset(&r, Explained{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkText(b *testing.B) {
	x := NewText(io.Discard, TextOptions{Width: 160})
	s := samples()[0]
	b.ReportAllocs()
	for b.Loop() {
		s.r.Time = s.r.Time.Add(foldWindow / foldAfter) // as fast as nothing is folded
		if err := x.Reset(&s.r, s.x); err != nil {
			b.Fatal(err)
		}
	}
}
