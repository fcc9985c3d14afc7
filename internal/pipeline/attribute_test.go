package pipeline

import (
	"fmt"
	"testing"
	"time"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

// attributeCases: process 1 is the one that the kernel side stored, 2 and 3
// are others. What cannot be known must be nobody.
var attributeCases = []struct {
	name    string
	set     func(*probe.ResetEvent)
	closer  uint32   // who closed the socket after the reset
	holders []uint32 // what the walk found
	earlier uint32   // who closed the socket after an earlier reset
	single  bool     // with one reference then
	noWalks bool     // the hook is not attached
	want    string   // process, source, proven
}{
	{name: "in a call on the socket", set: func(e *probe.ResetEvent) { e.How = howCurrent }, want: "1 current true"},
	{name: "stored by connect, no doubt", want: "1 socket false"},
	{name: "stored by close, orphan", set: closedOrphan, want: "1 socket true"},
	{name: "stored by shutdown, still open", set: func(e *probe.ResetEvent) { e.How, e.Ended = howShut, endedClose }, want: "1 socket false"},
	{name: "orphan that nobody was seen to close", set: func(e *probe.ResetEvent) { e.Flags = flagDead }, want: "1 socket false"},
	{name: "listener", set: func(e *probe.ResetEvent) { e.How, e.State = howListen, stateListen }, want: "1 listener false"},
	{name: "never accepted", set: func(e *probe.ResetEvent) { e.How = howInherit }, want: "1 listener false"},
	{name: "gone, closed by it", set: func(e *probe.ResetEvent) { e.Flags, e.Ended = flagTombstone, endedClose }, want: "1 tombstone true"},
	{name: "gone, never closed", set: func(e *probe.ResetEvent) { e.Flags = flagTombstone }, want: "1 tombstone false"},
	{name: "gone, and another closed it", set: func(e *probe.ResetEvent) { e.Flags = flagTombstone }, earlier: 2, single: true, want: "2 closer true"},
	{name: "gone, and a shared socket's last closer", set: func(e *probe.ResetEvent) { e.Flags = flagTombstone }, earlier: 2, want: "1 tombstone false"},
	{name: "gone, closed earlier by the stored", set: func(e *probe.ResetEvent) { e.Flags = flagTombstone }, earlier: 1, want: "1 closer true"},
	{name: "no socket, nobody", set: func(e *probe.ResetEvent) { *e = probe.ResetEvent{Kind: 1, Direction: sent} }, want: "- none false"},

	{name: "closed by the stored", set: inDoubt, closer: 1, want: "1 closer true"},
	{name: "handed over and closed there", set: inDoubt, closer: 2, want: "2 closer true"},
	{name: "leaked descriptor closed last", set: shared, closer: 2, want: "- none false"},
	{name: "leaked descriptor, the stored closed last", set: shared, closer: 1, want: "1 closer true"},
	{name: "leaked descriptor, one holder left, opened by another", set: shared, closer: 2, holders: []uint32{2, 2}, want: "- none false"},
	{name: "accepted, and who closed last was the only holder at the walk", set: sharedInherited, closer: 2, holders: []uint32{2, 2}, want: "- none false"},
	{name: "accepted, two holders", set: sharedInherited, closer: 2, holders: []uint32{2, 3}, want: "- none false"},
	{name: "accepted, closed by who does not hold it alone", set: sharedInherited, closer: 3, holders: []uint32{2}, want: "- none false"},

	{name: "nobody closed, not walked", set: inDoubt, want: "- none false"},
	{name: "nobody closed, no walks on this kernel", set: inDoubt, noWalks: true, want: "1 socket false"},
	{name: "the stored holds it", set: inDoubt, holders: []uint32{1}, want: "1 iterator true"},
	{name: "the stored holds it twice", set: shared, holders: []uint32{1, 1}, want: "1 iterator true"},
	{name: "another holds it alone", set: inDoubt, holders: []uint32{2}, want: "2 iterator false"},
	{name: "forked after the reset, holds it alone", set: inDoubt, holders: []uint32{200}, want: "- none false"},
	{name: "forked after the reset, closed last", set: inDoubt, closer: 200, want: "- none false"},
	{name: "another is left with a shared one", set: shared, holders: []uint32{2}, want: "- none false"},
	{name: "several, the stored among them", set: shared, holders: []uint32{2, 1}, want: "1 socket false"},
	{name: "several others", set: shared, holders: []uint32{2, 3}, want: "- none false"},
	{name: "a listener that another runs", set: sharedListener, holders: []uint32{2}, want: "2 iterator false"},
	{name: "a listener that several run", set: sharedListener, holders: []uint32{2, 3}, want: "- none false"},
}

// TestAnotherConnection: what took the addresses and ports after the RST did not
// refuse it, whoever has it.
func TestAnotherConnection(t *testing.T) {
	const at = 10 * ms
	for _, tt := range []struct {
		name   string
		buried probe.Tombstone
		opened uint64 // the found connection, as the walk tells
		held   bool
		ended  bool
		want   uint32 // the owner's pid
		state  uint8
	}{
		{name: "ended after it", buried: probe.Tombstone{Owner: proc(2), GoneNs: 20 * ms, OpenedNs: 5 * ms, LeftState: 4}, ended: true, want: 2, state: 4},
		{name: "opened and ended after it", buried: probe.Tombstone{Owner: proc(2), GoneNs: 20 * ms, OpenedNs: 15 * ms}, held: true},
		{name: "opened before", opened: 5 * ms, held: true, want: 3, state: stateEstablished},
		{name: "opened before rstwhy", held: true, want: 3, state: stateEstablished},
		{name: "opened after", opened: 15 * ms, held: true},
		{name: "nobody tells when"},
	} {
		live := &fakeKernel{tombstones: map[uint64]probe.Tombstone{}}
		if tt.buried.GoneNs != 0 {
			live.tombstones[at] = tt.buried
		}
		s, _ := newTestSession(t, live, Options{})
		s.names.States = map[uint8]string{1: "ESTABLISHED", 4: "FIN_WAIT1", 10: "LISTEN"}
		p := &pending{raw: rawReset(at)}
		p.raw.Hook, p.raw.Direction, p.raw.Flags, p.raw.Owner, p.raw.State, p.raw.Socket = hookDrop, received, 1<<17, probe.Owner{}, 0, 0
		if got := s.ended(p); got != tt.ended {
			t.Errorf("%s: ended %t", tt.name, got)
		}
		if !tt.ended {
			before := p.raw
			p.before, p.sought, p.latest = &before, 7, tt.opened
			p.raw.State, p.raw.Socket = stateEstablished, 1
			if tt.held {
				p.holders = []probe.Owner{proc(3)}
			}
		}
		res := Resolution{Raw: p.raw}
		s.attribute(p, &res)
		pid := uint32(0)
		if res.Owner != nil {
			pid = uint32(res.Owner.PID)
		}
		want := uint32(0)
		if tt.want != 0 {
			want = proc(tt.want).Tgid
		}
		if pid != want || res.Raw.State != tt.state {
			t.Errorf("%s: owner %d, state %d, want %d, %d", tt.name, pid, res.Raw.State, want, tt.state)
		}
	}
}

func closedOrphan(e *probe.ResetEvent) { e.How, e.Ended, e.Flags = howShut, endedClose, flagDead }
func inDoubt(e *probe.ResetEvent)      { e.Flags = flagDoubt }
func shared(e *probe.ResetEvent)       { e.Flags, e.FileRefs = flagDoubt, 2 }
func sharedInherited(e *probe.ResetEvent) {
	shared(e)
	e.How = howInherit
}
func sharedListener(e *probe.ResetEvent) {
	shared(e)
	e.How, e.State = howListen, stateListen
}

func TestAttribute(t *testing.T) {
	for _, tt := range attributeCases {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newTestSession(t, &fakeKernel{}, Options{})
			s.walks.possible = !tt.noWalks
			p := &pending{raw: rawReset(100)}
			if tt.set != nil {
				tt.set(&p.raw)
			}
			p.stored, p.doubt = s.complete(&p.raw.Owner), probe.Doubtful(&p.raw)
			s.byCookie[p.raw.Cookie] = []*pending{p}
			if tt.closer != 0 {
				s.closer(closerOf(&p.raw, proc(tt.closer)))
			}
			if tt.earlier != 0 {
				s.closers.put(p.raw.Cookie, closedBy{new(proc(tt.earlier)), tt.single}, p.raw.TimeNs)
			}
			for _, h := range tt.holders {
				p.holders = append(p.holders, proc(h))
			}
			res := Resolution{Raw: p.raw, Source: event.SourceNone}
			s.attribute(p, &res)
			if got := resolved(&res); got != tt.want {
				t.Errorf("owner, source, proven: %s, want %s", got, tt.want)
			}
		})
	}
}

func resolved(res *Resolution) string {
	who := "-"
	if res.Owner != nil {
		who = fmt.Sprint(res.Owner.PID - 1<<22)
	}
	return fmt.Sprint(who, " ", res.Source, " ", res.Proven)
}

// TestAttributeNamesNobody: in a foreign pid namespace pids mean others.
func TestAttributeNamesNobody(t *testing.T) {
	for _, tt := range attributeCases {
		s, _ := newTestSession(t, &fakeKernel{}, Options{NoNames: true})
		p := &pending{raw: rawReset(100)}
		if tt.set != nil {
			tt.set(&p.raw)
		}
		p.stored = s.complete(&p.raw.Owner)
		res := Resolution{Raw: p.raw, Source: event.SourceNone}
		s.attribute(p, &res)
		if got := resolved(&res); got != "- none false" {
			t.Errorf("%s: owner, source, proven: %s", tt.name, got)
		}
	}
}

// TestClosersBounded: what is remembered of closers does not grow for ever, and
// the newest are kept.
func TestClosersBounded(t *testing.T) {
	c := newClosers()
	for n := range uint64(5 * closersMax) {
		c.put(n, closedBy{owner: new(proc(1))}, n)
	}
	if n := len(c.now) + len(c.old); n > 2*closersMax {
		t.Errorf("%d closers are remembered", n)
	}
	for _, n := range []uint64{5*closersMax - 1, 4*closersMax + 1} {
		if _, ok := c.get(n); !ok {
			t.Errorf("closer %d of %d is forgotten", n, 5*closersMax)
		}
	}
}

// TestClosersExpire: a quiet host forgets closers too, and a busy one does not
// sooner than closersKeep.
func TestClosersExpire(t *testing.T) {
	c := newClosers()
	c.expire(closersKeep)
	c.put(1, closedBy{owner: new(proc(1))}, closersKeep)
	c.expire(2*closersKeep - 1)
	c.put(2, closedBy{owner: new(proc(1))}, 2*closersKeep-1)
	c.expire(2 * closersKeep)
	for n := range uint64(2) {
		if _, ok := c.get(n + 1); !ok {
			t.Errorf("closer %d is forgotten", n+1)
		}
	}
	c.expire(3 * closersKeep)
	if len(c.now)+len(c.old) != 0 {
		t.Errorf("%d closers are remembered", len(c.now)+len(c.old))
	}
}

// TestClosersShareOwners: one server closes thousands of sockets.
func TestClosersShareOwners(t *testing.T) {
	c := newClosers()
	one, again, other := proc(1), proc(1), proc(2)
	first := c.share(&one)
	if c.share(&again) != first || first == &one || *first != one {
		t.Error("a process that closes twice is kept twice")
	}
	if second := c.share(&other); *second != other || *first != one {
		t.Errorf("two processes became %v and %v", *first, *second)
	}
}

// TestDescriptionsExpire: one that is too old to be used is not kept.
func TestDescriptionsExpire(t *testing.T) {
	s, _ := newTestSession(t, &fakeKernel{}, Options{})
	began := time.Now()
	for n := range uint32(3) {
		s.complete(new(proc(n + 1)))
	}
	s.undescribe(began)
	if len(s.known) != 3 {
		t.Errorf("%d of 3 descriptions are kept within their time", len(s.known))
	}
	s.undescribe(time.Now().Add(describedFor))
	if len(s.known) != 0 {
		t.Errorf("%d descriptions are kept for ever", len(s.known))
	}
}
