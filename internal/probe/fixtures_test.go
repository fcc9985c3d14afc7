package probe

import (
	"net/netip"
	"unsafe"
)

// testNames are those of Linux 6.18, as far as the fixtures need them.
func testNames() *Names {
	return &Names{States: kernelTCPStates, Reasons: map[uint16]string{1: "NO_SOCKET", 2: "TCP_ABORT_ON_CLOSE", 15: "TCP_STATE"}, DropReasons: map[uint16]string{3: "NO_SOCKET", 33: "TCP_INVALID_SEQUENCE"}, HZ: 250}
}

func addr16(s string) [16]uint8 { return netip.MustParseAddr(s).As16() }

func testOwner() Owner {
	o := Owner{StartNs: 4e9, CgroupId: 99, Tgid: 4242, Uid: 1000}
	copy(o.Comm[:], "kafka")
	return o
}

// fullReset is a connection that its process closed with unread data.
func fullReset() ResetEvent {
	e := ResetEvent{
		Kind: uint32(KindReset), Direction: uint8(kernelResetDirectionDIRECTION_SENT), Socket: uint8(kernelSocketKindSOCKET_FULL),
		Hook: uint8(kernelResetHookHOOK_SEND),
		Flags: uint32(kernelResetFlagsRESET_COUNTERS | kernelResetFlagsRESET_HAS_SOCKET | kernelResetFlagsRESET_TRIGGER |
			kernelResetFlagsRESET_LINGER | kernelResetFlagsRESET_ACTIVE_OPEN),
		TimeNs: 50e9, Cookie: 7, OpenedNs: 10e9, ClosedNs: 49e9,
		BytesSent: 1000, BytesRetrans: 100, BytesAcked: 500, BytesReceived: 300, FileRefs: 1,
		Owner: testOwner(), LocalAddr: addr16("::ffff:192.0.2.1"), PeerAddr: addr16("::ffff:192.0.2.2"),
		Netns: 4026531840, Cpu: 1, Seq: 17, RcvNxt: 5300, CopiedSeq: 5100, SndUna: 900, SndNxt: 1000, WriteSeq: 1100,
		TriggerSeq: 1, TriggerAck: 2, TriggerLen: 20, SrttUs: 800, UserTimeoutMs: 3000, TotalRetrans: 2,
		SentAgoJiffies: 25, HeardAgoJiffies: 50, LingerJiffies: 2500, Linger2: 15000, SkErr: 104, ExitCode: 9,
		LocalPort: 52574, PeerPort: 10245, Reason: 2, State: 7, PrevState: 1, TriggerFlags: 0x18, ProbesOut: 3, Shutdown: 1,
		How: uint8(kernelOwnerHowOWNER_CONNECT), Ended: uint8(kernelEndedByENDED_EXIT),
	}
	copy(e.Thread[:], "network-thread")
	return e
}

// listenReset is a listener that answers a stray segment.
func listenReset() ResetEvent {
	e := fullReset()
	e.State, e.PrevState, e.How = 10, 0, uint8(kernelOwnerHowOWNER_LISTEN)
	e.Backlog, e.MaxBacklog = 129, 128
	return e
}

// timewaitReset is late data for a socket that is gone.
func timewaitReset() ResetEvent {
	e := fullReset()
	e.Flags = uint32(kernelResetFlagsRESET_TRIGGER | kernelResetFlagsRESET_TOMBSTONE)
	e.Socket, e.State, e.PrevState = uint8(kernelSocketKindSOCKET_TIMEWAIT), 6, 0
	e.TwSubstate, e.LeftState = 5, 5
	return e
}

// refusedReset is a RST out of window, on a connection that conntrack translates
// and that another process destroyed.
func refusedReset() ResetEvent {
	e := fullReset()
	e.Direction, e.Hook, e.Flags = uint8(kernelResetDirectionDIRECTION_RECEIVED), uint8(kernelResetHookHOOK_DROP),
		e.Flags&^uint32(kernelResetFlagsRESET_TRIGGER)|uint32(kernelResetFlagsRESET_NAT|kernelResetFlagsRESET_ACTOR)
	e.DropReason, e.Effect, e.TriggerFlags = 33, uint8(kernelResetEffectEFFECT_IGNORED), 0x04
	e.Actor = testOwner()
	e.NatSource, e.NatDestination = addr16("::ffff:10.0.0.1"), addr16("::ffff:10.96.0.10")
	e.NatReplySource, e.NatReplyDestination = addr16("::ffff:10.0.1.1"), addr16("::ffff:10.0.0.1")
	e.NatSourcePort, e.NatDestinationPort, e.NatReplySourcePort, e.NatReplyDestinationPort = 4000, 443, 8443, 4000
	return e
}

// bareReset is one of which nothing is known but the addresses.
func bareReset() ResetEvent {
	return ResetEvent{
		Kind: uint32(KindReset), Direction: uint8(kernelResetDirectionDIRECTION_SENT), TimeNs: 1,
		LocalAddr: addr16("2001:db8::1"), PeerAddr: addr16("2001:db8::2"), LocalPort: 1, PeerPort: 2,
	}
}

// receivedReset is a RST accepted by an accepted connection.
func receivedReset() ResetEvent {
	e := fullReset()
	e.Direction, e.Reason, e.Hook = uint8(kernelResetDirectionDIRECTION_RECEIVED), 0, uint8(kernelResetHookHOOK_RECEIVE)
	e.Flags = uint32(kernelResetFlagsRESET_COUNTERS | kernelResetFlagsRESET_HAS_SOCKET | kernelResetFlagsRESET_PASSIVE_OPEN)
	e.State, e.PrevState, e.Ended = 8, 0, 0
	return e
}

func wireBytes[T any](v *T) []byte {
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))...)
}
