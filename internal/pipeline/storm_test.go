package pipeline

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

// counted is what the kernel side keeps of n resets like e.
func counted(e probe.ResetEvent, n uint64) probe.Counted {
	return probe.Counted{Key: probe.StormOf(&e), Count: probe.Storm{
		Owner: e.Owner, Count: n, FirstNs: e.TimeNs, LastNs: e.TimeNs + 5*ms, PeerPort: e.PeerPort,
	}}
}

func closedPort(at uint64, peer string, port uint16) probe.ResetEvent {
	e := lateSend(at, 1)
	e.Flags, e.TriggerFlags, e.Owner, e.Cookie, e.How = flagTrigger, segSYN, probe.Owner{}, 0, 0
	e.PeerAddr, e.LocalPort = netip.MustParseAddr(peer).As16(), port
	return e
}

func lines(storms []event.Storm) []string {
	var out []string
	for _, st := range storms {
		out = append(out, fmt.Sprintf("%d %s %s :%d %s", st.Count, st.Direction, st.Cause, st.LocalPort, st.Remote))
	}
	return out
}

// TestStormLines: one line for a group; many addresses become prefixes, many
// ports none.
func TestStormLines(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   func() []probe.Counted
		want []string
	}{
		{"one group", func() []probe.Counted {
			other := closedPort(ms, "198.51.100.1", 80)
			other.Reason = 1 // differs, and makes the same cause
			return []probe.Counted{counted(closedPort(ms, "198.51.100.1", 80), 5), counted(other, 6)}
		}, []string{"11 sent closed-port :80 198.51.100.1/32"}},
		{"a scan from one network", func() (l []probe.Counted) {
			for i := range 65 {
				l = append(l, counted(closedPort(ms, fmt.Sprintf("198.51.100.%d", i), 80), 2))
			}
			return l
		}, []string{"130 sent closed-port :80 198.51.100.0/24"}},
		{"from many networks", func() (l []probe.Counted) {
			for i := range 100 {
				l = append(l, counted(closedPort(ms, fmt.Sprintf("198.51.%d.9", i), 80), 1))
			}
			return l
		}, []string{"100 sent closed-port :80 198.51.0.0/16"}},
		{"from everywhere", func() (l []probe.Counted) {
			for i := range 100 {
				l = append(l, counted(closedPort(ms, fmt.Sprintf("%d.51.0.9", i+20), 80), 1))
			}
			return l
		}, []string{"100 sent closed-port :80 0.0.0.0/0"}},
		{"IPv6", func() (l []probe.Counted) {
			for i := range 100 {
				l = append(l, counted(closedPort(ms, fmt.Sprintf("2001:db8:0:%x::9", i), 80), 1))
			}
			return l
		}, []string{"100 sent closed-port :80 2001:db8::/48"}},
		{"a scan of ports", func() (l []probe.Counted) {
			for i := range 100 {
				l = append(l, counted(closedPort(ms, "198.51.100.1", uint16(i+1)), 1))
			}
			return l
		}, []string{"100 sent closed-port :0 198.51.100.1/32"}},
		{"a scan of ports beside a flood to one, from everywhere but for one", func() (l []probe.Counted) {
			for i := range 100 {
				l = append(l, counted(closedPort(ms, "198.51.100.1", uint16(i+1)), 1))
			}
			for i := range 100 {
				l = append(l, counted(closedPort(ms, fmt.Sprintf("%d.51.0.9", i+20), 8080), 2))
			}
			return append(l, counted(closedPort(ms, "203.0.113.7", 8080), 90))
		}, []string{"200 sent closed-port :8080 0.0.0.0/0", "100 sent closed-port :0 198.51.100.1/32", "90 sent closed-port :8080 203.0.113.7/32"}},
		{"two owners", func() []probe.Counted {
			_, a := activePair(ms)
			b := a
			b.Owner = proc(2)
			return []probe.Counted{counted(a, 3), counted(b, 2)}
		}, []string{"3 sent unread-data :1000 127.0.0.1/32", "2 sent unread-data :1000 127.0.0.1/32"}},
	} {
		live := &fakeKernel{storms: tt.in()}
		s, out := newTestSession(t, live, Options{})
		s.turnStorms(endOfTime)
		s.tellStorms()
		if diff := cmp.Diff(tt.want, lines(out.storms)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestStormAccount: every reset that was only counted is told, filtered,
// joined or lost.
func TestStormAccount(t *testing.T) {
	_, mine := activePair(10 * ms)
	theirs := mine
	theirs.Owner, theirs.LocalPort = proc(2), 7
	tears := mine
	tears.State, tears.Flags, tears.TriggerFlags, tears.Reason = 7, flagTrigger|flagDead, segACK, 0
	broken := mine
	broken.Socket = 9
	live := &fakeKernel{
		counts: probe.Counts{Seen: 150, LostRing: 4, Filtered: 1, Joined: 30, Aggregated: 114, Submitted: 1},
		storms: []probe.Counted{counted(mine, 50), counted(theirs, 20), counted(tears, 31), counted(broken, 3)},
	}
	s, out := newTestSession(t, live, Options{Select: Select{PIDs: []uint32{1<<22 + 1}}})
	feed(s, rawReset(ms))
	if err := s.end(nil); err != nil {
		t.Fatal(err)
	}
	// 10 were counted and are in no line.
	want := event.Account{Seen: 150, Filtered: 1 + 20, Joined: 30, Delivered: 1, Aggregated: 50 + 30 + 1, Lost: 17, LostRing: 4, LostDecode: 3 + 10}
	if diff := cmp.Diff(want, out.summary.Account); diff != "" || !want.Balanced() {
		t.Errorf("account (-want +got):\n%s", diff)
	}
	told := uint64(0)
	for _, st := range out.storms {
		told += st.Count
		if st.Owner == nil || st.Owner.PID != 1<<22+1 {
			t.Errorf("told of %+v", st.Owner)
		}
	}
	if told != want.Aggregated {
		t.Errorf("%d told in lines: %v", told, lines(out.storms))
	}
}

// TestStormInDoubt: an owner that is only stored is a candidate, unless it closed
// the sockets itself, and no filter by process leaves it out.
func TestStormInDoubt(t *testing.T) {
	e := rawReset(ms)
	e.Flags |= flagDoubt
	one := counted(e, 5)
	one.Unconfirmed = math.MaxUint64 // the kernel side had no room to note the closes
	e.Owner.StartNs++                // another process
	two := counted(e, 7)
	e.Owner.StartNs++
	three := counted(e, 100)
	three.Unconfirmed = 3
	s, out := newTestSession(t, &fakeKernel{storms: []probe.Counted{one, two, three}}, Options{Select: Select{PIDs: []uint32{e.Owner.Tgid}}})
	s.turnStorms(endOfTime)
	s.tellStorms()
	if len(out.storms) != 4 {
		t.Fatalf("told %v", lines(out.storms))
	}
	for _, st := range out.storms {
		switch st.Count {
		case 5, 3:
			if st.Owner != nil || st.OwnerProven || len(st.Others) != 1 || st.Others[0].PID != e.Owner.Tgid {
				t.Errorf("in doubt: owner %+v, others %+v", st.Owner, st.Others)
			}
		case 7, 97:
			if st.Owner == nil || !st.OwnerProven || len(st.Others) != 0 {
				t.Errorf("confirmed: owner %+v, others %+v", st.Owner, st.Others)
			}
		}
	}
}

// TestStormVerdict: that of a like record told in full lately, and no other.
func TestStormVerdict(t *testing.T) {
	var a stormAccount
	_, e := activePair(10 * ms)
	other := e
	other.LocalPort++
	a.remember(&e, &event.Reset{Verdict: &event.Verdict{Rule: "x"}}, 1e9)
	k, o := probe.StormOf(&e), probe.StormOf(&other)
	if v := a.verdict(&k, 5e9); v == nil || v.Rule != "x" {
		t.Errorf("verdict %+v", v)
	}
	if a.verdict(&k, 12e9) != nil || a.verdict(&o, 5e9) != nil {
		t.Error("a verdict of another time or kind")
	}
	for i := range uint64(3 * verdictsMax) {
		e.LocalPort = uint16(i)
		a.remember(&e, &event.Reset{Verdict: &event.Verdict{}}, 2e9)
	}
	if len(a.verdicts) > verdictsMax {
		t.Errorf("%d verdicts are kept", len(a.verdicts))
	}
}

func TestStormReplays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.rec")
	rec, err := NewRecorder(RecordOptions{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	_, mine := activePair(10 * ms)
	live := &fakeKernel{
		counts: probe.Counts{Seen: 16, Aggregated: 15, Submitted: 1},
		storms: []probe.Counted{counted(mine, 9), counted(closedPort(ms, "198.51.100.1", 80), 6)},
	}
	opts := Options{Record: rec, Host: "h"}
	s, out := newTestSession(t, live, opts)
	if err := rec.start(header(opts, s.names, s.clock)); err != nil {
		t.Fatal(err)
	}
	feed(s, rawReset(ms))
	if err := s.end(nil); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := replay(file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	prefix := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if diff := cmp.Diff(out.storms, again.storms, cmpProcess, prefix); diff != "" || len(out.storms) != 2 {
		t.Errorf("storms (-live +replay):\n%s", diff)
	}
	if diff := cmp.Diff(out.summary, again.summary, cmpAddr); diff != "" {
		t.Errorf("summary (-live +replay):\n%s", diff)
	}
	narrow, err := replay(file, Options{Filter: probe.Filter{LocalPorts: []uint16{80}}})
	if err != nil {
		t.Fatal(err)
	}
	if a := narrow.summary.Account; len(narrow.storms) != 1 || a.Aggregated != 6 || !a.Balanced() {
		t.Errorf("narrowed to one port: %v, account %+v", lines(narrow.storms), a)
	}
}
