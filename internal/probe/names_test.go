package probe

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rstwhy/internal/event"
)

var cmpAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// reading is all that other rooms can learn from a raw reset.
type reading struct {
	Record  *event.Reset
	Process *event.Process
	Source  event.OwnerSource
	Answers []bool
	Actor   *event.Process
	Acted   bool
	Key     [2]uint32
}

func read(e *ResetEvent) reading {
	r, err := testNames().Reset(e, Clock{})
	if err != nil {
		return reading{}
	}
	actor, acted := Actor(e)
	seq, second, _ := PairKey(e)
	return reading{r, Process(&e.Owner), Source(e), []bool{
		Sent(e), Doubtful(e), SingleReference(e), Listened(e), Orphan(e), Triggered(e), MayBeFalse(e), WantsTombstone(e), ClosedByOwner(e), Listening(e),
	}, Process(actor), acted, [2]uint32{seq, second}}
}

// unread are the wire fields that no record shows, with the reason.
var unread = map[string]string{
	"Kind":   "Decode has looked at it",
	"Cookie": "joins records of one socket in the pipeline; never printed",
	"Pad":    "zero",
	"SndUna": "what is unacknowledged is counted in storms",
}

// TestEveryWireFieldIsUsed changes each field of each kind of record: what
// nothing reads has no place on the wire.
func TestEveryWireFieldIsUsed(t *testing.T) {
	used, all := map[string]bool{}, []string{}
	for _, make := range []func() ResetEvent{fullReset, listenReset, timewaitReset, bareReset, receivedReset, refusedReset} {
		base := make()
		before := read(&base)
		all = all[:0]
		var e ResetEvent
		eachField(reflect.ValueOf(&e).Elem(), "", func(name string, v reflect.Value) {
			all = append(all, name)
			e = make()
			change(v)
			if cmp.Diff(before, read(&e), cmpAddr) != "" {
				used[name] = true
			}
		})
	}
	for _, name := range all {
		_, excepted := unread[name]
		if !used[name] && !excepted {
			t.Errorf("nothing changes with %s", name)
		}
		if used[name] && excepted {
			t.Errorf("%s is used, and listed as not", name)
		}
	}
	if len(all) < 50 {
		t.Errorf("only %d fields were found", len(all))
	}
}

func eachField(v reflect.Value, prefix string, f func(string, reflect.Value)) {
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		switch {
		case sf.Name == "_":
		case sf.Type.Kind() == reflect.Struct:
			eachField(v.Field(i), prefix+sf.Name+".", f)
		default:
			f(prefix+sf.Name, v.Field(i))
		}
	}
}

func change(v reflect.Value) {
	switch v.Kind() {
	case reflect.Array:
		v.Index(0).SetUint(v.Index(0).Uint() ^ 1)
	case reflect.Int32, reflect.Int64:
		v.SetInt(v.Int() ^ 0x1010)
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(v.Uint() ^ 0x1010)
	case reflect.Uint16:
		v.SetUint(v.Uint() ^ 3)
	default:
		v.SetUint(v.Uint() ^ 1)
	}
}

// TestEveryFlagIsUsed does the same for the bits of flags.
func TestEveryFlagIsUsed(t *testing.T) {
	const last = kernelResetFlagsRESET_FORWARDED
	for f := kernelResetFlags(1); f <= last; f <<= 1 {
		used := false
		for _, e := range []ResetEvent{fullReset(), listenReset(), timewaitReset(), bareReset(), receivedReset(), refusedReset()} {
			before := read(&e)
			e.Flags ^= uint32(f)
			used = used || cmp.Diff(before, read(&e), cmpAddr) != ""
		}
		if used != (f != kernelResetFlagsRESET_RECOVERED) { // that one is only counted
			t.Errorf("flag %#x: used is %v", uint32(f), used)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, tt := range []struct{ raw, want string }{
		{"::ffff:192.0.2.7", "192.0.2.7"}, {"2001:db8::7", "2001:db8::7"}, {"::", "::"}, {"::192.0.2.7", "::c000:207"},
	} {
		e := fullReset()
		e.LocalAddr, e.PeerAddr = addr16(tt.raw), addr16(tt.raw)
		r, err := testNames().Reset(&e, Clock{})
		if err != nil {
			t.Fatal(err)
		}
		if want := netip.MustParseAddr(tt.want); r.Local.Address != want || r.Peer.Address != want {
			t.Errorf("%s is read as %s and %s", tt.raw, r.Local.Address, r.Peer.Address)
		}
	}
}

func TestTCPFlags(t *testing.T) {
	for flags, want := range map[uint8]string{
		0: "", 0x01: "F", 0x02: "S", 0x04: "R", 0x10: ".", 0x12: "S.", 0x18: "P.", 0x19: "FP.", 0xff: "FSRP.UEW",
	} {
		if got := tcpFlags(flags); got != want {
			t.Errorf("flags %#02x: %q, want %q", flags, got, want)
		}
	}
}

func TestStateAndReason(t *testing.T) {
	for _, tt := range []struct {
		name          string
		set           func(*ResetEvent)
		state, reason string // "" is null
		socket        event.SocketKind
		wantMalformed bool
	}{
		{name: "before the close", set: func(*ResetEvent) {}, state: "ESTABLISHED", reason: "TCP_ABORT_ON_CLOSE", socket: event.SocketFull},
		{name: "the close was not seen", set: func(e *ResetEvent) { e.PrevState = 0 }, state: "CLOSE", reason: "TCP_ABORT_ON_CLOSE", socket: event.SocketFull},
		{name: "stale previous state", set: func(e *ResetEvent) { e.State = 5 }, state: "FIN_WAIT2", reason: "TCP_ABORT_ON_CLOSE", socket: event.SocketFull},
		{name: "no socket", set: func(e *ResetEvent) { e.Socket, e.State = 0, 0 }, reason: "TCP_ABORT_ON_CLOSE", socket: event.SocketNone},
		{name: "reason not specified", set: func(e *ResetEvent) { e.Reason = 0 }, state: "ESTABLISHED", socket: event.SocketFull},
		{name: "a later kernel's reason", set: func(e *ResetEvent) { e.Reason = 999 }, state: "ESTABLISHED", socket: event.SocketFull},
		{name: "a later kernel's state", set: func(e *ResetEvent) { e.State = 99 }, reason: "TCP_ABORT_ON_CLOSE", socket: event.SocketFull},
		{name: "unknown direction", set: func(e *ResetEvent) { e.Direction = 3 }, wantMalformed: true},
		{name: "unknown kind of socket", set: func(e *ResetEvent) { e.Socket = 4 }, wantMalformed: true},
	} {
		e := fullReset()
		tt.set(&e)
		r, err := testNames().Reset(&e, Clock{})
		if tt.wantMalformed {
			if err == nil {
				t.Errorf("%s: no error", tt.name)
			}
			continue
		}
		if got := fmt.Sprint(deref(r.State), deref(r.Reason), r.Socket); err != nil || got != fmt.Sprint(tt.state, tt.reason, tt.socket) {
			t.Errorf("%s: state, reason, socket %q, %v", tt.name, got, err)
		}
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// TestIDs: no two records of one host and boot share their id.
func TestIDs(t *testing.T) {
	a := fullReset()
	ids := []string{ID(&a)}
	for _, f := range []func(*ResetEvent){
		func(e *ResetEvent) { e.TimeNs++ }, func(e *ResetEvent) { e.Cpu++ }, func(e *ResetEvent) { e.Seq++ },
		func(e *ResetEvent) { e.Cpu, e.Seq = 0x11, 0x1 }, // a has 0x1 and 0x11
	} {
		b := a
		f(&b)
		if id := ID(&b); slices.Contains(ids, id) {
			t.Errorf("two records are called %s", id)
		} else {
			ids = append(ids, id)
		}
	}
}
