package probe

import "rstwhy/internal/event"

// PairKey identifies a RST from either of its ends: its sequence number and a
// second number that both ends know (KERNEL.md 9d; it survives NAT). ok is false
// where the record holds none. A receiver knows what it expected, not what came,
// so its key may differ where a FIN or a hole was before the RST.
func PairKey(e *ResetEvent) (seq, second uint32, ok bool) {
	const fin, syn, ack = 0x01, 0x02, 0x10
	switch kernelResetHook(e.Hook) {
	case kernelResetHookHOOK_SEND:
		if !Triggered(e) {
			return e.SndNxt, e.RcvNxt, has(e, kernelResetFlagsRESET_COUNTERS)
		}
		second = e.TriggerSeq + e.TriggerLen
		if e.TriggerFlags&fin != 0 {
			second++
		}
		if e.TriggerFlags&syn != 0 {
			second++
		}
		if e.TriggerFlags&ack != 0 {
			seq = e.TriggerAck
		}
		return seq, second, true
	case kernelResetHookHOOK_RECEIVE:
		if e.State != synSent {
			seq = e.RcvNxt
		}
		return seq, e.SndNxt, has(e, kernelResetFlagsRESET_COUNTERS)
	case kernelResetHookHOOK_DROP, kernelResetHookHOOK_FIREWALL:
		return e.TriggerSeq, e.TriggerAck, true // a RST without ACK has no second number on the wire: 0
	}
	return 0, 0, false
}

func (n *Names) hook(e *ResetEvent, r *event.Reset) {
	killed, ignored, unknown, refused := event.EffectKilled, event.EffectIgnored, event.EffectUnknown, event.EffectRefused
	hook := kernelResetHook(e.Hook)
	if hook == 0 && !Sent(e) {
		hook = kernelResetHookHOOK_RECEIVE // a recording older than this field
	}
	switch hook {
	case kernelResetHookHOOK_RECEIVE:
		r.Hook, r.Effect = event.HookReceive, &killed
		if n.States[e.State] == "SYN_SENT" {
			r.Effect = &refused
		}
	case kernelResetHookHOOK_DROP:
		r.Hook, r.Effect = event.HookDrop, &unknown
		switch kernelResetEffect(e.Effect) {
		case kernelResetEffectEFFECT_KILLED:
			r.Effect = &killed
		case kernelResetEffectEFFECT_IGNORED:
			r.Effect = &ignored
		}
		if reason, ok := n.DropReasons[e.DropReason]; ok {
			r.DropReason = &reason
		}
	case kernelResetHookHOOK_FIREWALL:
		r.Hook = event.HookFirewall
	default:
		r.Hook = event.HookSend
	}
	if has(e, kernelResetFlagsRESET_NAT) {
		r.NAT = &event.NAT{
			Source: endpoint(e.NatSource, e.NatSourcePort), Destination: endpoint(e.NatDestination, e.NatDestinationPort),
			ReplySource: endpoint(e.NatReplySource, e.NatReplySourcePort), ReplyDestination: endpoint(e.NatReplyDestination, e.NatReplyDestinationPort),
		}
	}
}

// Actor is the process that acted from outside on another one's socket.
func Actor(e *ResetEvent) (*Owner, bool) { return &e.Actor, has(e, kernelResetFlagsRESET_ACTOR) }
