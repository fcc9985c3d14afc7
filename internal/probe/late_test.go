package probe

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"rstwhy/internal/event"
)

// at gives a time on the test's own clock.
func at(seconds int) time.Time {
	return time.Unix(1_000_000, 0).Add(time.Duration(seconds) * time.Second)
}

// look is one look at a module, and what the kernel answers if a try follows.
type look struct {
	module  uint64
	answer  error
	pins    bool
	wantTry bool
}

var errNoFentry = errors.New("no fentry")

// run looks once a second, from second 1 on, at a module that is not there at
// second 0.
func run(t *testing.T, looks []look) *lateHook {
	t.Helper()
	h := &lateHook{hook: hookNamed("firewall-ipv4")}
	for i, l := range looks {
		try := h.look(l.module, at(i))
		if try != l.wantTry {
			t.Errorf("look %d: try %v, want %v", i+1, try, l.wantTry)
		}
		if try {
			h.tried(l.answer, l.pins, at(i+1))
		}
	}
	return h
}

// spans are the gaps as seconds from the start; an open one ends at -1.
func spans(g gaps) (out [][2]int) {
	for i := range g {
		from := int(g[i].From.Sub(at(0)) / time.Second)
		to := -1
		if g[i].DurationNS >= 0 {
			to = from + int(time.Duration(g[i].DurationNS)/time.Second)
		}
		out = append(out, [2]int{from, to})
	}
	return out
}

func TestLateModule(t *testing.T) {
	loaded := justLoaded("nf_reject_ipv4")
	for _, c := range []struct {
		name     string
		looks    []look
		attached bool
		gaps     [][2]int
		why      []string
	}{
		{"never loaded", []look{{}, {}, {}}, false, nil, nil},
		{
			"loaded, and pinned whatever sysfs says", []look{{}, {7, nil, true, true}, {7, nil, true, false}, {0, nil, true, false}, {8, nil, true, false}},
			true, [][2]int{{1, 2}}, []string{loaded},
		},
		{
			"not ready at once", []look{{7, errNoFentry, true, true}, {7, nil, true, true}, {7, nil, true, false}},
			true, [][2]int{{0, 2}}, []string{loaded},
		},
		{
			"never to be attached", []look{{7, errNoFentry, true, true}, {7, errNoFentry, true, true}, {7, errNoFentry, true, true}, {7, nil, true, false}},
			false, [][2]int{{0, -1}}, []string{"no fentry"},
		},
		{
			"loaded again after that", []look{
				{7, errNoFentry, true, true}, {7, errNoFentry, true, true}, {7, errNoFentry, true, true}, {0, nil, true, false}, {8, nil, true, true},
			},
			true, [][2]int{{0, 3}, {4, 5}}, []string{"no fentry", loaded},
		},
		{
			"a kprobe goes with its module", []look{{7, nil, false, true}, {7, nil, false, false}, {0, nil, false, false}, {0, nil, false, false}},
			false, [][2]int{{0, 1}}, []string{loaded},
		},
		{
			"the module of a kprobe is another between two looks", []look{{7, nil, false, true}, {7, nil, false, false}, {8, nil, false, true}, {8, nil, false, false}},
			true, [][2]int{{0, 1}, {2, 3}}, []string{loaded, loaded},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := run(t, c.looks)
			if h.attached != c.attached {
				t.Errorf("attached %v, want %v", h.attached, c.attached)
			}
			if d := cmp.Diff(c.gaps, spans(h.gaps)); d != "" {
				t.Errorf("gaps (-want +got):\n%s", d)
			}
			var why []string
			for i := range h.gaps {
				why = append(why, h.gaps[i].Why)
			}
			if d := cmp.Diff(c.why, why); d != "" {
				t.Errorf("reasons (-want +got):\n%s", d)
			}
		})
	}
}

// TestLateLookIsRare: TendLate is called with every turn of the session.
func TestLateLookIsRare(t *testing.T) {
	l := &Live{log: zerolog.Nop(), late: late{looked: at(0), hooks: []*lateHook{{hook: &Hook{Name: "h", Module: "rstwhy_no_such_module"}}}}}
	l.TendLate(at(0).Add(lateLook - 1))
	if !l.late.looked.Equal(at(0)) {
		t.Error("looked within a second")
	}
	l.TendLate(at(0).Add(lateLook))
	if !l.late.looked.Equal(at(0).Add(lateLook)) {
		t.Error("did not look after a second")
	}
}

func TestLoadedModule(t *testing.T) {
	dir, err := os.ReadDir("/sys/module")
	if err != nil || len(dir) == 0 {
		t.Fatalf("no module to look at: %v", err)
	}
	name := dir[0].Name()
	if a, b := loadedModule(name), loadedModule(name); a == 0 || a != b {
		t.Errorf("module %s is %d and then %d", name, a, b)
	}
	if n := loadedModule("rstwhy_no_such_module"); n != 0 {
		t.Errorf("a module that nobody wrote is %d", n)
	}
}

// TestGapsOfFirewall: a hook that this kernel refuses, or whose module is not
// there, is a gap from the start on; an attached one is none, nor is one that
// the hook for every packet stands in for.
func TestGapsOfFirewall(t *testing.T) {
	needRoot(t)
	for _, firewall := range []bool{false, true} {
		l, err := Open(Options{Log: zerolog.Nop(), Firewall: firewall})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		seen := map[string]event.Gap{}
		for _, g := range l.Gaps(time.Now()) {
			seen[g.Hook] = g
		}
		met := 0
		for _, st := range l.Hooks() {
			if st.Hook.Module == "" {
				continue
			}
			met++
			g, gap := seen[st.Hook.Name]
			if want := l.links[st.Hook.Name] == nil && l.links[deviceHook] == nil; gap != want {
				t.Errorf("firewall %v, %s: attached %v, gap %v", firewall, st.Hook.Name, st.Attached, gap)
			}
			if gap && (g.Why != st.Err.Error() || g.DurationNS < 0 || g.Without == "") {
				t.Errorf("the gap of %s is %+v, the hook failed by %v", st.Hook.Name, g, st.Err)
			}
		}
		if met != 2 {
			t.Errorf("%d hooks are in modules, there are 2", met)
		}
		l.Detach()
		a := l.Gaps(time.Now())
		if b := l.Gaps(time.Now().Add(time.Hour)); !cmp.Equal(a, b) {
			t.Errorf("gaps go on after the end: %v, then %v", a, b)
		}
	}
}

func TestGapsAreBounded(t *testing.T) {
	var g gaps
	h := hookNamed(refusedHook)
	for i := range maxGaps + 10 {
		g.begin(h, "", at(2*i))
		g.end(at(2*i + 1))
	}
	s := spans(g)
	if len(s) != maxGaps || s[0] != [2]int{0, 1} || s[1][0] != 2*11 || s[maxGaps-1][0] != 2*(maxGaps+9) {
		t.Errorf("%d gaps: the first %v and %v, the last %v", len(s), s[0], s[1], s[len(s)-1])
	}
	g.begin(h, "", at(1000))
	if u := g.until(at(1005)); spans(u)[maxGaps-1] != [2]int{1000, 1005} || g.open() == nil {
		t.Errorf("the open gap is %v until then, and open %v", spans(u)[maxGaps-1], g.open())
	}
}
