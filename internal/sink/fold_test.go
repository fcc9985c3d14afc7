package sink

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"rstwhy/internal/event"
)

// story is what happens, step by step; it ends with Close.
func story(t *testing.T, opt TextOptions, steps ...any) string {
	t.Helper()
	var out bytes.Buffer
	text := NewText(&out, opt)
	for _, step := range steps {
		var err error
		switch step := step.(type) {
		case event.Reset:
			err = text.Reset(&step, Explained{Why: "nobody listens on port 8080", CauseID: step.Cause})
		case event.Storm:
			err = text.Storm(&step)
		case time.Time:
			err = text.Tick(step)
		default:
			t.Fatalf("no such step: %T", step)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := text.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// refused are n refused attempts of one client, 1 ms apart.
func refused(n int, from time.Time, peer string) []any {
	var all []any
	for i := range n {
		r := samples()[2].r
		r.Time, r.Peer.Address, r.Peer.Port = from.Add(time.Duration(i)*time.Millisecond), netip.MustParseAddr(peer), uint16(40000+i)
		all = append(all, r)
	}
	return all
}

func records(text string) int { return strings.Count(text, "nobody listens") }

func TestFold(t *testing.T) {
	start := at("2026-11-24T00:00:09.6Z")
	squall := squall()
	steps := refused(37, start, "192.168.4.9")
	steps = append(steps, refused(3, start.Add(40*time.Millisecond), "192.168.4.10")...)
	owned := samples()[1].r
	owned.OwnerProven = true
	for i := range 12 {
		owned.Time = start.Add(time.Duration(50+i) * time.Millisecond)
		steps = append(steps, owned)
	}
	steps = append(steps, squall, start.Add(990*time.Millisecond), start.Add(1100*time.Millisecond))
	steps = append(steps, refused(1, start.Add(2*time.Second), "192.168.4.9")...)
	golden(t, "fold", []byte(story(t, TextOptions{Width: 160}, steps...)))
}

func TestFoldCountsEach(t *testing.T) {
	start := at("2026-11-24T00:00:00Z")
	for _, c := range []struct {
		n, printed int
		more       string
	}{{10, 10, ""}, {11, 10, "1 more in the last second (closed-port)"}, {999, 10, "989 more in the last second"}} {
		out := story(t, TextOptions{}, refused(c.n, start, "192.168.4.9")...)
		if records(out) != c.printed+0 || !strings.Contains(out, c.more) || c.more == "" && strings.Contains(out, "more") {
			t.Errorf("%d resets: %d printed\n%s", c.n, records(out), out)
		}
	}
	// A new second begins anew, and an older one is told before it.
	out := story(t, TextOptions{}, append(refused(15, start, "192.168.4.9"), refused(1, start.Add(time.Second), "192.168.4.9")...)...)
	if i, j := strings.Index(out, "5 more"), strings.LastIndex(out, "nobody listens"); records(out) != 11 || i < 0 || i > j {
		t.Errorf("two seconds:\n%s", out)
	}
	// So does a clock that was set back.
	if out := story(t, TextOptions{}, append(refused(10, start, "192.168.4.9"), refused(10, start.Add(-time.Hour), "192.168.4.9")...)...); records(out) != 20 {
		t.Errorf("%d printed after the clock went back, want 20", records(out))
	}
}

// What differs in one thing that the reader acts on is not folded together.
func TestFoldGroups(t *testing.T) {
	start := at("2026-11-24T00:00:00Z")
	for name, change := range map[string]func(*event.Reset, int){
		"cause":     func(r *event.Reset, i int) { r.Cause = fmt.Sprint(i % 2) },
		"direction": func(r *event.Reset, i int) { r.Direction = [2]event.Direction{event.Sent, event.Received}[i%2] },
		"owner": func(r *event.Reset, i int) {
			r.Owner = &event.Process{PID: 7, StartTime: start.Add(time.Duration(i % 2)), Comm: "x"}
		},
		"remote": func(r *event.Reset, i int) {
			r.Peer.Address = netip.AddrFrom4([4]byte{10, 0, 0, byte(i % 2)})
		},
		"local port": func(r *event.Reset, i int) { r.Local.Port = uint16(1 + i%2) },
	} {
		steps := refused(20, start, "192.168.4.9")
		for i := range steps {
			r := steps[i].(event.Reset)
			change(&r, i)
			steps[i] = r
		}
		if out := story(t, TextOptions{}, steps...); records(out) != 20 {
			t.Errorf("%s differs, and %d of 20 are printed", name, records(out))
		}
	}
}

// Of a connection that this side opened, the local port is any of thousands.
func TestFoldOfClients(t *testing.T) {
	start := at("2026-11-24T00:00:00Z")
	steps := refused(15, start, "192.168.4.9")
	for i := range steps {
		r := steps[i].(event.Reset)
		r.Local.Port, r.Peer.Port = r.Peer.Port, 2181
		r.Facts = event.Facts{ActiveOpenKnow: true, ActiveOpen: true}
		steps[i] = r
	}
	storm := squall()
	storm.Time, storm.LocalPort, storm.RemotePort = start.Add(time.Second/2), 0, 2181
	out := story(t, TextOptions{}, append(steps, storm)...)
	if records(out) != 10 || strings.Count(out, "4,218 more") != 1 || !strings.Contains(out, "192.168.4.9:2181       -") {
		t.Errorf("a client with many ports is not one group with the kernel's count:\n%s", out)
	}
}

func TestStormsMergeAndAreBounded(t *testing.T) {
	start := at("2026-11-24T00:00:10Z")
	one := squall()
	one.Time = start.Add(500 * time.Millisecond)
	out := story(t, TextOptions{}, append(refused(12, start, "192.168.4.9"), one, one)...)
	if !strings.Contains(out, "8,428 more") || strings.Count(out, "more") != 1 {
		t.Errorf("the kernel's count and the fold of the same group are not one line:\n%s", out)
	}
	var steps []any
	for i := range 45 {
		s := squall()
		s.Count, s.Cause = uint64(1000+i), fmt.Sprintf("cause-%02d", i)
		steps = append(steps, s)
	}
	out = story(t, TextOptions{}, steps...)
	if n := strings.Count(out, "(cause-"); n != foldShown || !strings.Contains(out, "1,044 in") || strings.Contains(out, "1,024 in") {
		t.Errorf("%d storm lines, want the %d largest:\n%s", n, foldShown, out)
	}
	if !strings.Contains(out, "and 25,300 more resets in 25 groups\n") { // 1000..1024
		t.Errorf("the rest is not counted:\n%s", out)
	}
}

func TestStormLine(t *testing.T) {
	ignored := event.EffectIgnored
	for _, c := range []struct {
		name   string
		change func(*event.Storm)
		want   string
	}{
		{"closed port", func(*event.Storm) {}, "SENT  -  :8080  192.168.4.9  -  4,213 in the last second (closed-port)"},
		{"several ports", func(s *event.Storm) { s.LocalPort = 0 }, "SENT  -  *  192.168.4.9  -"},
		{"a network", func(s *event.Storm) { s.Remote = netip.MustParsePrefix("10.0.0.0/8") }, ":8080  10.0.0.0/8  -"},
		{"a server elsewhere", func(s *event.Storm) { s.LocalPort, s.RemotePort = 0, 2181 }, "SENT  -  *  192.168.4.9:2181  -"},
		{"servers elsewhere", func(s *event.Storm) { s.Remote, s.LocalPort, s.RemotePort = prefix("10.0.0.0/8"), 0, 2181 }, "*  10.0.0.0/8 :2181  -"},
		{"anybody", func(s *event.Storm) { s.Remote = netip.MustParsePrefix("::/0") }, ":8080  *  -"},
		{"a server", func(s *event.Storm) { s.Owner, s.Cause = kafka, "unread-data" }, "SENT  java[2211]? kafka.Kafka  :8080"},
		{"a server for sure", func(s *event.Storm) { s.Owner, s.OwnerProven, s.Cause = kafka, true, "unread-data" }, "SENT  java[2211] kafka.Kafka  :8080"},
		{"a server that nobody knows", func(s *event.Storm) { s.Cause = "unread-data" }, "SENT  ?  :8080"},
		{"ignored", func(s *event.Storm) { s.Direction, s.Cause, s.Effect = event.Received, "reset-to-nobody", &ignored }, "RECV  -  :8080"},
		{"long", func(s *event.Storm) { s.DurationNS = 5e9 }, "4,213 in the last 5s"},
		{"verdict", func(s *event.Storm) { s.Verdict = samples()[0].r.Verdict }, "Harmless: one at each close (proven). Do: nothing"},
	} {
		s := squall()
		c.change(&s)
		out := strings.Join(strings.FieldsFunc(story(t, TextOptions{}, s), func(r rune) bool { return r == '\n' }), " ")
		if squeezed := gaps.ReplaceAllString(out, "  "); !strings.Contains(squeezed, c.want) {
			t.Errorf("%s: %q is not in %q", c.name, c.want, squeezed)
		}
	}
}

func TestStormHostile(t *testing.T) {
	for _, s := range []string{evil, strings.Repeat("a", 1<<20)} {
		e := event.Effect(s)
		storm := squall()
		storm.Cause, storm.Effect, storm.Verdict = s, &e, hostile(s).r.Verdict
		storm.Owner = &event.Process{PID: 1, Comm: s, Label: s}
		for _, width := range []int{0, 80, 160} {
			out := story(t, TextOptions{Width: width}, storm)
			checkLines(t, []byte(out), width)
			if len(out) > 10_000 {
				t.Errorf("width %d: %d bytes for one storm", width, len(out))
			}
		}
	}
}
