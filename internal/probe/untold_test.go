package probe

import "testing"

const (
	unanswered = uint8(kernelResetEffectEFFECT_UNKNOWN)
	refusedIt  = uint8(kernelResetEffectEFFECT_IGNORED)
	endedIt    = uint8(kernelResetEffectEFFECT_KILLED)
	noKind     = uint8(kernelSocketKindSOCKET_NONE)
	fullKind   = uint8(kernelSocketKindSOCKET_FULL)
	twKind     = uint8(kernelSocketKindSOCKET_TIMEWAIT)
	reqKind    = uint8(kernelSocketKindSOCKET_REQUEST)
)

// TestRefuser: what asking for the socket tells, on kernels with reasons (5.17 to
// 6.10), with places that tell what had no socket, and with places alone.
func TestRefuser(t *testing.T) {
	reasons := Names{DropReasons: map[uint16]string{5: "TCP_RESET", 3: "NO_SOCKET"}}
	places := Names{PlacesOnly: true, NobodyTold: true, DropReasons: map[uint16]string{}}
	blind := Names{PlacesOnly: true, DropReasons: map[uint16]string{}}
	for _, tt := range []struct {
		name   string
		names  *Names
		reason uint16
		found  Refuser
		kind   uint8
		effect uint8
		cookie uint64
	}{
		{"alive, established", &reasons, 5, Refuser{Alive: true, State: 1, Cookie: 7}, fullKind, refusedIt, 7},
		{"alive, of no reason", &places, 0, Refuser{Alive: true, State: 1, Cookie: 7}, fullKind, refusedIt, 7},
		{"alive in TIME_WAIT", &reasons, 0, Refuser{Alive: true, TimeWait: true, State: 5, Cookie: 7}, twKind, refusedIt, 0},
		{"alive request", &reasons, 0, Refuser{Alive: true, Request: true, State: 3, Cookie: 7}, reqKind, refusedIt, 0},
		{"the request is gone", &reasons, 0, Refuser{Listener: true, State: 10, Cookie: 8}, fullKind, endedIt, 8},
		{"the request is gone, places", &places, 0, Refuser{Listener: true, State: 10, Cookie: 8}, fullKind, endedIt, 8},
		{"the request may be gone", &blind, 0, Refuser{Listener: true, State: 10, Cookie: 8}, noKind, unanswered, 0},
		{"dropped before TCP, a listener there", &places, 4, Refuser{Listener: true, State: 10, Cookie: 8}, noKind, unanswered, 0},
		{"the listener's own", &reasons, 5, Refuser{Listener: true, State: 10, Cookie: 8}, fullKind, unanswered, 8},
		{"another reason, a listener there", &reasons, 9, Refuser{Listener: true, State: 10, Cookie: 8}, noKind, unanswered, 0},
		{"nothing there", &reasons, 0, Refuser{}, noKind, unanswered, 0},
	} {
		e := ResetEvent{DropReason: tt.reason, Hook: uint8(kernelResetHookHOOK_DROP), Flags: uint32(kernelResetFlagsRESET_UNTOLD)}
		cookie := tt.names.SetRefuser(&e, tt.found)
		if e.Socket != tt.kind || e.Effect != tt.effect || cookie != tt.cookie {
			t.Errorf("%s: socket %d, effect %d, cookie %d; want %d, %d, %d", tt.name, e.Socket, e.Effect, cookie, tt.kind, tt.effect, tt.cookie)
		}
	}
}

// TestWhoAsksForASocket: a kernel that says that there was none is not asked.
func TestWhoAsksForASocket(t *testing.T) {
	n := Names{DropReasons: map[uint16]string{3: "NO_SOCKET"}}
	e := ResetEvent{Flags: uint32(kernelResetFlagsRESET_UNTOLD)}
	if !n.Untold(&e) {
		t.Error("a RST whose socket is not told is not asked for")
	}
	if e.DropReason = 3; n.Untold(&e) {
		t.Error("the socket of a RST without one is asked for")
	}
	if n.Untold(&ResetEvent{}) {
		t.Error("the socket of a RST that has one is asked for")
	}
}

// TestAcceptedSegment: a RST that was seen to be one is not waited with.
func TestAcceptedSegment(t *testing.T) {
	e := ResetEvent{Direction: uint8(kernelResetDirectionDIRECTION_RECEIVED), Hook: uint8(kernelResetHookHOOK_RECEIVE), Shutdown: 3}
	if !MayBeFalse(&e) {
		t.Fatal("a reset of a socket shut down both ways is sure")
	}
	e.Flags |= uint32(kernelResetFlagsRESET_ARRIVED)
	if MayBeFalse(&e) {
		t.Error("a RST that was seen is not believed")
	}
}
