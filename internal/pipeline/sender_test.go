package pipeline

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

// TestNoLocalSender: only where nothing can have hidden a sender.
func TestNoLocalSender(t *testing.T) {
	own := netip.MustParseAddr("192.0.2.7").As16()
	for _, tt := range []struct {
		name string
		opts Options
		out  uint64 // the kernel's OutRsts
		set  func(s *session, recv *probe.ResetEvent, live *fakeKernel)
		want bool
	}{
		{name: "no RST was ever sent there", want: true},
		{name: "the kernel sent one that no hook saw", out: 1},
		{name: "OutRsts cannot be read", set: func(s *session, _ *probe.ResetEvent, _ *fakeKernel) {
			s.senders.outRsts = func(uint32, uint32) (uint64, error) { return 0, errTest }
		}},
		{name: "RSTs of before the start, and none since", out: 9, set: func(s *session, e *probe.ResetEvent, _ *fakeKernel) {
			s.senders.balance[e.Netns] = agreement{ahead: 9, times: 2, at: 1}
		}, want: true},
		{name: "seen so only once", out: 9, set: func(s *session, e *probe.ResetEvent, _ *fakeKernel) {
			s.senders.balance[e.Netns] = agreement{ahead: 9, times: 1, at: 1}
		}},
		{name: "one more since", out: 9, set: func(s *session, e *probe.ResetEvent, _ *fakeKernel) {
			s.senders.balance[e.Netns] = agreement{ahead: 8, times: 2, at: 1}
		}},
		{name: "lost lately", set: func(_ *session, _ *probe.ResetEvent, live *fakeKernel) { live.counts.LostRing = 1 }},
		{name: "sends are filtered", opts: Options{Filter: probe.Filter{NoSent: true}}},
		{name: "a sender has another local port", opts: Options{Filter: probe.Filter{LocalPorts: []uint16{2000}}}},
		{name: "a sender passes the same filter", opts: Options{Filter: probe.Filter{Ports: []uint16{2000}}}, want: true},
		{name: "a translation is possible", set: func(s *session, _ *probe.ResetEvent, _ *fakeKernel) {
			s.senders.tracked = func(uint32, uint32) bool { return true }
		}},
		{name: "from elsewhere", set: func(_ *session, e *probe.ResetEvent, _ *fakeKernel) { e.PeerAddr[15] = 9; e.PeerAddr[12] = 198 }},
		{name: "from an address of an interface", set: func(s *session, e *probe.ResetEvent, _ *fakeKernel) {
			e.PeerAddr, e.Netns = own, s.here.netns
		}, want: true},
		{name: "the same address in another namespace", set: func(_ *session, e *probe.ResetEvent, _ *fakeKernel) { e.PeerAddr = own }},
		{name: "just after the start", set: func(s *session, _ *probe.ResetEvent, _ *fakeKernel) { s.senders.began = 2900 * ms }},
		{name: "too many questions", set: func(s *session, _ *probe.ResetEvent, _ *fakeKernel) { s.chores = 3000 * ms; s.senders.budget = 0 }},
		{name: "no other end, but not accepted", set: func(_ *session, e *probe.ResetEvent, _ *fakeKernel) { e.Hook = hookDrop }},
	} {
		live := &fakeKernel{}
		s, out := newTestSession(t, live, tt.opts)
		s.senders.outRsts = func(uint32, uint32) (uint64, error) { return tt.out, nil }
		s.senders.tracked = func(uint32, uint32) bool { return false }
		s.here.read = func() ([]net.Addr, error) {
			return []net.Addr{&net.IPNet{IP: netip.AddrFrom16(own).AsSlice(), Mask: net.CIDRMask(128, 128)}}, nil
		}
		recv, _ := activePair(3000 * ms)
		recv.Netns = 77
		if tt.set != nil {
			tt.set(s, &recv, live)
		}
		feed(s, recv)
		s.tick(3200*ms, 3200*ms, false)
		if len(out.resets) != 1 || out.resets[0].Facts.NoLocalSender != tt.want {
			t.Errorf("%s: %+v", tt.name, out.resets)
		}
	}
}

// TestSenderWithOtherNumbers: a RST after a hole is accepted although its number
// is not the expected one (KERNEL.md 9d); it has a sender.
func TestSenderWithOtherNumbers(t *testing.T) {
	s, out := newTestSession(t, &fakeKernel{}, Options{})
	s.senders.outRsts = func(uint32, uint32) (uint64, error) { return 1, nil }
	s.senders.tracked = func(uint32, uint32) bool { return false }
	recv, send := activePair(3000 * ms)
	recv.RcvNxt -= 100
	feed(s, recv, send)
	s.tick(3500*ms, 3500*ms, false)
	if len(out.resets) != 2 || out.resets[0].Facts.NoLocalSender || out.resets[0].Twin != nil {
		t.Errorf("%+v", out.resets)
	}
}

// TestFirewallActed: its own record makes the actor certain.
func TestFirewallActed(t *testing.T) {
	s, out := newTestSession(t, &fakeKernel{}, Options{})
	recv, fw := activePair(3000 * ms)
	fw.Hook, fw.TriggerSeq, fw.TriggerFlags, fw.Owner = hookFirewall, 7_000, 0x04, probe.Owner{}
	feed(s, recv, fw)
	s.tick(3500*ms, 3500*ms, false)
	r := out.resets[0]
	if r.Actor.Kind != event.ActorFirewall || r.Actor.Process != nil || r.Twin == nil || !r.Facts.NoLocalSender {
		t.Errorf("actor %+v, twin %v", r.Actor, r.Twin)
	}
}

// TestOutRsts reads this kernel's own files.
func TestOutRsts(t *testing.T) {
	netns, ok := netnsOf("/proc/self/ns/net")
	if !ok {
		t.Skip("no network namespaces here")
	}
	if _, err := outRsts(netns, 0); err != nil {
		t.Error(err)
	}
	if _, err := outRsts(netns, uint32(os.Getpid())); err != nil {
		t.Error(err)
	}
	if _, err := outRsts(1, uint32(os.Getpid())); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a namespace that nobody leads to: %v", err)
	}
	tracked(netns, 0)
	if _, err := os.Stat("/proc/sys/net/netfilter"); err == nil && !tracked(1, 0) {
		t.Error("nobody leads to the namespace, yet it is known to have no translation")
	}
}

// TestLearnedAddresses: bounded, and nothing is learned from what may have been
// on its way to another host.
func TestLearnedAddresses(t *testing.T) {
	h := newHere()
	e := rawReset(ms)
	e.Hook = hookDrop
	h.note(&e)
	e.PeerAddr = e.LocalAddr
	other := rawReset(2 * ms)
	other.LocalAddr, other.PeerAddr = other.PeerAddr, other.LocalAddr
	if h.likely(&other) {
		t.Error("learned from a dropped segment")
	}
	e.Hook = hookReceive
	h.note(&e)
	if !h.likely(&other) {
		t.Error("not learned from an accepted one")
	}
	other.TimeNs = 200e9
	if h.likely(&other) {
		t.Error("believed for ever")
	}
	for i := range uint32(3 * hereMax) {
		e.LocalAddr[12], e.LocalAddr[13], e.LocalAddr[14] = byte(i>>16), byte(i>>8), byte(i)
		h.note(&e)
	}
	if len(h.seen) > hereMax || len(h.any) > hereMax {
		t.Errorf("%d and %d addresses", len(h.seen), len(h.any))
	}
}
