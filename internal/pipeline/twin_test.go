package pipeline

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

const (
	flagCounters  = 1 << 13
	flagHasSocket = 1 << 2
	stateClose    = 7
	segACK        = 0x10
	segPSH        = 0x08
	segSYN        = 0x02
)

// TestWire holds the numbers of this package against what probe makes of them.
func TestWire(t *testing.T) {
	names := testNames()
	for n, want := range map[uint8]event.Hook{
		hookSend: event.HookSend, hookReceive: event.HookReceive, hookDrop: event.HookDrop, hookFirewall: event.HookFirewall,
	} {
		e := probe.ResetEvent{Kind: 1, Direction: sent, Hook: n, Flags: flagMPTCP}
		r, err := names.Reset(&e, probe.Clock{})
		if err != nil || r.Hook != want || !r.Facts.MPTCP {
			t.Errorf("hook %d: %v, MPTCP %v, %v; want %s", n, r.Hook, r.Facts.MPTCP, err, want)
		}
	}
}

// activePair is a close with unread data on loopback: the receiver's record
// comes first (KERNEL.md, below the hazards).
func activePair(at uint64) (recv, send probe.ResetEvent) {
	lo := netip.MustParseAddr("127.0.0.1").As16()
	send = rawReset(at + 30_000)
	send.Hook, send.Flags, send.Cookie, send.How = hookSend, flagCounters|flagHasSocket, 11, howCurrent
	send.State, send.PrevState, send.Reason = stateClose, stateEstablished, 2 // TCP_ABORT_ON_CLOSE
	send.LocalAddr, send.PeerAddr, send.SndNxt, send.RcvNxt = lo, lo, 7_000, 9_000
	recv = rawReset(at)
	recv.Hook, recv.Direction, recv.Flags, recv.Cookie, recv.Owner = hookReceive, received, flagCounters, 12, proc(2)
	recv.LocalAddr, recv.PeerAddr, recv.LocalPort, recv.PeerPort = lo, lo, 2000, 1000
	recv.RcvNxt, recv.SndNxt = 7_000, 9_000
	return recv, send
}

// lateSend answers a late segment for a connection that is gone.
func lateSend(at uint64, seq uint32) probe.ResetEvent {
	e := rawReset(at)
	e.Hook, e.Socket, e.State, e.Flags, e.Cookie = hookSend, socketNone, 0, flagTrigger|flagTombstone, 5
	e.TriggerFlags, e.TriggerSeq, e.TriggerLen, e.TriggerAck = segACK|segPSH, seq, 100, 50_000
	return e
}

func TestTwins(t *testing.T) {
	remote := netip.MustParseAddr("198.51.100.9").As16()
	for _, tt := range []struct {
		name string
		set  func(recv, send *probe.ResetEvent)
		want bool
	}{
		{"the same numbers", func(_, _ *probe.ResetEvent) {}, true},
		{"through NAT into another namespace", func(recv, send *probe.ResetEvent) {
			recv.PeerAddr, recv.PeerPort, recv.Netns, send.Netns = remote, 80, 1, 2
		}, true},
		{"after a FIN", func(recv, _ *probe.ResetEvent) { recv.RcvNxt++ }, true},
		{"two beyond", func(recv, _ *probe.ResetEvent) { recv.RcvNxt += 2 }, false},
		{"one before", func(recv, _ *probe.ResetEvent) { recv.RcvNxt-- }, false},
		{"data in flight", func(recv, _ *probe.ResetEvent) { recv.SndNxt += 500 }, true},
		{"data in flight, another namespace", func(recv, _ *probe.ResetEvent) { recv.SndNxt += 500; recv.Netns = 3 }, true},
		{"data in flight, another port", func(recv, _ *probe.ResetEvent) { recv.SndNxt += 500; recv.PeerPort++ }, false},
		{"the sender had got more than was sent", func(recv, _ *probe.ResetEvent) { recv.SndNxt -= 500 }, false},
		{"data in flight, too late", func(recv, _ *probe.ResetEvent) { recv.SndNxt += 500; recv.TimeNs += 600 * ms }, false},
		{"same ports, other number", func(recv, _ *probe.ResetEvent) { recv.RcvNxt = 123 }, false},
		{"both sent", func(recv, _ *probe.ResetEvent) { recv.Direction, recv.Hook = sent, hookSend }, false},
		{"the counters were not read", func(recv, _ *probe.ResetEvent) { recv.Flags = 0 }, false},
		{"dropped, the same packet", func(recv, _ *probe.ResetEvent) {
			recv.Hook, recv.TriggerSeq, recv.TriggerAck, recv.TriggerFlags = hookDrop, 7_000, 9_000, 0x14
		}, true},
		{"dropped, another packet", func(recv, _ *probe.ResetEvent) {
			recv.Hook, recv.TriggerSeq, recv.TriggerAck, recv.TriggerFlags = hookDrop, 7_000, 9_001, 0x14
		}, false},
		{"made by a firewall", func(_, send *probe.ResetEvent) {
			send.Hook, send.TriggerSeq, send.TriggerFlags = hookFirewall, 7_000, 0x04
		}, true},
		{"refused SYNs of two connections", func(recv, send *probe.ResetEvent) {
			recv.State, recv.SndNxt, recv.PeerPort, recv.LocalPort = 2, 9_000, 81, 5_555
			send.Flags, send.TriggerFlags, send.TriggerSeq, send.Socket = flagTrigger, segSYN, 8_999, socketNone
		}, false},
		{"a refused SYN", func(recv, send *probe.ResetEvent) {
			recv.State, recv.SndNxt = 2, 9_000
			send.Flags, send.TriggerFlags, send.TriggerSeq, send.Socket = flagTrigger, segSYN, 8_999, socketNone
		}, true},
	} {
		for _, first := range []string{"receiver", "sender"} {
			s, out := newTestSession(t, &fakeKernel{}, Options{})
			recv, send := activePair(10 * ms)
			tt.set(&recv, &send)
			if first == "receiver" {
				feed(s, recv, send)
			} else {
				feed(s, send, recv)
			}
			s.tick(900*ms, 900*ms, false)
			ids := map[bool][2]string{}
			for i := range out.resets {
				twin := ""
				if out.resets[i].Twin != nil {
					twin = *out.resets[i].Twin
				}
				ids[out.resets[i].ID == probe.ID(&send)] = [2]string{out.resets[i].ID, twin}
			}
			if got := ids[true][1] == probe.ID(&recv) && ids[false][1] == probe.ID(&send); got != tt.want || !got && ids[true][1]+ids[false][1] != "" {
				t.Errorf("%s, %s read first: %v", tt.name, first, ids)
			}
		}
	}
}

// TestTwinTells: each end says who the other is, and the receiver who acted.
func TestTwinTells(t *testing.T) {
	s, out := newTestSession(t, &fakeKernel{}, Options{})
	recv, send := activePair(10 * ms)
	feed(s, recv)
	s.tick(60*ms, 60*ms, false)
	if len(out.resets) != 0 {
		t.Fatal("a receiver did not wait for the sender on this host")
	}
	feed(s, send)
	s.tick(100*ms, 100*ms, false)
	if len(out.resets) != 2 {
		t.Fatalf("%d told once both ends are here", len(out.resets))
	}
	r, w := out.resets[0], out.resets[1]
	if r.TwinOwner == nil || r.TwinOwner.PID != 1<<22+1 || r.Actor.Kind != event.ActorPeer || r.Actor.Process == nil || r.Actor.Process.PID != 1<<22+1 {
		t.Errorf("received: twin owner %+v, actor %+v", r.TwinOwner, r.Actor)
	}
	if w.TwinOwner == nil || w.TwinOwner.PID != 1<<22+2 {
		t.Errorf("sent: twin owner %+v", w.TwinOwner)
	}
}

// TestTwinTooLate: one that was told already cannot name the later one, but is
// named by it; after a second by none.
func TestTwinTooLate(t *testing.T) {
	for _, tt := range []struct {
		after uint64
		want  bool
	}{{300 * ms, true}, {1200 * ms, false}} {
		s, out := newTestSession(t, &fakeKernel{}, Options{})
		recv, send := activePair(10 * ms)
		feed(s, send)
		s.tick(200*ms, 200*ms, false)
		if len(out.resets) != 1 || out.resets[0].Twin != nil {
			t.Fatalf("after 190 ms: %+v", out.resets)
		}
		recv.TimeNs += tt.after
		feed(s, recv)
		s.tick(3000*ms, 3000*ms, false)
		if got := out.resets[1].Twin != nil && *out.resets[1].Twin == out.resets[0].ID && out.resets[1].TwinOwner.PID == 1<<22+1; got != tt.want {
			t.Errorf("%d ms later: twin %v", tt.after/ms, out.resets[1].Twin)
		}
	}
}

// TestRemoteDoesNotWait: nothing tells that the peer is on this host.
func TestRemoteDoesNotWait(t *testing.T) {
	s, out := newTestSession(t, &fakeKernel{}, Options{})
	_, send := activePair(10 * ms)
	send.PeerAddr = netip.MustParseAddr("198.51.100.9").As16()
	feed(s, send)
	s.tick(11*ms, 11*ms, false)
	if len(out.resets) != 1 {
		t.Error("held")
	}
}

// TestFalseReceiveIsNoTwin: no RST came, so it is nobody's other end.
func TestFalseReceiveIsNoTwin(t *testing.T) {
	s, out := newTestSession(t, &fakeKernel{}, Options{})
	recv, send := activePair(10 * ms)
	recv.Flags |= flagDead
	own := rawReset(10*ms + 5000)
	own.Cookie, own.Flags = recv.Cookie, flagTrigger|flagDead
	feed(s, recv, send, own)
	s.tick(900*ms, 900*ms, false)
	for i := range out.resets {
		if out.resets[i].Twin != nil {
			t.Errorf("%s has twin %s", out.resets[i].ID, *out.resets[i].Twin)
		}
	}
	if len(out.resets) != 2 {
		t.Errorf("%d told, want the two sends", len(out.resets))
	}
}

func TestTwinsBounded(t *testing.T) {
	var tw twins
	for i := range uint64(3 * endsMax) {
		e := rawReset(i)
		e.Hook, e.Flags, e.SndNxt = hookSend, flagCounters, uint32(i%7+1)
		tw.add(newEnd(&pending{raw: e}))
	}
	n := 0
	for _, list := range tw.slots {
		n += len(list)
	}
	if len(tw.order) > endsMax || n > 7*slotMax {
		t.Errorf("%d ends, %d under their keys", len(tw.order), n)
	}
	for _, e := range tw.order {
		e.wait = nil
	}
	tw.expire(10e9)
	if len(tw.order) != 0 || len(tw.slots) != 0 {
		t.Errorf("%d ends, %d keys are kept for ever", len(tw.order), len(tw.slots))
	}
}

// TestStoryReplays: twins, packets, actors and other holders are told again.
func TestStoryReplays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.rec")
	rec, err := NewRecorder(RecordOptions{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{Record: rec, Host: "h1"}
	s, live := newTestSession(t, &fakeKernel{counts: probe.Counts{Seen: 6, Submitted: 6}}, opts)
	if err := rec.start(header(opts, s.names, s.clock)); err != nil {
		t.Fatal(err)
	}
	recv, send := activePair(10 * ms)
	killed := rawReset(50 * ms)
	killed.Hook, killed.Flags, killed.Actor = hookSend, 1<<15|flagCounters, proc(6)
	open := doubtful(60 * ms)
	feed(s, recv, send, lateSend(20*ms, 1000), lateSend(21*ms, 1100), killed, open)
	s.queue[0].holders = nil
	for _, p := range s.queue {
		if p.doubt {
			p.holders = []probe.Owner{proc(3), proc(4)}
		}
	}
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
	if diff := cmp.Diff(live.resets, again.resets, cmpAddr, cmpProcess); diff != "" {
		t.Errorf("records (-live +replay):\n%s", diff)
	}
	if diff := cmp.Diff(live.summary.Account, again.summary.Account); diff != "" || !live.summary.Account.Balanced() {
		t.Errorf("account (-live +replay):\n%s", diff)
	}
	var got string
	for _, r := range live.resets {
		got += fmt.Sprintf("%v %d %s %d; ", r.Twin != nil, r.Packets, r.Actor.Kind, len(r.Others))
	}
	if want := "true 1 peer 0; true 1 process 0; false 2 kernel 0; false 1 killer 0; false 1 unknown 3; "; got != want {
		t.Errorf("told %s\nwant %s", got, want)
	}
}
