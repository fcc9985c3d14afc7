package probe

import (
	"fmt"
	"slices"
)

// Untold tells that the kernel did not say which socket refused the RST (before
// 6.11), so that it must be asked for.
func Untold(e *ResetEvent) bool { return has(e, kernelResetFlagsRESET_UNTOLD) }

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
	plain := e.DropReason == n.DropNotSpecified
	switch {
	case s.Alive && s.TimeWait:
		e.State, e.TwSubstate, e.Socket = timeWait, s.State, uint8(kernelSocketKindSOCKET_TIMEWAIT)
		return 0
	case s.Alive && s.Request:
		e.State, e.Socket = s.State, uint8(kernelSocketKindSOCKET_REQUEST)
		return 0
	case s.Alive:
	case s.Listener && plain && !n.PlacesOnly:
		// tcp_v4_rcv drops without a reason for requests and TIME_WAIT entries
		// only, and those that a RST ends are told (hook timewait).
	case s.Listener && n.DropReasons[e.DropReason] == "TCP_RESET":
		// the listener's own, or a connection's that is gone by now
	case s.Listener:
		return 0 // a request, or nothing at all: this kernel does not tell
	default:
		if n.PlacesOnly && plain && !has(e, kernelResetFlagsRESET_TOMBSTONE) {
			e.DropReason, e.Effect = noSocketDrop, uint8(kernelResetEffectEFFECT_IGNORED)
		}
		return 0
	}
	e.State, e.Socket = s.State, uint8(kernelSocketKindSOCKET_FULL)
	return s.Cookie
}

// Challenged writes that the RST met a request that lived on.
func Challenged(e *ResetEvent) { e.Socket = uint8(kernelSocketKindSOCKET_REQUEST) }

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
