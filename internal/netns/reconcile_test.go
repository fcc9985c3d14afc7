package netns

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"rstwhy/internal/event"
)

func TestParse(t *testing.T) {
	var v values
	ok := "Ip: A B\nIp: 1 2\nTcp: MaxConn OutRsts InCsumErrors\nTcp: -1 7 3\nTcpExt: EmbryonicRsts New\nTcpExt: 9 5\nIcmp: InCsumErrors\nIcmp: 77\n"
	if err := parse([]byte(ok), &v); err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for i, c := range counters {
		if v[i] != 0 {
			got[c.name] = v[i]
		}
	}
	if want := map[string]uint64{"OutRsts": 7, "InCsumErrors": 3, "EmbryonicRsts": 9}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, bad := range []string{"Tcp: OutRsts\nTcpExt: 1\n", "Tcp: OutRsts\nTcp: 1 2\n", "Tcp: OutRsts\nTcp: x\n", "Tcp OutRsts\n", "Tcp: OutRsts\n"} {
		if err := parse([]byte(bad), &v); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("Tcp: OutRsts\nTcp: 7\n"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		var v values
		_ = parse(b, &v)
	})
}

// TestKernelHasThem: a counter of the table that this kernel does not have would
// never be reconciled.
func TestKernelHasThem(t *testing.T) {
	var both []byte
	for _, file := range []string{"snmp", "netstat"} {
		b, err := readWhole("/proc/thread-self/net/" + file)
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, b...)
	}
	for _, c := range counters {
		if !strings.Contains(string(both), " "+c.name+" ") && !strings.Contains(string(both), " "+c.name+"\n") {
			t.Errorf("%s: %s is not among the kernel's", c.group, c.name)
		}
	}
}

func at(name string, n uint64) values {
	var v values
	v[slotOf(name)] = n
	return v
}

func slotOf(name string) int {
	for i := range counters {
		if counters[i].name == name {
			return i
		}
	}
	panic(name)
}

// is tells that a counter was compared, with that result.
func is(agree *bool, want bool) bool { return agree != nil && *agree == want }

// TestExact: OutRsts against the hits, at the edges and beyond them.
func TestExact(t *testing.T) {
	edge := func(startLo, startHi, endLo, endHi, seenLo, seenHi uint64) track {
		return track{
			startLo: at("OutRsts", startLo), startHi: at("OutRsts", startHi), endLo: at("OutRsts", endLo), endHi: at("OutRsts", endHi),
			seenEndLo: seenLo, seenEndHi: seenHi,
		}
	}
	for _, tt := range []struct {
		name  string
		track track
		lost  Losses
		agree bool
		why   string
	}{
		{"same", edge(10, 10, 15, 15, 5, 5), Losses{}, true, ""},
		{"at the edges", edge(10, 12, 15, 16, 4, 4), Losses{}, true, "2 within the moments"},
		{"lowest of the edges", edge(10, 12, 15, 16, 3, 3), Losses{}, true, "3 within"},
		{"below the edges", edge(10, 12, 15, 16, 2, 2), Losses{}, false, "1 were sent that no hook saw"},
		{"highest of the edges", edge(10, 12, 15, 16, 6, 6), Losses{}, true, ""},
		{"above the edges", edge(10, 12, 15, 16, 7, 7), Losses{}, false, "1 more were seen than counted"},
		{"recursion", edge(10, 10, 15, 15, 3, 3), Losses{Recursion: 2}, true, "recursion misses"},
		{"too little recursion", edge(10, 10, 15, 15, 3, 3), Losses{Recursion: 1}, false, "no hook saw"},
		{"blind", edge(10, 10, 15, 15, 3, 3), Losses{Blind: "before Linux 6.10 ..."}, true, "before Linux 6.10"},
		{"late start", track{startLo: at("OutRsts", 10), startHi: at("OutRsts", 10), endLo: at("OutRsts", 12), endHi: at("OutRsts", 12), seenStartLo: 7, seenStartHi: 8, seenEndLo: 9, seenEndHi: 9, late: true}, Losses{}, true, "counted from"},
		{"gone", track{startLo: at("OutRsts", 10), startHi: at("OutRsts", 10), endLo: at("OutRsts", 12), endHi: at("OutRsts", 12), seenEndLo: 2, seenEndHi: 2, gone: true}, Losses{}, true, "cannot be reconciled"},
	} {
		got, ok := tt.track.check(slotOf("OutRsts"), &tt.lost)
		if !ok || !is(got.Agree, tt.agree) || !strings.Contains(got.Explanation, tt.why) || (tt.why == "" && got.Explanation != "") {
			t.Errorf("%s: %+v, want agree %v because %q", tt.name, got, tt.agree, tt.why)
		}
	}
	failed := edge(10, 10, 15, 15, 3, 3)
	failed.endHi[slotOf("TCPAbortFailed")] = 2
	if got, _ := failed.check(slotOf("OutRsts"), &Losses{}); !is(got.Agree, true) || !strings.Contains(got.Explanation, "no memory") {
		t.Errorf("resets that could not be made: %+v", got)
	}
	lost := Losses{Recursion: 2}
	for i, want := range []bool{true, false} { // one recursion miss explains one reset, not one of each namespace
		tr := edge(10, 10, 12, 12, 0, 0)
		if got, _ := tr.check(slotOf("OutRsts"), &lost); !is(got.Agree, want) {
			t.Errorf("namespace %d: %+v", i, got)
		}
	}
}

// TestOthers: the counters that count more than resets, and those that know
// alone.
func TestOthers(t *testing.T) {
	tr := track{endLo: at("EstabResets", 5), endHi: at("EstabResets", 5), mustEnd: map[string]uint64{"EstabResets": 3}}
	got, _ := tr.check(slotOf("EstabResets"), &Losses{})
	if !is(got.Agree, true) || got.Kernel != 5 || got.Seen != 3 || !strings.Contains(got.Explanation, "timed out without a reset") {
		t.Errorf("more than seen: %+v", got)
	}
	tr.mustEnd["EstabResets"] = 6
	if got, _ = tr.check(slotOf("EstabResets"), &Losses{}); !is(got.Agree, false) {
		t.Errorf("fewer than seen: %+v", got)
	}
	tr.mustStart = map[string]uint64{"EstabResets": 1}
	if got, _ = tr.check(slotOf("EstabResets"), &Losses{}); !is(got.Agree, true) || got.Explanation != "" {
		t.Errorf("as many as seen: %+v", got)
	}
	tr = track{endHi: at("TCPChallengeACK", 2)}
	if got, ok := tr.check(slotOf("TCPChallengeACK"), &Losses{}); !ok || got.Agree != nil || !strings.HasPrefix(got.Explanation, notCompared) || !strings.Contains(got.Explanation, "challenge ACK") {
		t.Errorf("only the counter knows: %+v", got)
	}
	if _, ok := tr.check(slotOf("TCPSYNChallenge"), &Losses{}); ok {
		t.Error("a counter that did not grow is told")
	}
}

// TestReusedNumber: the kernel reuses namespace numbers; what the hooks saw in
// a namespace that is gone, read or not, must not be held against the new one.
func TestReusedNumber(t *testing.T) {
	for name, old := range map[string]*track{"read": {gone: true, seenEndLo: 5, seenEndHi: 5}, "never read": nil} {
		c := NewCounters(NewSpaces())
		if old != nil {
			c.tracks[7] = old
		} else {
			c.spaces.spaces[7] = &space{young: true}
		}
		v := at("OutRsts", 2)
		seen := Seen{Hits: map[event.Hook]uint64{event.HookSend: 7}}
		tr := c.begin(7, &v, seen, seen)
		tr.endLo, tr.endHi, tr.seenEndLo, tr.seenEndHi = v, v, 7, 7
		if got, _ := tr.check(slotOf("OutRsts"), &Losses{}); !is(got.Agree, true) || got.Seen != 2 {
			t.Errorf("%s: %+v", name, got)
		}
		more := at("OutRsts", 9)
		tr.endLo, tr.endHi = more, more
		if got, _ := tr.check(slotOf("OutRsts"), &Losses{}); !is(got.Agree, false) {
			t.Errorf("%s, more counted than ever seen: %+v", name, got)
		}
	}
}

// TestNotCompared: what was not compared is neither in order nor in disorder,
// and the reason is told.
func TestNotCompared(t *testing.T) {
	const netns = 7
	grown := &track{endLo: at("OutRsts", 3), endHi: at("OutRsts", 3), seenEndLo: 3, seenEndHi: 3}
	hits := map[uint32]Seen{netns: {Hits: map[event.Hook]uint64{event.HookSend: 3}}}
	for _, tt := range []struct {
		name   string
		tracks map[uint32]*track
		seen   map[uint32]Seen
		unable error
		lost   Losses
		why    string
	}{
		{"came and went", nil, hits, nil, Losses{}, "came and went"},
		{"hits not known", map[uint32]*track{netns: grown}, nil, nil, Losses{NoHits: "map is gone"}, "map is gone"},
		{"nothing readable", nil, nil, errors.New("no /proc"), Losses{}, "no /proc"},
		{"nothing found", nil, nil, nil, Losses{}, "no network namespace was found"},
	} {
		c := NewCounters(NewSpaces())
		c.seen, c.unable = func() map[uint32]Seen { return tt.seen }, tt.unable
		if tt.tracks != nil {
			c.tracks = tt.tracks
		}
		got := c.Checks(tt.lost)
		if len(got) != 1 || got[0].Agree != nil || got[0].Counter != "OutRsts" || !strings.HasPrefix(got[0].Explanation, notCompared) || !strings.Contains(got[0].Explanation, tt.why) {
			t.Errorf("%s: %+v, want one that was not compared because %q", tt.name, got, tt.why)
		}
	}
}
