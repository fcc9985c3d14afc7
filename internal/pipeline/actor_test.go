package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

const flagActor = 1 << 15

func TestActor(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*probe.ResetEvent)
		want string
	}{
		{"closed by the process", func(*probe.ResetEvent) {}, "process 1"},
		{"closed, and the closer is only stored", func(e *probe.ResetEvent) { e.How = howShut }, "process 0"},
		{"ss -K", func(e *probe.ResetEvent) { e.Flags |= flagActor; e.Actor = proc(9); e.How = howConnect }, "killer 9"},
		{"ss -K of the listener", func(e *probe.ResetEvent) {
			e.Flags = flagCounters | flagActor
			e.Actor, e.How = proc(9), howInherit
		}, "killer 9"},
		{"its own SOCK_DESTROY", func(e *probe.ResetEvent) { e.Flags |= flagActor; e.Actor = proc(1) }, "process 1"},
		{"a late segment", func(e *probe.ResetEvent) { *e = lateSend(e.TimeNs, 1) }, "kernel 0"},
		{"made by a firewall", func(e *probe.ResetEvent) { e.Hook = hookFirewall }, "firewall 0"},
		{"received", func(e *probe.ResetEvent) { *e, _ = activePair(e.TimeNs) }, "peer 0"},
	} {
		s, out := newTestSession(t, &fakeKernel{}, Options{})
		_, e := activePair(10 * ms)
		tt.set(&e)
		feed(s, e)
		s.tick(900*ms, 900*ms, false)
		a := out.resets[0].Actor
		pid := uint32(0)
		if a.Process != nil {
			pid = a.Process.PID - 1<<22
		}
		if got := fmt.Sprint(a.Kind, " ", pid); got != tt.want {
			t.Errorf("%s: %s, want %s (cause %s)", tt.name, got, tt.want, out.resets[0].Cause)
		}
	}
}

// TestOthers: the other holders, and where the owner is unknown all who may be.
func TestOthers(t *testing.T) {
	for _, tt := range []struct {
		name    string
		set     func(*probe.ResetEvent)
		closer  uint32
		holders []uint32
		want    string // owner, then others
	}{
		{"alone", inDoubt, 0, []uint32{1, 1}, "1:"},
		{"shared, the opener among them", shared, 0, []uint32{2, 1, 3, 2}, "1: 2 3"},
		{"acted while others held it", func(e *probe.ResetEvent) { shared(e); e.How = howCurrent }, 0, []uint32{1, 2}, "1: 2"},
		{"unknown: holders and opener", shared, 0, []uint32{2, 3}, "-: 1 2 3"},
		{"unknown: closed by another", shared, 4, nil, "-: 1 4"},
		{"a leaked descriptor closed last, both held it", shared, 2, []uint32{1, 2}, "1: 2"},
		{"born after the reset", shared, 0, []uint32{1, 200}, "1:"},
		{"many", shared, 0, []uint32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, "1: 2 3 4 5 6 7 8 9"},
	} {
		s, out := newTestSession(t, &fakeKernel{}, Options{})
		e := rawReset(100)
		tt.set(&e)
		feed(s, e)
		p := s.queue[0]
		if tt.closer != 0 {
			s.closer(closerOf(&p.raw, proc(tt.closer)))
		}
		for _, h := range tt.holders {
			p.holders = append(p.holders, proc(h))
		}
		s.tick(900*ms, 900*ms, false)
		r := out.resets[0]
		who, others := "-", []string{}
		if r.Owner != nil {
			who = fmt.Sprint(r.Owner.PID - 1<<22)
		}
		for _, o := range r.Others {
			others = append(others, fmt.Sprint(o.PID-1<<22))
		}
		slices.Sort(others)
		if got := strings.TrimSpace(who + ": " + strings.Join(others, " ")); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestForgedStory: a recording is a foreign file.
func TestForgedStory(t *testing.T) {
	long := strings.Repeat("a", 65)
	for _, id := range []string{"", "\x1b[2J", "a b", long, "G-1-1"} {
		var res Resolution
		st := story{Twin: id, Actor: event.ActorKind("\x1b"), Others: make([]event.Process, 100)}
		st.restore(&res)
		if res.Twin != "" || res.Actor != "" || len(res.Others) != othersMax {
			t.Errorf("twin %q: %+v", id, res.Twin)
		}
	}
}
