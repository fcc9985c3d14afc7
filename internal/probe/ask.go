package probe

import (
	"net/netip"

	"rstwhy/internal/event"
)

// EffectOpen tells that a RST was dropped and that only a look at what is left
// of its connection tells whether it killed it.
func EffectOpen(e *ResetEvent) bool {
	return e.Hook == uint8(kernelResetHookHOOK_DROP) && e.Effect == uint8(kernelResetEffectEFFECT_UNKNOWN)
}

// SetEffect writes what EffectOpen asked for into the record, as the kernel side
// would have.
func SetEffect(e *ResetEvent, killed bool) {
	e.Effect = uint8(kernelResetEffectEFFECT_IGNORED)
	if killed {
		e.Effect = uint8(kernelResetEffectEFFECT_KILLED)
	}
}

// NATOpen tells that the record cannot say what conntrack translated: where a
// full socket is concerned, the segment has lost its entry by then, or there is
// none (net/ipv4/ip_input.c: ip_local_deliver_finish resets it). Older kernels take
// it from every IPv6 segment before TCP has it (5.10, net/ipv6/ip6_input.c:
// ip6_protocol_deliver_rcu).
func (n *Names) NATOpen(e *ResetEvent) bool {
	sent := e.Hook == uint8(kernelResetHookHOOK_SEND)
	switch {
	case has(e, kernelResetFlagsRESET_NAT):
		return false
	case e.Socket == uint8(kernelSocketKindSOCKET_FULL):
		return sent || e.Hook == uint8(kernelResetHookHOOK_RECEIVE)
	}
	return n.Answers && sent && !netip.AddrFrom16(e.LocalAddr).Is4In6()
}

// SetNAT writes a translation into the record, as the kernel side would have.
func SetNAT(e *ResetEvent, n *event.NAT) {
	e.Flags |= uint32(kernelResetFlagsRESET_NAT)
	e.NatSource, e.NatSourcePort = n.Source.Address.As16(), n.Source.Port
	e.NatDestination, e.NatDestinationPort = n.Destination.Address.As16(), n.Destination.Port
	e.NatReplySource, e.NatReplySourcePort = n.ReplySource.Address.As16(), n.ReplySource.Port
	e.NatReplyDestination, e.NatReplyDestinationPort = n.ReplyDestination.Address.As16(), n.ReplyDestination.Port
}

// Ends are the record's two ends, IPv4 never v4-mapped.
func Ends(e *ResetEvent) (local, peer netip.AddrPort) {
	return endpoint(e.LocalAddr, e.LocalPort).AddrPort(), endpoint(e.PeerAddr, e.PeerPort).AddrPort()
}

// Requests tells that both RSTs met a connection request, and not what is left
// of a connection: the kernel names its listener, or the request.
func Requests(a, b *ResetEvent) bool {
	const timewait = uint8(kernelSocketKindSOCKET_TIMEWAIT)
	return a.Socket != timewait && b.Socket != timewait
}
