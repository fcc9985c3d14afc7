package probe

import "rstwhy/internal/event"

func (n *Names) facts(e *ResetEvent, f *event.Facts) {
	const fin, syn, rst, ack = 0x01, 0x02, 0x04, 0x10
	*f = event.Facts{
		TriggerSeen: Triggered(e),
		TriggerFIN:  e.TriggerFlags&fin != 0, TriggerSYN: e.TriggerFlags&syn != 0, TriggerACK: e.TriggerFlags&ack != 0,
		StateAtReset: n.States[e.State], TWSubstate: n.States[e.TwSubstate],
		Dead: Orphan(e), HasSocketFile: has(e, kernelResetFlagsRESET_HAS_FILE), HasSocket: has(e, kernelResetFlagsRESET_HAS_SOCKET),
		LingerOn: has(e, kernelResetFlagsRESET_LINGER), Linger2: e.Linger2,
		ShutdownRcv: e.Shutdown&1 != 0, ShutdownSend: e.Shutdown&2 != 0,
		PeerFIN: has(e, kernelResetFlagsRESET_PEER_FIN), LockOwned: has(e, kernelResetFlagsRESET_LOCK_OWNED),
		MPTCP:          has(e, kernelResetFlagsRESET_MPTCP),
		ActiveOpen:     has(e, kernelResetFlagsRESET_ACTIVE_OPEN),
		ActiveOpenKnow: has(e, kernelResetFlagsRESET_ACTIVE_OPEN) || has(e, kernelResetFlagsRESET_PASSIVE_OPEN),
		TombstoneHit:   has(e, kernelResetFlagsRESET_TOMBSTONE), TombstoneState: n.States[e.LeftState],
		FileRefs: e.FileRefs, Error: e.SkErr, SegmentRST: e.TriggerFlags&rst != 0,
		Forwarded:    has(e, kernelResetFlagsRESET_FORWARDED),
		SocketUntold: n.Untold(e) && e.Socket == uint8(kernelSocketKindSOCKET_NONE),
	}
	// Only zero matters to the causes; less than a second would round to it.
	if e.LingerJiffies > 0 {
		f.LingerSeconds = 1
		if n.HZ > 0 {
			f.LingerSeconds = max(1, e.LingerJiffies/n.HZ)
		}
	}
}

// evidence computes what a person should see. Sequence arithmetic wraps.
func (n *Names) evidence(e *ResetEvent, v *event.Evidence) {
	if has(e, kernelResetFlagsRESET_COUNTERS) {
		if n.States[e.State] == "LISTEN" {
			v.BacklogConnections, v.BacklogLimit = event.Num(int64(e.Backlog)), event.Num(int64(e.MaxBacklog))
		} else {
			n.counters(e, v)
		}
	}
	if e.FileRefs > 0 {
		v.FileReferences = event.Num(e.FileRefs)
	}
	switch {
	case has(e, kernelResetFlagsRESET_ARRIVED):
		v.SegmentFlags = tcpFlags(e.TriggerFlags)
	case Triggered(e) || e.TriggerFlags != 0:
		v.SegmentBytes = event.Num(int64(e.TriggerLen))
		v.SegmentFlags = tcpFlags(e.TriggerFlags)
	}
	if e.OpenedNs > 0 && e.TimeNs >= e.OpenedNs {
		v.AgeNS = event.Num(int64(e.TimeNs - e.OpenedNs))
	}
	if e.ClosedNs > 0 && e.TimeNs >= e.ClosedNs {
		v.SinceClosedNS = event.Num(int64(e.TimeNs - e.ClosedNs))
	}
}

func (n *Names) counters(e *ResetEvent, v *event.Evidence) {
	fin := int64(0)
	if has(e, kernelResetFlagsRESET_PEER_FIN) {
		fin = 1
	}
	unread := int64(int32(e.RcvNxt - e.CopiedSeq))
	// The FIN is the last thing in the queue: while anything is unread, so is it.
	if unread > 0 {
		unread -= fin
	}
	v.UnreadBytes = event.Num(max(unread, 0))
	v.ReceivedBytes = event.Num(max(int64(e.BytesReceived)-fin, 0))
	sent := int64(e.BytesSent) - int64(e.BytesRetrans)
	v.SentBytes = event.Num(max(sent, 0))
	acked := int64(e.BytesAcked)
	if has(e, kernelResetFlagsRESET_ACTIVE_OPEN) && acked > 0 {
		acked-- // the SYN of the side that connected
	}
	v.AckedBytes = event.Num(min(max(acked, 0), max(sent, 0))) // an acknowledged FIN counts as one more
	// Our FIN takes a sequence number that is no data.
	if unsent := int64(int32(e.WriteSeq - e.SndNxt)); unsent > 0 {
		v.UnsentBytes = event.Num(unsent)
	}
	if e.TotalRetrans > 0 {
		v.RetransmitSegments = event.Num(int64(e.TotalRetrans))
	}
	if e.ProbesOut > 0 {
		v.ProbesUnanswered = event.Num(int64(e.ProbesOut))
	}
	if e.UserTimeoutMs > 0 {
		v.UserTimeoutMS = event.Num(int64(e.UserTimeoutMs))
	}
	if e.SrttUs > 0 {
		v.RTTNS = event.Num(int64(e.SrttUs) * 1000)
	}
	if n.HZ == 0 {
		return
	}
	tick := int64(1e9) / int64(n.HZ)
	if e.BytesReceived > 0 || n.States[e.State] != "SYN_SENT" {
		v.SilenceNS = event.Num(int64(e.HeardAgoJiffies) * tick)
	}
	if sent > 0 {
		v.SinceSentNS = event.Num(int64(e.SentAgoJiffies) * tick)
	}
}

// tcpFlags writes the flags as tcpdump does.
func tcpFlags(f uint8) string {
	var b [8]byte
	n := 0
	for i, c := range []byte("FSRP.UEW") {
		if f&(1<<i) != 0 {
			b[n] = c
			n++
		}
	}
	return string(b[:n])
}
