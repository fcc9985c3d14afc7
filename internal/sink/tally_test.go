package sink

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rstwhy/internal/event"
)

func session() event.Summary {
	t := Tally{Start: at("2026-11-24T00:00:00Z"), Host: "h"}
	all := samples()
	for i := range all {
		t.Add(&all[i].r)
	}
	for range 200 {
		t.Add(&all[0].r)
	}
	s := t.Summary(at("2026-11-24T00:03:12Z"))
	s.Account = event.Account{Seen: 420, Filtered: 12, Joined: 200, Delivered: 205, Lost: 3, LostRing: 2, LostRecursion: 1}
	s.Warnings = []string{"tcp_destroy_sock could not be attached: sockets that moved between processes keep the name of the first"}
	return s
}

func TestSummaryGolden(t *testing.T) {
	s := session()
	var out bytes.Buffer
	if err := NewText(&out, TextOptions{}).Summary(&s); err != nil {
		t.Fatal(err)
	}
	golden(t, "summary", out.Bytes())
	checkLines(t, out.Bytes(), 80)
}

func TestSummaryHostile(t *testing.T) {
	for _, s := range []string{evil, strings.Repeat("b", 1<<20)} {
		var tally Tally
		r := hostile(s).r
		for range 6 {
			tally.Add(&r)
		}
		sum := tally.Summary(time.Now())
		sum.Warnings = []string{s}
		var out bytes.Buffer
		if err := NewText(&out, TextOptions{Width: 80}).Summary(&sum); err != nil {
			t.Fatal(err)
		}
		checkLines(t, out.Bytes(), 80)
		if out.Len() > 10_000 {
			t.Errorf("%d bytes", out.Len())
		}
	}
}

func TestTally(t *testing.T) {
	s := session()
	if s.Sent != 203 || s.Received != 2 || s.OwnersUnknown != 1 || s.DurationNS != int64(192*time.Second) {
		t.Errorf("totals: %d sent, %d received, %d unknown, %d ns", s.Sent, s.Received, s.OwnersUnknown, s.DurationNS)
	}
	want := []event.Tally{{Key: "192.168.2.171:10245", Sent: 202}, {Key: "10.195.88.73", Received: 1}, {Key: "192.168.4.9", Sent: 1},
		{Key: "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff", Received: 1}}
	if diff := cmp.Diff(want, s.ByRemote); diff != "" {
		t.Errorf("remote ends (-want +got):\n%s", diff)
	}
	want = []event.Tally{{Key: "java[2211] kafka.Kafka", Sent: 202}, {Key: "(no process)", Sent: 1}, {Key: "(process unknown)", Received: 1},
		{Key: "curl[881]", Received: 1}}
	if diff := cmp.Diff(want, s.ByProcess); diff != "" {
		t.Errorf("processes (-want +got):\n%s", diff)
	}
}

func TestTallyIsBounded(t *testing.T) {
	var tally Tally
	r := samples()[0].r
	r.Verdict, r.ZooKeeper = nil, nil
	for i := range 3 * MaxKeys {
		r.Peer.Port = uint16(i)
		r.Cause = fmt.Sprint(i)
		r.Owner = &event.Process{PID: uint32(i + 1)}
		tally.Add(&r)
	}
	s := tally.Summary(time.Now())
	for name, rows := range map[string][]event.Tally{"cause": s.ByCause, "process": s.ByProcess, "remote": s.ByRemote} {
		if len(rows) != MaxKeys+1 || rows[MaxKeys] != (event.Tally{Key: Others, Sent: 2 * MaxKeys}) {
			t.Errorf("%s: %d rows, the last is %+v", name, len(rows), rows[len(rows)-1])
		}
		var sum uint64
		for _, row := range rows {
			sum += row.Sent
		}
		if sum != 3*MaxKeys {
			t.Errorf("%s: the rows count %d resets of %d", name, sum, 3*MaxKeys)
		}
	}
}

func TestTallyTiesAreDeterministic(t *testing.T) {
	first := session()
	for range 20 {
		if diff := cmp.Diff(first, session(), cmp.Comparer(func(a, b event.Server) bool { return a == b })); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestTallyReusedPID(t *testing.T) {
	var tally Tally
	r := samples()[1].r
	tally.Add(&r)
	other := *r.Owner
	other.StartTime = other.StartTime.Add(time.Hour)
	r.Owner = &other
	tally.Add(&r)
	if rows := tally.Summary(time.Now()).ByProcess; len(rows) != 2 {
		t.Errorf("two processes with one pid were counted as %+v", rows)
	}
}

func TestTallyServer(t *testing.T) {
	var tally Tally
	r := samples()[0].r
	step := func(o event.Outcome, version string, age time.Duration) {
		z := *r.ZooKeeper
		z.Server = &event.Server{Address: r.Peer.Address, Port: 2181, Outcome: o, Version: version, AgeNS: int64(age)}
		r.ZooKeeper = &z
		tally.Add(&r)
	}
	now := r.Time.Add(time.Minute)
	step(event.OutcomePending, "", 0)
	step(event.OutcomeOK, "3.4.13", 5*time.Second)
	step(event.OutcomeOK, "3.4.12", 9*time.Second) // an older answer that is delivered late
	step(event.OutcomePending, "", 0)
	got := tally.Summary(now).Servers
	if len(got) != 1 || got[0].Version != "3.4.13" || got[0].AgeNS != int64(65*time.Second) {
		t.Errorf("server: %+v", got)
	}
	step(event.OutcomeNotServing, "", 0)
	if got = tally.Summary(now).Servers; got[0].Outcome != event.OutcomeNotServing {
		t.Errorf("a later answer did not replace the earlier: %+v", got)
	}
	r.NetNS++
	step(event.OutcomeOK, "3.9.3", 0)
	if got = tally.Summary(now).Servers; len(got) != 2 {
		t.Errorf("the same address in another network namespace is another server: %+v", got)
	}
}

func TestTallyStrongestVerdict(t *testing.T) {
	var tally Tally
	r := samples()[0].r
	for _, c := range []event.Confidence{event.Possible, event.Proven, event.Likely} {
		r.Verdict = &event.Verdict{Rule: "r", Title: string(c), Confidence: c, Do: []string{string(c)}}
		tally.Add(&r)
	}
	want := []event.VerdictTally{{
		Rule: "r", Title: "proven", Confidence: event.Proven, Resets: 3, Do: []string{"proven"}, Proven: 1, Likely: 1, Possible: 1,
		Pairs: []event.Pair{{Process: "java[2211] kafka.Kafka", Remote: "192.168.2.171:10245", Sent: 3}},
		About: "java[2211] kafka.Kafka and 192.168.2.171:10245",
	}}
	if diff := cmp.Diff(want, tally.Summary(time.Now()).Verdicts); diff != "" {
		t.Error(diff)
	}
}

func TestCommonRemote(t *testing.T) {
	for _, c := range []struct {
		name string
		rows []event.Tally
		want string
	}{
		{"too few", []event.Tally{{Key: "1.2.3.4:2181", Sent: 4}}, ""},
		{"all", []event.Tally{{Key: "1.2.3.4:2181", Sent: 3, Received: 2}}, "It all points at one remote endpoint: all 5 resets are with 1.2.3.4:2181."},
		{"four of five", []event.Tally{{Key: "1.2.3.4:2181", Sent: 4}, {Key: "9.9.9.9", Sent: 1}}, "It points at one remote endpoint: 4 of 5 resets (80 %) are with 1.2.3.4:2181."},
		{"just under", []event.Tally{{Key: "1.2.3.4:2181", Sent: 79}, {Key: "9.9.9.9", Sent: 21}}, ""},
		{"two ports of one address", []event.Tally{{Key: "1.2.3.4:2181", Sent: 5}, {Key: "1.2.3.4:2182", Sent: 5}}, "It all points at one remote address: all 10 resets are with 1.2.3.4."},
		{"address", []event.Tally{{Key: "fe80::1", Received: 9}}, "It all points at one remote address: all 9 resets are with fe80::1."},
		{"loopback", []event.Tally{{Key: "127.0.0.1", Sent: 9}, {Key: "10.0.0.1", Sent: 1}}, "It is within this host: 9 of 10 resets (90 %) are with 127.0.0.1, the loopback address."},
		{"the rest is no endpoint", []event.Tally{{Key: "1.2.3.4", Sent: 1}, {Key: Others, Sent: 99}}, ""},
	} {
		s := event.Summary{ByRemote: c.rows}
		for _, row := range c.rows {
			s.Sent += row.Sent
			s.Received += row.Received
		}
		if got := commonRemote(&s); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
