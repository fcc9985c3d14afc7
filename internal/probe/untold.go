package probe

import (
	"fmt"
	"slices"
)

// Untold tells that the kernel did not say which socket refused the RST (before
// 6.11), so that it must be asked for. Where there was none it says so.
func (n *Names) Untold(e *ResetEvent) bool {
	return has(e, kernelResetFlagsRESET_UNTOLD) && n.DropReasons[e.DropReason] != "NO_SOCKET"
}

// Refuser is what was found where a segment of the connection goes, after the RST.
type Refuser struct {
	Alive    bool  // the connection, its request, or its TIME_WAIT entry
	Listener bool  // it is gone, and the port listens
	State    uint8 // of a TIME_WAIT entry its substate
	TimeWait bool
	Request  bool
	Cookie   uint64
}

// SetRefuser writes what was found into the record of a RST that was dropped, as
// the kernel side of a newer kernel would have. It returns the cookie of the
// socket whose holder is the owner, or 0.
func (n *Names) SetRefuser(e *ResetEvent, s Refuser) (cookie uint64) {
	const ignored, killed = uint8(kernelResetEffectEFFECT_IGNORED), uint8(kernelResetEffectEFFECT_KILLED)
	plain := e.DropReason == n.DropNotSpecified
	switch {
	case s.Alive && s.TimeWait:
		e.State, e.TwSubstate, e.Socket, e.Effect = timeWait, s.State, uint8(kernelSocketKindSOCKET_TIMEWAIT), ignored
		return 0
	case s.Alive && s.Request:
		e.State, e.Socket, e.Effect = s.State, uint8(kernelSocketKindSOCKET_REQUEST), ignored
		return 0
	case s.Alive:
		e.Effect = ignored
	case s.Listener && plain && (!n.PlacesOnly || n.NobodyTold):
		// tcp_v4_rcv drops without a reason for requests and TIME_WAIT entries
		// only, and those that a RST ends are told (hook timewait). Where it has no
		// reasons at all, what met no socket is told (hooks answers), and what
		// something dropped before TCP had a connection, which is still there or
		// has left a tombstone.
		e.Effect = killed
	case s.Listener && n.DropReasons[e.DropReason] == "TCP_RESET":
		// the listener's own, or a connection's that is gone by now
	default:
		return 0
	}
	e.State, e.Socket = s.State, uint8(kernelSocketKindSOCKET_FULL)
	return s.Cookie
}

// EndedLater tells that an accepted RST ended the connection after the RST e.
func EndedLater(e, later *ResetEvent) bool {
	return kernelResetHook(later.Hook) == kernelResetHookHOOK_RECEIVE && later.TimeNs >= e.TimeNs && later.Netns == e.Netns &&
		later.LocalPort == e.LocalPort && later.PeerPort == e.PeerPort && later.LocalAddr == e.LocalAddr && later.PeerAddr == e.PeerAddr
}

// SetEnded writes that the RST met a connection that ended only later: its state
// then, and its owner.
func SetEnded(e *ResetEvent, state uint8, o *Owner, how uint8) {
	e.State, e.Socket, e.Effect = state, uint8(kernelSocketKindSOCKET_FULL), uint8(kernelResetEffectEFFECT_IGNORED)
	e.Owner, e.How = *o, how
}

// Challenged writes that the RST met a request that lived on.
func Challenged(e *ResetEvent) {
	e.Socket, e.Effect = uint8(kernelSocketKindSOCKET_REQUEST), uint8(kernelResetEffectEFFECT_IGNORED)
}

// timeWait is TCP_TIME_WAIT (include/net/tcp_states.h, ABI).
const timeWait = 6

// SeekMax bounds what one walk is asked for (SOUGHT in bpf/maps.h).
const SeekMax = 16

// Seek makes the next walks tell who holds the sockets of these cookies, too.
func (l *Live) Seek(cookies []uint64) error {
	var places [SeekMax]uint64
	copy(places[:], cookies)
	if slices.Equal(places[:], l.sought[:]) {
		return nil
	}
	if err := l.coll.Variables["sought"].Set(places); err != nil {
		return fmt.Errorf("seek sockets: %w", err)
	}
	l.sought = places
	return nil
}

// Sought tells that a walk was asked who holds this socket; stored: its holder is
// also the process that the kernel side remembers.
func Sought(h *Holder) (sought, stored bool) {
	return h.Doubt&uint32(kernelHolderFlagsHOLDER_SOUGHT) != 0, h.Doubt&uint32(kernelHolderFlagsHOLDER_STORED) != 0
}
