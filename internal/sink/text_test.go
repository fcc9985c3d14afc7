package sink

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"rstwhy/internal/event"
)

func render(t *testing.T, opt TextOptions, all ...sample) []byte {
	t.Helper()
	var out bytes.Buffer
	text := NewText(&out, opt)
	for i := range all {
		if err := text.Reset(&all[i].r, all[i].x); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func TestTextGolden(t *testing.T) {
	berlin := time.FixedZone("CET", 3600)
	for name, opt := range map[string]TextOptions{
		"text-file": {}, "text-160": {Width: 160}, "text-120": {Width: 120},
		"text-80": {Width: 80}, "text-40": {Width: 40}, "text-color": {Width: 160, Color: true, Location: berlin},
	} {
		t.Run(name, func(t *testing.T) { golden(t, name, render(t, opt, samples()...)) })
	}
}

func TestTextHostile(t *testing.T) {
	for _, s := range []string{evil, strings.Repeat("a", 1<<20), strings.Repeat("\x1b", 1<<20), strings.Repeat("日 ", 1<<18)} {
		for _, width := range []int{0, 80, 100, 132, 160, 240} {
			out := render(t, TextOptions{Width: width}, hostile(s), samples()[0], hostile(s))
			if len(out) > 40_000 {
				t.Errorf("width %d: %d bytes of text for three resets", width, len(out))
			}
			checkLines(t, out, width)
		}
	}
}

func checkLines(t *testing.T, out []byte, width int) {
	t.Helper()
	for line := range strings.SplitSeq(strings.TrimSuffix(string(out), "\n"), "\n") {
		checkVisible(t, line)
		if n := columns(line); width > 0 && n > width {
			t.Errorf("width %d: a line has %d columns: %s", width, n, line)
		}
	}
}

// No terminal is too narrow to survive, and from 20 columns on no line of a
// record is wider.
func TestTextNarrow(t *testing.T) {
	for width := 1; width < 80; width++ {
		storm := squall()
		storm.Owner = hostile(evil).r.Owner
		bound := width
		if width < 20 {
			bound = 0
		}
		checkLines(t, render(t, TextOptions{Width: width}, append(samples(), hostile(evil))...), bound)
		checkLines(t, []byte(story(t, TextOptions{Width: width}, storm)), bound)
		var sum bytes.Buffer
		s := session()
		if err := NewText(&sum, TextOptions{Width: width}).Summary(&s); err != nil {
			t.Fatal(err)
		}
		checkLines(t, sum.Bytes(), 0)
	}
}

// A hostile string must not be able to forge a record: each begins with a time
// at the start of a line.
func TestTextCannotBeForged(t *testing.T) {
	forged := "x\n16:38:33.018  SENT  sshd[1]                     1.2.3.4:1"
	start := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d`)
	for _, width := range []int{0, 80, 160} {
		out := render(t, TextOptions{Width: width}, hostile(forged), hostile(strings.Repeat("16:38:33.018 ", 50)))
		if n := len(start.FindAll(out, -1)); n != 2 {
			t.Errorf("width %d: %d records in the text of two:\n%s", width, n, out)
		}
	}
}

func TestTextFileHasOneLineEach(t *testing.T) {
	long := samples()[1]
	long.x.Why = strings.TrimSpace(strings.Repeat("word ", 60))
	long.r.OwnerProven = true
	out := string(render(t, TextOptions{}, long, samples()[2]))
	if n := strings.Count(out, "\n"); n != 5 { // header, two dates, two records
		t.Errorf("%d lines:\n%s", n, out)
	}
	if !strings.Contains(out, long.x.Why+" (peer-reset)\n") {
		t.Errorf("the sentence was cut although nothing bounds the line:\n%s", out)
	}
}

func TestProcessColumn(t *testing.T) {
	owner := func(comm, label string, proven bool) event.Reset {
		return event.Reset{Owner: &event.Process{PID: 7, Comm: comm, Label: label}, OwnerProven: proven, Socket: event.SocketFull}
	}
	for _, c := range []struct {
		name string
		r    event.Reset
		want string
	}{
		{"proven", owner("java", "kafka.Kafka", true), "java[7] kafka.Kafka"},
		{"remembered", owner("java", "kafka.Kafka", false), "java[7]? kafka.Kafka"},
		{"long class keeps its end", owner("java", "org.apache.zookeeper.server.quorum.QuorumPeerMain", true), "java[7] QuorumPeerMain"},
		{"long jar keeps its name", owner("java", "/opt/service/lib/name-1.2.3.jar", true), "java[7] name-1.2.3.jar"},
		{"no socket at all", event.Reset{Socket: event.SocketNone, Cause: "closed-port"}, "-"},
		{"closed, not known by whom", event.Reset{Socket: event.SocketNone, Cause: "late-data"}, "?"},
		{"remembered without a name", event.Reset{Socket: event.SocketNone, Facts: event.Facts{TombstoneHit: true}}, "?"},
		{"socket of an unknown process", event.Reset{Socket: event.SocketFull}, "?"},
	} {
		if got := process(&c.r, processWidth); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestServerWords(t *testing.T) {
	for outcome := range outcomes {
		got := ServerWords(&event.Server{Outcome: outcome})
		if got == "" || strings.Contains(got, "unknown, version") {
			t.Errorf("outcome %s: %q", outcome, got)
		}
		if known := ServerWords(&event.Server{Outcome: outcome, Version: "3.9.3"}); strings.Contains(known, "version unknown") || !strings.Contains(known, "3.9.3") {
			t.Errorf("outcome %s with a version: %q", outcome, known)
		}
	}
	if got := ServerWords(&event.Server{Outcome: event.OutcomeOK, Version: "3.9.3", AgeNS: -5}); got != "3.9.3 (asked after the reset)" {
		t.Error(got)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errBroken }

var errBroken = errors.New("broken pipe")

func TestWriteErrors(t *testing.T) {
	s := samples()[0]
	text, js := NewText(broken{}, TextOptions{}), NewJSON(broken{})
	if err := js.Reset(&s.r, s.x); err != nil {
		t.Errorf("a buffered record is not yet written: %v", err)
	}
	for name, err := range map[string]error{
		"text reset": text.Reset(&s.r, s.x), "text summary": text.Summary(&event.Summary{}), "json close": js.Close(),
	} {
		if !errors.Is(err, errBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSpan(t *testing.T) {
	for ns, want := range map[time.Duration]string{
		12 * time.Millisecond: "12ms", 59 * time.Second: "59s", 192 * time.Second: "3m12s",
		59*time.Minute + 59600*time.Millisecond: "1h0m", 25 * time.Hour: "1d1h",
	} {
		if got := Span(int64(ns)); got != want {
			t.Error(fmt.Sprint(ns), got, want)
		}
	}
}
