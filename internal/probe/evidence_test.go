package probe

import (
	"testing"

	"rstwhy/internal/event"
)

// bytesOf gives unread, received, sent, acked and unsent; -1 where unknown.
func bytesOf(v *event.Evidence) [5]int64 {
	var out [5]int64
	for i, n := range []event.Number{v.UnreadBytes, v.ReceivedBytes, v.SentBytes, v.AckedBytes, v.UnsentBytes} {
		out[i] = n.N
		if !n.Known {
			out[i] = -1
		}
	}
	return out
}

// TestByteCounts: the kernel counts a SYN, a FIN and retransmissions among the
// bytes (net/ipv4/tcp_input.c tcp_fin, tcp_snd_una_update), people do not; and
// sequence numbers wrap.
func TestByteCounts(t *testing.T) {
	const fin, active = kernelResetFlagsRESET_PEER_FIN, kernelResetFlagsRESET_ACTIVE_OPEN
	for _, tt := range []struct {
		name  string
		flags kernelResetFlags
		set   ResetEvent
		want  [5]int64 // unread, received, sent, acked, unsent
	}{
		{"nothing moved", 0, ResetEvent{}, [5]int64{0, 0, 0, 0, -1}},
		{"read to the end", 0, ResetEvent{BytesReceived: 30, RcvNxt: 130, CopiedSeq: 130}, [5]int64{0, 30, 0, 0, -1}},
		{"unread", 0, ResetEvent{BytesReceived: 30, RcvNxt: 130, CopiedSeq: 120}, [5]int64{10, 30, 0, 0, -1}},
		{"unread and FIN", fin, ResetEvent{BytesReceived: 31, RcvNxt: 131, CopiedSeq: 120}, [5]int64{10, 30, 0, 0, -1}},
		{"only the FIN is unread", fin, ResetEvent{BytesReceived: 31, RcvNxt: 131, CopiedSeq: 130}, [5]int64{0, 30, 0, 0, -1}},
		{"the FIN is read", fin, ResetEvent{BytesReceived: 31, RcvNxt: 131, CopiedSeq: 131}, [5]int64{0, 30, 0, 0, -1}},
		{"FIN and no data", fin, ResetEvent{BytesReceived: 1, RcvNxt: 2, CopiedSeq: 1}, [5]int64{0, 0, 0, 0, -1}},
		{"FIN flag without its count", fin, ResetEvent{}, [5]int64{0, 0, 0, 0, -1}},
		{"sequence wraps in the queue", 0, ResetEvent{BytesReceived: 30, RcvNxt: 10, CopiedSeq: ^uint32(0) - 9}, [5]int64{20, 30, 0, 0, -1}},
		{"more than 4 GiB", 0, ResetEvent{BytesReceived: 5 << 30, RcvNxt: 130, CopiedSeq: 130}, [5]int64{0, 5 << 30, 0, 0, -1}},
		{"copied runs ahead", 0, ResetEvent{RcvNxt: 1, CopiedSeq: 2}, [5]int64{0, 0, 0, 0, -1}},
		{"the SYN of a connect is no data", active, ResetEvent{BytesAcked: 1}, [5]int64{0, 0, 0, 0, -1}},
		{"acknowledged, connected", active, ResetEvent{BytesSent: 50, BytesAcked: 51}, [5]int64{0, 0, 50, 50, -1}},
		{"acknowledged, accepted", 0, ResetEvent{BytesSent: 50, BytesAcked: 50}, [5]int64{0, 0, 50, 50, -1}},
		{"our FIN is acknowledged", active, ResetEvent{BytesSent: 50, BytesAcked: 52}, [5]int64{0, 0, 50, 50, -1}},
		{"retransmitted", 0, ResetEvent{BytesSent: 150, BytesRetrans: 100, BytesAcked: 20}, [5]int64{0, 0, 50, 20, -1}},
		{"retransmissions above sent", 0, ResetEvent{BytesSent: 1, BytesRetrans: 100, BytesAcked: 20}, [5]int64{0, 0, 0, 0, -1}},
		{"written, not sent", 0, ResetEvent{WriteSeq: 10, SndNxt: ^uint32(0) - 9}, [5]int64{0, 0, 0, 0, 20}},
		{"all sent", 0, ResetEvent{WriteSeq: 10, SndNxt: 10}, [5]int64{0, 0, 0, 0, -1}},
		{"FIN sent behind the data", 0, ResetEvent{WriteSeq: 11, SndNxt: 12}, [5]int64{0, 0, 0, 0, -1}},
	} {
		e := tt.set
		e.Direction, e.Socket, e.State = 1, 1, 1
		e.Flags = uint32(kernelResetFlagsRESET_COUNTERS | tt.flags)
		r, err := testNames().Reset(&e, Clock{})
		if err != nil {
			t.Fatal(err)
		}
		if got := bytesOf(&r.Evidence); got != tt.want {
			t.Errorf("%s: unread, received, sent, acked, unsent %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestUnknownIsNotZero: what was not read from a socket is not reported.
func TestUnknownIsNotZero(t *testing.T) {
	e := bareReset()
	r, err := testNames().Reset(&e, Clock{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Evidence != (event.Evidence{}) {
		t.Errorf("evidence without a socket: %+v", r.Evidence)
	}
	if r.State != nil || r.Reason != nil || r.Thread != nil || r.EndedBy != nil || r.Owner != nil {
		t.Errorf("a record of nothing has contents: %+v", r)
	}
}

func TestTimes(t *testing.T) {
	names := testNames()
	e := fullReset()
	r, err := names.Reset(&e, Clock{Offset: 1_700_000_000e9})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Time.UnixNano(); got != 1_700_000_050e9 {
		t.Errorf("time is %d ns", got)
	}
	v := r.Evidence
	if v.AgeNS != event.Num(40e9) || v.SinceClosedNS != event.Num(1e9) || v.SilenceNS != event.Num(200e6) || v.SinceSentNS != event.Num(100e6) {
		t.Errorf("age %v, since closed %v, silence %v, since sent %v", v.AgeNS, v.SinceClosedNS, v.SilenceNS, v.SinceSentNS)
	}
	names.HZ = 0
	e.OpenedNs, e.ClosedNs = e.TimeNs+1, e.TimeNs+1
	if r, err = names.Reset(&e, Clock{}); err != nil {
		t.Fatal(err)
	}
	v = r.Evidence
	if v.AgeNS.Known || v.SinceClosedNS.Known || v.SilenceNS.Known || v.SinceSentNS.Known {
		t.Errorf("without a tick rate, opened and closed later: age %v, since closed %v, silence %v, since sent %v",
			v.AgeNS, v.SinceClosedNS, v.SilenceNS, v.SinceSentNS)
	}
}

func TestListenerHasBacklogOnly(t *testing.T) {
	e := listenReset()
	r, err := testNames().Reset(&e, Clock{})
	if err != nil {
		t.Fatal(err)
	}
	if v := r.Evidence; v.BacklogConnections != event.Num(129) || v.BacklogLimit != event.Num(128) || v.SentBytes.Known || v.UnreadBytes.Known {
		t.Errorf("evidence of a listener: %+v", v)
	}
}

func TestEndings(t *testing.T) {
	num := func(n int) *int { return &n }
	for _, tt := range []struct {
		ended kernelEndedBy
		code  int32
		want  *event.Ending
	}{
		{kernelEndedByENDED_NONE, 9, nil},
		{kernelEndedByENDED_CLOSE, 0, &event.Ending{Kind: event.EndClose}},
		{kernelEndedByENDED_EXIT, 0, &event.Ending{Kind: event.EndExit, Status: num(0)}},
		{kernelEndedByENDED_EXIT, 3 << 8, &event.Ending{Kind: event.EndExit, Status: num(3)}},
		{kernelEndedByENDED_EXIT, 255 << 8, &event.Ending{Kind: event.EndExit, Status: num(255)}},
		{kernelEndedByENDED_EXIT, 9, &event.Ending{Kind: event.EndSignal, Signal: num(9)}},
		{kernelEndedByENDED_EXIT, 11 | 0x80, &event.Ending{Kind: event.EndSignal, Signal: num(11)}}, // core dumped
		{kernelEndedByENDED_OOM, 9, &event.Ending{Kind: event.EndOOM, Signal: num(9)}},
		{99, 0, nil},
	} {
		e := fullReset()
		e.Ended, e.ExitCode = uint8(tt.ended), tt.code
		got := endedBy(&e)
		if (got == nil) != (tt.want == nil) || got != nil && (got.Kind != tt.want.Kind || !sameInt(got.Signal, tt.want.Signal) || !sameInt(got.Status, tt.want.Status)) {
			t.Errorf("ended %d, code %#x: %+v, want %+v", tt.ended, tt.code, got, tt.want)
		}
	}
}

func sameInt(a, b *int) bool {
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}
