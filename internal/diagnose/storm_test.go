package diagnose

import (
	"slices"
	"testing"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

// Numbers of bpf/event.h, whose enums only grow.
const (
	rawReset, rawSent, rawReceived = 1, 1, 2

	flagTrigger, flagDead, flagSocket, flagFile, flagLinger, flagPeerFIN, flagLocked, flagMPTCP = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 7
	flagActive, flagPassive, flagTombstone, flagCounters                                        = 1 << 8, 1 << 9, 1 << 10, 1 << 13
)

// wire writes the raw record that a shape would come from.
type wire struct {
	names probe.Names
	e     probe.ResetEvent
}

func number8(m map[uint8]string, s string) uint8 {
	for k, v := range m {
		if v == s {
			return k
		}
	}
	return 0
}

func number16(m map[uint16]string, s string) uint16 {
	if s == "" || s == "NOT_SPECIFIED" {
		return 0
	}
	for k, v := range m {
		if v == s {
			return k
		}
	}
	m[uint16(len(m)+1)] = s
	return uint16(len(m))
}

func newWire(dir event.Direction, hook event.Hook, socket event.SocketKind, state, reason, drop string, f event.Facts) *wire {
	w := &wire{names: probe.Names{Reasons: map[uint16]string{}, DropReasons: map[uint16]string{}, HZ: 250, States: map[uint8]string{
		1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 6: "TIME_WAIT",
		7: "CLOSE", 8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING", 12: "NEW_SYN_RECV",
	}}}
	e := &w.e
	e.Kind, e.Direction, e.LocalPort, e.PeerPort = rawReset, rawReceived, 8080, 40112
	if dir == event.Sent {
		e.Direction = rawSent
	}
	e.Hook = uint8(slices.Index([]event.Hook{"", event.HookSend, event.HookReceive, event.HookDrop, event.HookFirewall}, hook))
	e.Socket = uint8(slices.Index([]event.SocketKind{event.SocketNone, event.SocketFull, event.SocketTimewait, event.SocketRequest}, socket))
	e.State, e.TwSubstate, e.LeftState = number8(w.names.States, state), number8(w.names.States, f.TWSubstate), number8(w.names.States, f.TombstoneState)
	if at := number8(w.names.States, f.StateAtReset); at != 0 && at != e.State {
		e.State, e.PrevState = at, e.State
	}
	e.Reason, e.DropReason = number16(w.names.Reasons, reason), number16(w.names.DropReasons, drop)
	w.flags(f)
	return w
}

func (w *wire) flags(f event.Facts) {
	e := &w.e
	for bit, is := range map[uint32]bool{
		flagTrigger: f.TriggerSeen, flagDead: f.Dead, flagSocket: f.HasSocket, flagFile: f.HasSocketFile, flagLinger: f.LingerOn,
		flagPeerFIN: f.PeerFIN, flagLocked: f.LockOwned, flagMPTCP: f.MPTCP, flagTombstone: f.TombstoneHit,
		flagActive: f.ActiveOpenKnow && f.ActiveOpen, flagPassive: f.ActiveOpenKnow && !f.ActiveOpen,
	} {
		if is {
			e.Flags |= bit
		}
	}
	for bit, is := range map[uint8]bool{1: f.TriggerFIN, 2: f.TriggerSYN, 4: f.SegmentRST, 16: f.TriggerACK} {
		if is {
			e.TriggerFlags |= bit
		}
	}
	if f.ShutdownRcv {
		e.Shutdown |= 1
	}
	if f.ShutdownSend {
		e.Shutdown |= 2
	}
	e.LingerJiffies, e.Linger2 = f.LingerSeconds*w.names.HZ, f.Linger2
}

// measured adds the evidence. Sequence numbers start high, as real ones do.
func (w *wire) measured(v event.Evidence, ended *event.Ending) {
	e := &w.e
	if v != (event.Evidence{}) {
		e.Flags |= flagCounters
	}
	e.CopiedSeq, e.SndUna, e.WriteSeq = 4_000_000_000, 4_000_000_000, 4_000_000_000+uint32(v.SentBytes.N)
	e.RcvNxt = e.CopiedSeq + uint32(v.UnreadBytes.N)
	if e.Flags&flagPeerFIN != 0 && v.UnreadBytes.N > 0 {
		e.RcvNxt++
	}
	e.BytesReceived, e.BytesSent, e.BytesAcked = uint64(v.ReceivedBytes.N), uint64(v.SentBytes.N), uint64(v.AckedBytes.N)
	e.SndUna += uint32(v.AckedBytes.N)
	e.SndNxt = e.WriteSeq
	e.ProbesOut, e.UserTimeoutMs, e.TotalRetrans = uint8(v.ProbesUnanswered.N), uint32(v.UserTimeoutMS.N), uint32(v.RetransmitSegments.N)
	e.TriggerLen, e.Backlog, e.MaxBacklog = uint32(v.SegmentBytes.N), uint32(v.BacklogConnections.N), uint32(v.BacklogLimit.N)
	if ended != nil {
		e.Ended = 1
	}
}

// check classifies the raw record, and what a storm of such resets keeps of it.
func (w *wire) check(t *testing.T, name, want string) {
	t.Helper()
	key := probe.StormOf(&w.e)
	sample := probe.Sample(&key, &probe.Storm{Count: 1000, LastNs: 7})
	for what, raw := range map[string]*probe.ResetEvent{"the raw record": &w.e, "the sample of its storm": &sample} {
		r, err := w.names.Reset(raw, probe.Clock{})
		if err != nil {
			t.Errorf("%s: %s: %v", name, what, err)
			continue
		}
		if got := Classify(r); got != want {
			t.Errorf("%s: %s has the cause %s, want %s", name, what, got, want)
		}
	}
}

// What the resets of a storm have in common must tell the same cause as each of
// them in full: nobody sees the others again.
func TestSampleKeepsTheCause(t *testing.T) {
	for _, c := range slices.Concat(observed, derived) {
		hook := event.HookSend
		if c.dir == event.Received {
			hook = event.HookReceive
		}
		w := newWire(c.dir, hook, c.socket, c.state, c.reason, "", c.facts)
		w.measured(c.ev, c.ended)
		w.check(t, c.name, c.want)
	}
	for i := range rejected {
		c := &rejected[i]
		r := c.reset()
		if c.facts.NoLocalSender {
			continue // pairing finds it, one by one; the kernel counts by what it sees
		}
		w := newWire(r.Direction, c.hook, c.socket, c.state, "", c.drop, c.facts)
		w.check(t, c.name, c.want)
	}
}
