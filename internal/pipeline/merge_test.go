package pipeline

import (
	"fmt"
	"testing"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

// TestPackets: further answers to one connection's late segments are one story;
// what may be another connection's is not.
func TestPackets(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(first, later *probe.ResetEvent)
		want string // packets of each record told
	}{
		{"the next segment", func(_, _ *probe.ResetEvent) {}, "[3]"},
		{"the first killed the orphan", func(first, _ *probe.ResetEvent) {
			first.Socket, first.State, first.Flags = socketFull, 7, flagTrigger|flagDead
		}, "[3]"},
		{"read out of order", func(first, later *probe.ResetEvent) { *first, *later = *later, *first }, "[3]"},
		{"too late", func(_, later *probe.ResetEvent) { later.TimeNs += 201 * ms }, "[2 1]"},
		{"another port", func(_, later *probe.ResetEvent) { later.PeerPort++ }, "[2 1]"},
		{"another namespace", func(_, later *probe.ResetEvent) { later.Netns++ }, "[2 1]"},
		{"the ports used again", func(_, later *probe.ResetEvent) { later.TriggerSeq += 1 << 25 }, "[2 1]"},
		{"opened since", func(first, later *probe.ResetEvent) { later.OpenedNs = first.TimeNs + 1 }, "[2 1]"},
		{"another socket", func(_, later *probe.ResetEvent) { later.Cookie = 6 }, "[2 1]"},
		{"a SYN", func(_, later *probe.ResetEvent) { later.TriggerFlags = segSYN; later.Flags = flagTrigger }, "[2 1]"},
		{"a live socket", func(_, later *probe.ResetEvent) { later.Socket, later.State = socketFull, 2 }, "[2 1]"},
	} {
		s, out := newTestSession(t, &fakeKernel{counts: probe.Counts{Seen: 3, Submitted: 3}}, Options{})
		a, b, c := lateSend(10*ms, 1000), lateSend(11*ms, 1100), lateSend(12*ms, 1200)
		tt.set(&a, &c)
		feed(s, a, b, c)
		s.tick(200*ms, 200*ms, false)
		if len(out.resets) != 0 && out.resets[0].Packets > 1 {
			t.Errorf("%s: told before all that may follow", tt.name)
		}
		if err := s.end(nil); err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for i := range out.resets {
			got = append(got, out.resets[i].Packets)
		}
		if fmt.Sprint(got) != tt.want || !out.summary.Account.Balanced() || out.summary.Account.Joined != 3-uint64(len(got)) {
			t.Errorf("%s: packets %v, want %s; account %+v", tt.name, got, tt.want, out.summary.Account)
		}
		if len(s.stories.sends)+len(s.stories.receives)+len(s.stories.subflows) != 0 {
			t.Errorf("%s: a story is kept", tt.name)
		}
	}
}

// TestSYNsAreNotMerged: each attempt to connect to a closed port is its own.
func TestSYNsAreNotMerged(t *testing.T) {
	s, out := newTestSession(t, &fakeKernel{}, Options{})
	a, b := lateSend(10*ms, 1000), lateSend(11*ms, 1000)
	a.TriggerFlags, b.TriggerFlags, a.Flags, b.Flags = segSYN, segSYN, flagTrigger, flagTrigger
	feed(s, a, b)
	s.tick(13*ms, 13*ms, false)
	if len(out.resets) != 2 {
		t.Errorf("%d told at once, want 2", len(out.resets))
	}
}

// TestFurtherRSTs: RSTs that meet nobody after an accepted one belong to it.
func TestFurtherRSTs(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*probe.ResetEvent)
		told bool // the accepted one is told already
		want int
	}{
		{name: "to nobody", set: func(*probe.ResetEvent) {}, want: 1},
		{name: "to the listener", set: func(e *probe.ResetEvent) { e.Socket, e.State, e.Cookie = socketFull, stateListen, 9 }, want: 1},
		{name: "told already", set: func(*probe.ResetEvent) {}, told: true, want: 2},
		{name: "another port", set: func(e *probe.ResetEvent) { e.LocalPort++ }, want: 2},
		{name: "a later connection's socket", set: func(e *probe.ResetEvent) { e.Socket, e.Cookie = socketFull, 9 }, want: 2},
		{name: "numbers far away", set: func(e *probe.ResetEvent) { e.TriggerSeq += 1 << 28 }, want: 2},
		{name: "dropped by a firewall", set: func(e *probe.ResetEvent) { e.DropReason = 8 }, want: 2},
		{name: "a second later", set: func(e *probe.ResetEvent) { e.TimeNs += 1100 * ms }, want: 2},
	} {
		s, out := newTestSession(t, &fakeKernel{}, Options{})
		s.names.DropReasons = map[uint16]string{3: "NO_SOCKET", 8: "NETFILTER_DROP"}
		recv, _ := activePair(10 * ms)
		recv.PeerAddr[15], recv.Flags = 77, flagCounters|flagDoubt
		drop := recv
		drop.TimeNs, drop.Hook, drop.Flags, drop.Socket, drop.Cookie, drop.State = 11*ms, hookDrop, 0, socketNone, 0, 0
		drop.TriggerSeq, drop.TriggerFlags, drop.DropReason = recv.RcvNxt, 0x04, 3
		tt.set(&drop)
		feed(s, recv)
		if tt.told {
			s.tick(2000*ms, 2000*ms, false)
		}
		feed(s, drop)
		s.tick(3000*ms, 3000*ms, false)
		if len(out.resets) != tt.want || out.resets[0].Packets != uint64(3-tt.want) {
			t.Errorf("%s: %d told, %d packets; want %d told", tt.name, len(out.resets), out.resets[0].Packets, tt.want)
		}
	}
}

// TestSubflows: MPTCP resets an unaccepted child twice; another protocol's
// socket that is reset twice was reset for two reasons.
func TestSubflows(t *testing.T) {
	for _, flags := range []uint32{flagMPTCP, 0} {
		s, out := newTestSession(t, &fakeKernel{}, Options{})
		a := rawReset(10 * ms)
		a.Hook, a.Flags, a.Cookie = hookSend, flagCounters|flags, 4
		b := a
		b.TimeNs, b.Seq = 10*ms+9000, 1
		feed(s, a)
		s.tick(11*ms, 11*ms, false)
		feed(s, b)
		s.tick(900*ms, 900*ms, false)
		want := 2
		if flags != 0 {
			want = 1
		}
		if len(out.resets) != want {
			t.Errorf("flags %#x: %d told, want %d", flags, len(out.resets), want)
		}
	}
}

// TestMergedTwin: the receiver of a burst is the twin of its story, whichever
// packet its numbers fit.
func TestMergedTwin(t *testing.T) {
	s, out := newTestSession(t, &fakeKernel{}, Options{})
	recv, send := activePair(13 * ms)
	late := func(at uint64, seq uint32) probe.ResetEvent {
		e := lateSend(at, seq)
		e.LocalAddr, e.PeerAddr = send.LocalAddr, send.PeerAddr
		return e
	}
	first := late(10*ms, 1000)
	recv.RcvNxt, recv.SndNxt = 50_000, 1300
	feed(s, first, late(11*ms, 1100), recv, late(12*ms, 1200))
	s.tick(900*ms, 900*ms, false)
	if len(out.resets) != 2 {
		t.Fatalf("%d told", len(out.resets))
	}
	w, r := out.resets[0], out.resets[1]
	if w.Packets != 3 || w.Twin == nil || *w.Twin != r.ID || r.Twin == nil || *r.Twin != probe.ID(&first) || r.Direction != event.Received {
		t.Errorf("sent: %d packets, twin %v; received: twin %v", w.Packets, w.Twin, r.Twin)
	}
}
