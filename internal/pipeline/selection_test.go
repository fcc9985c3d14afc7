package pipeline

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rstwhy/internal/diagnose"
	"rstwhy/internal/event"
	"rstwhy/internal/probe"
	"rstwhy/internal/sink"
)

func TestSelect(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	web := &event.Process{
		PID: 7, Comm: "nginx", ContainerID: id, ContainerName: "web", Pod: "web-0", PodNamespace: "shop", PodUID: "2f3b", Unit: "nginx.service",
	}
	dash := &event.Process{PID: 8, Comm: "sh", Unit: `a\x2db\x0a.scope`, Pod: "web-0"}
	owned := func(p *event.Process, others ...event.Process) event.Reset {
		return event.Reset{NetNS: 5, Cause: "late-data", Owner: p, Others: others, Verdict: &event.Verdict{Rule: "peer-silent"}}
	}
	records := map[string]event.Reset{
		"web": owned(web), "dash": owned(dash), "shared": owned(dash, *web), "unknown": owned(nil, *web), "nobody": owned(nil),
		"other": {NetNS: 6, Cause: "closed-port"},
	}
	some := func(names ...string) Terms[string] { return Terms[string]{Any: names} }
	none := func(names ...string) Terms[string] { return Terms[string]{None: names} }
	for _, tt := range []struct {
		name string
		s    Select
		want string
	}{
		{"all", Select{}, "dash nobody other shared unknown web"},
		{"pid", Select{PIDs: []uint32{7}}, "shared unknown web"},
		{"no pid", Select{NotPIDs: []uint32{7}}, "dash nobody other shared unknown"},
		{"one of them, not the other", Select{PIDs: []uint32{7, 8}, NotPIDs: []uint32{8}}, "unknown web"},
		{"comm", Select{Comms: []string{"nginx", "none"}}, "shared unknown web"},
		{"no comm", Select{NotComms: []string{"nginx", "sh"}}, "nobody other unknown"},
		{"container name", Select{Containers: some("web")}, "shared unknown web"},
		{"id prefix", Select{Containers: some(id[:4])}, "shared unknown web"},
		{"whole id", Select{Containers: some(id)}, "shared unknown web"},
		{"prefix too short", Select{Containers: some(id[:3])}, ""},
		{"not a prefix", Select{Containers: some(id[1:9])}, ""},
		{"beyond the id", Select{Containers: some(id + "0")}, ""},
		{"no container", Select{Containers: none("web")}, "dash nobody other shared unknown"},
		{"empty term", Select{Containers: some(""), Pods: none("")}, ""},
		{"pod", Select{Pods: some("web-0")}, "dash shared unknown web"},
		{"namespace and pod", Select{Pods: some("shop/web-0")}, "shared unknown web"},
		{"another namespace", Select{Pods: some("other/web-0", "/web-0", "shop/")}, ""},
		{"pod uid", Select{Pods: some("2f3b")}, "shared unknown web"},
		{"no pod", Select{Pods: none("shop/web-0")}, "dash nobody other shared unknown"},
		{"unit", Select{Units: some("nginx.service")}, "shared unknown web"},
		{"unit, short", Select{Units: some("nginx")}, "shared unknown web"},
		{"unit as systemctl writes it", Select{Units: some(`a\x2db\x0a.scope`)}, "dash shared"},
		{"unit as a person writes it", Select{Units: some("a-b\n.scope")}, "dash shared"},
		{"no unit", Select{Units: none("nginx")}, "dash nobody other shared unknown"},
		{"netns", Select{NetNS: Terms[uint32]{Any: []uint32{6}}}, "other"},
		{"no netns", Select{NetNS: Terms[uint32]{None: []uint32{5}}}, "other"},
		{"cause", Select{Causes: some("closed-port", "x")}, "other"},
		{"no cause", Select{Causes: none("late-data")}, "other"},
		{"verdict", Select{Verdicts: some("peer-silent")}, "dash nobody shared unknown web"},
		{"no verdict", Select{Verdicts: none("peer-silent")}, "other"},
		{"two filters", Select{Comms: []string{"nginx"}, Verdicts: some("peer-silent"), NotPIDs: []uint32{7}}, "shared unknown"},
	} {
		var got []string
		for name, r := range records {
			if tt.s.Match(&r) && tt.s.MatchDiagnosis(&r) {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, s, tt.want)
		}
		// What a recording's header keeps is the same filter.
		b, err := json.Marshal(tt.s)
		var again Select
		if err == nil {
			err = json.Unmarshal(b, &again)
		}
		if diff := cmp.Diff(tt.s, again); err != nil || diff != "" {
			t.Errorf("%s: %v (-given +read from %s):\n%s", tt.name, err, b, diff)
		}
	}
	var old Select
	if err := json.Unmarshal([]byte(`{"pids":[7],"comms":["nginx"],"zk":true}`), &old); err != nil || !cmp.Equal(old, Select{PIDs: []uint32{7}, Comms: []string{"nginx"}, ZK: true}) {
		t.Errorf("the filter of an old recording: %+v, %v", old, err)
	}
	if b, _ := json.Marshal(Select{}); string(b) != "{}" {
		t.Errorf("no filter is written as %s", b)
	}
}

func TestSelectStorm(t *testing.T) {
	storm := event.Storm{Cause: "closed-port", Remote: netip.MustParsePrefix("192.0.2.0/24"), NetNS: 5, Owner: &event.Process{PID: 7}}
	several := storm
	several.NetNS, several.Owner = 0, nil
	for name, tt := range map[string]struct {
		s           Select
		one, shared bool
	}{
		"all":       {Select{}, true, true},
		"cause":     {Select{Causes: Terms[string]{None: []string{"closed-port"}}}, false, false},
		"netns":     {Select{NetNS: Terms[uint32]{Any: []uint32{6}}}, false, true},
		"pid":       {Select{PIDs: []uint32{7}}, true, false},
		"no pid":    {Select{NotPIDs: []uint32{7}}, false, true},
		"verdict":   {Select{Verdicts: Terms[string]{Any: []string{"peer-silent"}}}, false, false},
		"ZooKeeper": {Select{ZK: true}, true, true},
	} {
		if one, shared := tt.s.MatchStorm(&storm), tt.s.MatchStorm(&several); one != tt.one || shared != tt.shared {
			t.Errorf("%s: %v and %v, want %v and %v", name, one, shared, tt.one, tt.shared)
		}
	}
	storm.Verdict = &event.Verdict{Rule: "peer-silent"}
	if (&Select{ZK: true}).MatchStorm(&storm) {
		t.Error("a storm that has nothing to do with ZooKeeper passes --zk")
	}
}

// A session that filters by cause is replayed as it was, and narrowed further.
func TestSelectByCauseIsReplayed(t *testing.T) {
	file, all := recordedSession(t, Options{})
	cause := all.resets[0].Cause
	for _, r := range all.resets {
		if r.Cause == "" {
			t.Fatalf("no cause: %+v", r)
		}
	}
	count := func(m *memory, want func(string) bool) (n int) {
		for _, r := range m.resets {
			if want(r.Cause) {
				n++
			}
		}
		return n
	}
	is := func(c string) bool { return c == cause }
	without := Select{Causes: Terms[string]{None: []string{cause}}}
	narrowed, err := replay(file, Options{Select: without})
	if err != nil || count(narrowed, is) != 0 || len(narrowed.resets) != len(all.resets)-count(all, is) || !narrowed.summary.Account.Balanced() {
		t.Errorf("replay without %s: %v, %d of %d records, %+v", cause, err, len(narrowed.resets), len(all.resets), narrowed.summary)
	}
	file, live := recordedSession(t, Options{Select: without})
	again, err := replay(file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(live.resets, again.resets, cmpAddr, cmpProcess, cmpEmpty); diff != "" {
		t.Errorf("recorded without %s (-live +replay):\n%s", cause, diff)
	}
	if diff := cmp.Diff(live.summary, again.summary, cmpAddr); diff != "" {
		t.Errorf("summary (-live +replay):\n%s", diff)
	}
}

// What is expected is counted, and not printed; -c counts what is printed.
func TestQuietExpected(t *testing.T) {
	closedPort := func(at uint64) probe.ResetEvent {
		e := rawReset(at)
		e.Socket, e.State, e.Flags, e.Owner, e.How, e.Cookie, e.FileRefs = socketNone, 0, flagTrigger, probe.Owner{}, 0, 0, 0
		e.TriggerFlags = 0x02 // SYN
		return e
	}
	run := func(opts Options) (*session, *memory) {
		t.Helper()
		s, out := newTestSession(t, &fakeKernel{counts: probe.Counts{Seen: 5, Submitted: 5}}, opts)
		feed(s, closedPort(ms), closedPort(2*ms), rawReset(3*ms), closedPort(4*ms), rawReset(5*ms))
		if err := s.end(nil); err != nil {
			t.Fatal(err)
		}
		return s, out
	}
	if _, out := run(Options{}); len(out.resets) != 5 || out.summary.Hidden != 0 || !diagnose.Expected(&out.resets[0]) || diagnose.Expected(&out.resets[2]) {
		t.Fatalf("the test shows nothing: %+v", out.resets)
	}
	_, out := run(Options{Select: Select{QuietExpected: true}})
	sum := out.summary
	if len(out.resets) != 2 || sum.Hidden != 3 || sum.Sent != 5 || sum.Account.Delivered != 5 || !sum.Account.Balanced() {
		t.Errorf("%d printed, summary %+v", len(out.resets), sum)
	}
	if _, out := run(Options{Count: 1, Select: Select{QuietExpected: true}}); len(out.resets) != 1 || out.resets[0].Time.UnixNano() != int64(3*ms) || !out.summary.Account.Balanced() {
		t.Errorf("-c 1: %d printed: %+v", len(out.resets), out.summary)
	}
}

func TestQuietExpectedIsReplayed(t *testing.T) {
	file, live := recordedSession(t, Options{Select: Select{QuietExpected: true}})
	again, err := replay(file, Options{})
	if err != nil || again.summary.Hidden != live.summary.Hidden || len(again.resets) != len(live.resets) {
		t.Errorf("%v: %d printed, %d hidden, live %d, %d", err, len(again.resets), again.summary.Hidden, len(live.resets), live.summary.Hidden)
	}
	if !bytes.Contains(file[:bytes.IndexByte(file, '\n')], []byte(`"quiet_expected":true`)) {
		t.Error("the header does not hold the filter")
	}
}

// Storms are left out as single resets are: filtered by what they share, and
// hidden where that is expected, but counted.
func TestQuietExpectedStorm(t *testing.T) {
	storm := func(cause, remote string) *event.Storm {
		return &event.Storm{Direction: event.Sent, Cause: cause, Count: 7, Remote: netip.MustParsePrefix(remote)}
	}
	for _, tt := range []struct {
		st     *event.Storm
		hidden bool
	}{
		{storm("closed-port", "198.51.100.9/32"), true},
		{storm("closed-port", "198.51.100.0/24"), true},
		{storm("closed-port", "10.0.0.0/24"), false},
		{storm("closed-port", "172.0.0.0/8"), false}, // private addresses among them
		{storm("unread-data", "198.51.100.9/32"), false},
	} {
		out := &stormLines{}
		s, _ := newTestSession(t, &fakeKernel{}, Options{Select: Select{QuietExpected: true}, Sinks: []sink.Sink{out}})
		s.finishStorm(tt.st)
		sum := s.summary(probe.Counts{Seen: 7, Aggregated: 7})
		if hidden := sum.Hidden == 7; hidden != tt.hidden || hidden == (out.n == 1) || sum.Sent != 7 || sum.Account.Aggregated != 7 || !sum.Account.Balanced() {
			t.Errorf("%s from %s: %d hidden, %d printed, %+v", tt.st.Cause, tt.st.Remote, sum.Hidden, out.n, sum.Account)
		}
	}
}

// stormLines counts the lines.
type stormLines struct {
	memory
	n int
}

func (s *stormLines) Storm(*event.Storm) error { s.n++; return nil }
