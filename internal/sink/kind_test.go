package sink

import (
	"bytes"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"rstwhy/internal/event"
)

var counted = regexp.MustCompile(`([0-9,]+) (?:more )?(?:in the last|resets in)`)

// total is how many resets a text tells of, one by one and in counts.
func total(t *testing.T, text string) (n int) {
	t.Helper()
	for _, m := range counted.FindAllStringSubmatch(text, -1) {
		k, err := strconv.Atoi(strings.ReplaceAll(m[1], ",", ""))
		if err != nil {
			t.Fatal(err)
		}
		n += k
	}
	return n + records(text)
}

// scan are n connections of one process that were refused, each at another port.
func scan(n int, from time.Time) []any {
	var all []any
	for i := range n {
		r := base("s", "2026-11-24T00:00:00Z", event.Received, "10.0.0.1:50000", "10.0.0.2:1")
		r.Time, r.Peer.Port, r.Cause = from.Add(time.Duration(i)*time.Microsecond), uint16(10000+i), "connect-refused"
		r.Owner, r.OwnerProven = &event.Process{PID: 7, StartTime: from, Comm: "scanner"}, true
		r.Facts = event.Facts{ActiveOpenKnow: true, ActiveOpen: true}
		all = append(all, r)
	}
	return all
}

// victim is the reset that a scan must not hide.
func victim(when time.Time) event.Reset {
	r := samples()[1].r
	r.Time, r.Cause, r.OwnerProven = when, "peer-reset", true
	r.Owner = &event.Process{PID: 8, Comm: "victim"}
	return r
}

func TestScanDoesNotHideOthers(t *testing.T) {
	start := at("2026-11-24T00:00:10Z")
	var steps []any
	for _, received := range scan(3*foldGroups, start) { // both ends are here
		sent := received.(event.Reset)
		sent.Direction, sent.Cause, sent.Owner, sent.Socket = event.Sent, "closed-port", nil, event.SocketNone
		sent.Local, sent.Peer, sent.Facts = sent.Peer, sent.Local, event.Facts{}
		steps = append(steps, received, sent)
	}
	for i := range 5 {
		steps = append(steps, victim(start.Add(time.Duration(100*(i+1))*time.Millisecond)))
	}
	for _, width := range []int{40, 80, 160} {
		out := story(t, TextOptions{Width: width}, steps...)
		if n := strings.Count(out, "victim[8]"); n != 5 {
			t.Errorf("width %d: %d of 5 resets are told beside a scan:\n%s", width, n, out)
		}
		if n, want := total(t, gaps.ReplaceAllString(strings.ReplaceAll(out, "\n", " "), " ")), len(steps); n != want {
			t.Errorf("width %d: %d resets are told or counted, want %d", width, n, want)
		}
		for _, cause := range []string{"(connect-refused)", "(closed-port)"} {
			if n := strings.Count(out, cause); n > foldKind+1 || n < 10 {
				t.Errorf("width %d: %d times %s:\n%s", width, n, cause, out)
			}
		}
	}
}

// Many short-lived processes, as of a shell script, are one line.
func TestProcessesFoldGolden(t *testing.T) {
	start := at("2026-11-24T00:00:10Z")
	var steps []any
	for i := range 1500 {
		for _, s := range scan(1, start.Add(time.Duration(i)*500*time.Microsecond)) {
			r := s.(event.Reset)
			r.Owner = &event.Process{PID: uint32(100 + i), StartTime: r.Time, Comm: "bash"}
			r.Peer.Address = netip.AddrFrom4([4]byte{10, 0, byte(i % 4), 2})
			r.OwnerProven = i%2 == 0
			steps = append(steps, r)
		}
	}
	golden(t, "fold-processes", []byte(story(t, TextOptions{Width: 160}, steps...)))
}

// However many kinds there are, memory and terminal stay bounded, and each
// reset is counted.
func TestFoldIsBounded(t *testing.T) {
	start := at("2026-11-24T00:00:10Z")
	ports, names, processes := scan(3*foldGroups, start), scan(3*foldGroups, start), scan(3*foldGroups, start)
	for i := range names {
		r := names[i].(event.Reset)
		r.Owner = &event.Process{PID: uint32(i), Comm: fmt.Sprint("name", i)}
		names[i] = r
		r.Owner = &event.Process{PID: uint32(i), Comm: "fork"}
		processes[i] = r
	}
	for name, steps := range map[string][]any{"ports": ports, "names": names, "processes": processes} {
		for _, width := range []int{0, 20, 40, 80, 160} {
			out := story(t, TextOptions{Width: width}, steps...)
			// A record, a first count and the heading may each begin at the bound.
			if n, most := strings.Count(out, "\n"), foldMost+foldTold+50; width > 0 && n > most {
				t.Errorf("%s, width %d: %d lines in one second, want at most %d", name, width, n, most)
			}
			if n := records(out); name == "names" && width == 160 && n < foldMost-10 {
				t.Errorf("%d of the first of each name are printed, want %d", n, foldMost)
			}
			if n := total(t, gaps.ReplaceAllString(strings.ReplaceAll(out, "\n", " "), " ")); n != len(steps) {
				t.Errorf("%s, width %d: %d resets are told or counted, want %d", name, width, n, len(steps))
			}
			if want := fmt.Sprintf("fork (%s+ processes)", thousands(foldGroups)); name == "processes" && width > 40 && !strings.Contains(out, want) {
				t.Errorf("width %d: no %q in\n%s", width, want, out)
			}
		}
		text := NewText(&bytes.Buffer{}, TextOptions{})
		for i := range steps {
			r := steps[i].(event.Reset)
			if err := text.Reset(&r, Explained{}); err != nil {
				t.Fatal(err)
			}
		}
		f := &text.fold
		if len(f.groups) > foldGroups || len(f.kinds) > foldKinds || f.processes > foldGroups {
			t.Errorf("%s: %d groups, %d kinds and %d processes are kept", name, len(f.groups), len(f.kinds), f.processes)
		}
	}
}

// A count says only what is true of each that it counts.
func TestAddAny(t *testing.T) {
	storm := func(change func(*event.Storm)) *count {
		s := squall()
		s.Verdict, s.Effect, s.OwnerProven = samples()[0].r.Verdict, new(event.EffectKilled), true
		change(&s)
		return &count{s}
	}
	for name, c := range map[string]struct {
		change func(*event.Storm)
		want   func(*event.Storm)
	}{
		"same":           {func(*event.Storm) {}, func(*event.Storm) {}},
		"local port":     {func(s *event.Storm) { s.LocalPort = 1 }, func(s *event.Storm) { s.LocalPort = 0 }},
		"other side":     {func(s *event.Storm) { s.LocalPort, s.RemotePort = 0, 1 }, func(s *event.Storm) { s.LocalPort = 0 }},
		"neighbour":      {func(s *event.Storm) { s.Remote = prefix("192.168.5.1/32") }, func(s *event.Storm) { s.Remote = prefix("192.168.4.0/23") }},
		"network":        {func(s *event.Storm) { s.Remote = prefix("192.168.0.0/16") }, func(s *event.Storm) { s.Remote = prefix("192.168.0.0/16") }},
		"far away":       {func(s *event.Storm) { s.Remote = prefix("10.0.0.1/32") }, func(s *event.Storm) { s.Remote = prefix("::/0") }},
		"IPv6":           {func(s *event.Storm) { s.Remote = prefix("c0a8::1/128") }, func(s *event.Storm) { s.Remote = prefix("::/0") }},
		"anybody":        {func(s *event.Storm) { s.Remote = prefix("0.0.0.0/0") }, func(s *event.Storm) { s.Remote = prefix("::/0") }},
		"no verdict":     {func(s *event.Storm) { s.Verdict = nil }, func(s *event.Storm) { s.Verdict = nil }},
		"other verdict":  {func(s *event.Storm) { s.Verdict = &event.Verdict{Title: "x"} }, func(s *event.Storm) { s.Verdict = nil }},
		"effect":         {func(s *event.Storm) { s.Effect = new(event.EffectIgnored) }, func(s *event.Storm) { s.Effect = nil }},
		"in doubt":       {func(s *event.Storm) { s.OwnerProven = false }, func(s *event.Storm) { s.OwnerProven = false }},
		"earlier, later": {func(s *event.Storm) { s.Time = s.Time.Add(3e9); s.DurationNS = 1e9 }, func(s *event.Storm) { s.Time = s.Time.Add(3e9); s.DurationNS += 3e9 }},
	} {
		nothing := func(*event.Storm) {}
		got, want := count{}, storm(nothing)
		got.addAny(storm(nothing))
		got.addAny(storm(c.change))
		got.addAny(storm(nothing)) // what differed once stays so
		c.want(&want.Storm)
		want.Count *= 3
		told := func(c *count) string {
			return fmt.Sprint(c.Time, c.DurationNS, c.Count, c.LocalPort, c.RemotePort, c.Remote, verdictWords(c.Verdict), c.Effect == nil, c.OwnerProven)
		}
		if told(&got) != told(want) {
			t.Errorf("%s: %s, want %s", name, told(&got), told(want))
		}
	}
}

// A count of resets whose owner is not known names who may be.
func TestStormCandidates(t *testing.T) {
	start := at("2026-11-24T00:00:10Z")
	var steps []any
	for i := range 30 {
		r := shared()[2].r
		r.Time, r.Hook, r.Cause = start.Add(time.Duration(i)*time.Millisecond), event.HookReceive, "peer-reset"
		r.Others = []event.Process{{PID: 11, Comm: "worker"}, {PID: uint32(12 + i/20), Comm: "worker"}}
		steps = append(steps, r)
	}
	out := gaps.ReplaceAllString(story(t, TextOptions{Width: 160}, steps...), "  ")
	if !strings.Contains(out, "RECV  ?  :8443  10.0.0.1  -  20 more in the last second (peer-reset)\n  Perhaps of worker[11], worker[12], worker[13].") {
		t.Errorf("candidates are not named:\n%s", out)
	}
	storm := squall()
	storm.Cause, storm.Others = "unread-data", []event.Process{{PID: 11, Comm: "master"}}
	out = gaps.ReplaceAllString(story(t, TextOptions{Width: 160}, storm), "  ")
	if !strings.Contains(out, "SENT  ?  :8080  192.168.4.9  -  4,213 in the last second (unread-data)\n  Perhaps of master[11].") {
		t.Errorf("the candidate of a storm is not named:\n%s", out)
	}
	for i := range steps {
		r := steps[i].(event.Reset)
		r.Others = nil
		for n := range 100 {
			r.Others = append(r.Others, event.Process{PID: uint32(100*i + n), Comm: "x"})
		}
		steps[i] = r
	}
	if out := story(t, TextOptions{Width: 160}, steps...); !strings.Contains(out, "x[1007], more.") {
		t.Errorf("candidates are not bounded:\n%s", out)
	}
}

// The first count with a mark explains it, as the first record does.
func TestStormNotes(t *testing.T) {
	owned, unknown := squall(), squall()
	owned.Owner, owned.Cause, unknown.Cause = kafka, "unread-data", "unread-data"
	for note, s := range map[string]event.Storm{"remembered, not proven": owned, "which one holds or held": unknown} {
		later := s
		later.Time = s.Time.Add(3 * time.Second)
		if out := story(t, TextOptions{Width: 160}, s, later); strings.Count(out, note) != 1 {
			t.Errorf("%q is not said once:\n%s", note, out)
		}
	}
	if out := story(t, TextOptions{Width: 160}, squall()); strings.Contains(out, "(?") {
		t.Errorf("a mark is explained that is not there:\n%s", out)
	}
}

// Where a scan, or as many as it takes, filled the memory for groups, the
// resets of others are still told.
func TestGroupsAreShared(t *testing.T) {
	start := at("2026-11-24T00:00:10Z")
	full := scan(2*foldGroups, start)
	var fuller []any
	for i := foldGroups / 2; i > 0; i /= 2 {
		for _, s := range scan(i, start) {
			r := s.(event.Reset)
			r.Owner = &event.Process{PID: 9, Comm: fmt.Sprint("scanner", i)}
			fuller = append(fuller, r)
		}
	}
	last := scan(1, start)[0].(event.Reset)
	last.Owner = nil
	fuller = append(fuller, last)
	for name, c := range map[string]struct {
		steps  []any
		told   int
		counts int
	}{"one scan": {full, 24, 0}, "as many as it takes": {fuller, 10, 1}} {
		for i := range 24 {
			r := victim(start.Add(time.Duration(100+i) * time.Millisecond))
			r.Owner, r.Local.Port = kafka, uint16(1+i%3)
			c.steps = append(c.steps, r)
		}
		out := strings.Split(story(t, TextOptions{}, c.steps...), "\n")
		told, counts := 0, 0
		for _, line := range out {
			switch {
			case strings.Contains(line, "java[2211]") && strings.Contains(line, "nobody listens"):
				told++
			case strings.Contains(line, "java[2211]"):
				counts++
			}
		}
		if told != c.told || counts != c.counts {
			t.Errorf("%s: %d told and %d counts, want %d and %d", name, told, counts, c.told, c.counts)
		}
	}
}

// The lines of the counts are bounded too, and "more" is said only beside
// records of the same.
func TestCountsOfKinds(t *testing.T) {
	var steps, ports []any
	for i := range foldShown {
		s := squall()
		s.Cause, s.Verdict = fmt.Sprintf("cause-%02d", i), samples()[0].r.Verdict
		steps = append(steps, s)
		s = squall()
		s.LocalPort = uint16(1 + i)
		ports = append(ports, s)
	}
	if out := story(t, TextOptions{Width: 20}, steps...); strings.Count(out, "\n") > foldTold+20 || !strings.Contains(out, "more\n  resets in 9 groups\n") {
		t.Errorf("%d lines of counts, want about %d:\n%s", strings.Count(out, "\n"), foldTold, out)
	}
	if out := story(t, TextOptions{}, ports...); !strings.Contains(out, "84,260 in the last second") {
		t.Errorf("a kind of which nothing was printed:\n%s", out)
	}
	for i := range 2 * foldMost {
		r := victim(squall().Time.Add(2 * time.Second))
		r.Owner = &event.Process{PID: 1, Comm: fmt.Sprint("name", i)}
		steps = append(steps, r)
	}
	if n := records(story(t, TextOptions{Width: 240}, steps...)); n > foldMost-foldShown {
		t.Errorf("%d records are printed below %d counts, want at most %d lines of both", n, foldShown, foldMost)
	}
	at := squall().Time
	if out := story(t, TextOptions{}, append(refused(1, at, "192.168.4.9"), ports...)...); !strings.Contains(out, "84,260 more in the last second") {
		t.Errorf("a kind of which one was printed:\n%s", out)
	}
}
