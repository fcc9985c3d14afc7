package probe

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"rstwhy/internal/event"
)

// The wire structs of bpf/event.h, under names that other rooms can use.
type (
	ResetEvent  = kernelResetEvent
	CloserEvent = kernelCloserEvent
	Holder      = kernelHolder
	Tombstone   = kernelTombstone
	Owner       = kernelOwner
	Direction   = kernelResetDirection
)

// Kind of a raw record.
type Kind = kernelRecordKind

// The kinds of raw records.
const (
	KindReset   = kernelRecordKindRECORD_RESET
	KindCloser  = kernelRecordKindRECORD_CLOSER
	KindProcess = kernelRecordKindRECORD_PROCESS
)

// Record is a decoded raw record; Kind says which part is set.
type Record struct {
	Kind   Kind
	Reset  ResetEvent
	Closer CloserEvent
}

// ErrRecord says that the bytes are no record of this layout.
var ErrRecord = errors.New("malformed record")

// Decode copies raw bytes into rec. It is pure and allocates nothing.
func Decode(raw []byte, rec *Record) error {
	if len(raw) < 4 {
		return ErrRecord
	}
	rec.Kind = Kind(*(*uint32)(unsafe.Pointer(unsafe.SliceData(raw))))
	switch rec.Kind {
	case KindReset:
		if len(raw) < int(unsafe.Sizeof(rec.Reset)) {
			return ErrRecord
		}
		rec.Reset = *(*ResetEvent)(unsafe.Pointer(unsafe.SliceData(raw)))
		if d := Direction(rec.Reset.Direction); d != kernelResetDirectionDIRECTION_SENT && d != kernelResetDirectionDIRECTION_RECEIVED {
			return ErrRecord
		}
	case KindCloser, KindProcess:
		if len(raw) < int(unsafe.Sizeof(rec.Closer)) {
			return ErrRecord
		}
		rec.Closer = *(*CloserEvent)(unsafe.Pointer(unsafe.SliceData(raw)))
	default:
		return ErrRecord
	}
	return nil
}

// Sent tells the direction of a reset.
// It includes those that a firewall of this host made.
func Sent(e *ResetEvent) bool { return Direction(e.Direction) == kernelResetDirectionDIRECTION_SENT }

// Doubtful tells that the owner is stored and not proven, and that the kernel
// side will tell who closes the socket.
func Doubtful(e *ResetEvent) bool { return has(e, kernelResetFlagsRESET_DOUBT) }

// SingleReference tells that the socket's file had one reference at the reset,
// so that whoever closed it later is who held it.
func SingleReference(e *ResetEvent) bool { return e.FileRefs == 1 }

// Listened tells that the stored owner called listen() and may never have held
// the connection itself.
func Listened(e *ResetEvent) bool {
	return kernelOwnerHow(e.How) == kernelOwnerHowOWNER_INHERIT
}

// Orphan tells that no process can hold the socket any more.
func Orphan(e *ResetEvent) bool { return has(e, kernelResetFlagsRESET_DEAD) }

// Triggered tells that a received segment provoked the reset.
func Triggered(e *ResetEvent) bool { return has(e, kernelResetFlagsRESET_TRIGGER) }

// MayBeFalse tells that a received reset may be none: tcp_rcv_state_process
// and tcp_rcv_established call tcp_reset() for data that arrives after the
// process shut both directions, and then send a RST themselves. Where the segment
// was seen it was a RST.
func MayBeFalse(e *ResetEvent) bool {
	return !Sent(e) && !has(e, kernelResetFlagsRESET_ARRIVED) && (Orphan(e) || e.Shutdown == 3)
}

// WantsTombstone tells that a late look among the sockets that are gone may
// find what the kernel side missed by microseconds.
func WantsTombstone(e *ResetEvent) bool {
	const syn, ack = 0x02, 0x10
	return Sent(e) && !has(e, kernelResetFlagsRESET_TOMBSTONE) && Triggered(e) && e.TriggerFlags&(syn|ack) != syn &&
		(e.Socket == uint8(kernelSocketKindSOCKET_NONE) || e.Socket == uint8(kernelSocketKindSOCKET_TIMEWAIT))
}

// ApplyTombstone fills in what WantsTombstone asked for.
func ApplyTombstone(e *ResetEvent, t *Tombstone) {
	e.Flags |= uint32(kernelResetFlagsRESET_TOMBSTONE)
	switch t.ActiveOpen {
	case 1:
		e.Flags |= uint32(kernelResetFlagsRESET_ACTIVE_OPEN)
	case 2:
		e.Flags |= uint32(kernelResetFlagsRESET_PASSIVE_OPEN)
	}
	e.Owner, e.How, e.OpenedNs, e.ClosedNs = t.Owner, t.How, t.OpenedNs, t.ClosedNs
	e.Ended, e.ExitCode, e.LeftState = t.Ended, t.ExitCode, t.LeftState
	if e.Cookie == 0 {
		e.Cookie = t.Cookie
	}
}

func has(e *ResetEvent, f kernelResetFlags) bool { return e.Flags&uint32(f) != 0 }

// Comm is a kernel name as a string of valid UTF-8.
func Comm(b [16]uint8) string {
	n := bytes.IndexByte(b[:], 0)
	if n < 0 {
		n = len(b)
	}
	return strings.ToValidUTF8(string(b[:n]), "\uFFFD")
}

// Process makes the public form of an owner; nil where there is none.
func Process(o *Owner) *event.Process {
	if o.Tgid == 0 {
		return nil
	}
	return &event.Process{PID: o.Tgid, Comm: Comm(o.Comm), UID: o.Uid, CgroupID: o.CgroupId, StartBoot: o.StartNs}
}

// Clock turns boot-clock times into wall-clock times.
type Clock struct {
	Offset int64 `json:"offset_ns"` // CLOCK_REALTIME - CLOCK_BOOTTIME, ns
}

// Time converts a boot-clock time.
func (c Clock) Time(bootNS uint64) time.Time { return time.Unix(0, c.Offset+int64(bootNS)).UTC() }

// ID names a reset uniquely within one boot of one host: no two records of a
// CPU share their number, and the time tells rstwhy's sessions apart.
func ID(e *ResetEvent) string {
	b := make([]byte, 0, 32)
	b = strconv.AppendUint(b, e.TimeNs, 16)
	b = append(b, '-')
	b = strconv.AppendUint(b, uint64(e.Cpu), 16)
	b = append(b, '-')
	b = strconv.AppendUint(b, uint64(e.Seq), 16)
	return string(b)
}

func endpoint(addr [16]uint8, port uint16) event.Endpoint {
	return event.Endpoint{Address: netip.AddrFrom16(addr).Unmap(), Port: port}
}

// Reset makes the public record of a raw one. Owner, cause, ZooKeeper and
// verdict are for others to add.
func (n *Names) Reset(e *ResetEvent, c Clock) (*event.Reset, error) {
	r := &event.Reset{
		Type: "reset", Schema: event.Schema, ID: ID(e), Time: c.Time(e.TimeNs), Direction: event.Received,
		Local: endpoint(e.LocalAddr, e.LocalPort), Peer: endpoint(e.PeerAddr, e.PeerPort), NetNS: e.Netns,
		Socket: socketKind(e.Socket), OwnerSource: event.SourceNone,
	}
	if Sent(e) {
		r.Direction = event.Sent
	}
	// A recording is a foreign file: Decode did not see these bytes.
	if r.Direction == event.Received && Direction(e.Direction) != kernelResetDirectionDIRECTION_RECEIVED {
		return nil, fmt.Errorf("%w: direction %d", ErrRecord, e.Direction)
	}
	if e.Socket > uint8(kernelSocketKindSOCKET_REQUEST) {
		return nil, fmt.Errorf("%w: socket kind %d", ErrRecord, e.Socket)
	}
	if reason, ok := n.Reasons[e.Reason]; ok && Sent(e) {
		r.Reason = &reason
	}
	if r.Socket != event.SocketNone {
		st := e.State
		if n.States[st] == "CLOSE" && e.PrevState != 0 {
			st = e.PrevState
		}
		if s := n.States[st]; s != "" {
			r.State = &s
		}
	}
	if t := Comm(e.Thread); t != "" {
		r.Thread = &t
	}
	r.EndedBy = endedBy(e)
	r.Packets, r.Others = 1, []event.Process{}
	n.hook(e, r)
	n.facts(e, &r.Facts)
	n.evidence(e, &r.Evidence)
	return r, nil
}

func socketKind(k uint8) event.SocketKind {
	switch kernelSocketKind(k) {
	case kernelSocketKindSOCKET_FULL:
		return event.SocketFull
	case kernelSocketKindSOCKET_TIMEWAIT:
		return event.SocketTimewait
	case kernelSocketKindSOCKET_REQUEST:
		return event.SocketRequest
	}
	return event.SocketNone
}

// endedBy reads the kernel's wait status: the low seven bits are the signal,
// the next byte the exit status (include/uapi, wait(2)).
func endedBy(e *ResetEvent) *event.Ending {
	sig, status := int(e.ExitCode&0x7f), int(e.ExitCode>>8&0xff)
	switch kernelEndedBy(e.Ended) {
	case kernelEndedByENDED_CLOSE:
		return &event.Ending{Kind: event.EndClose}
	case kernelEndedByENDED_OOM:
		return &event.Ending{Kind: event.EndOOM, Signal: &sig}
	case kernelEndedByENDED_EXIT:
		if sig != 0 {
			return &event.Ending{Kind: event.EndSignal, Signal: &sig}
		}
		return &event.Ending{Kind: event.EndExit, Status: &status}
	}
	return nil
}

// Source says how the kernel side obtained the owner.
func Source(e *ResetEvent) event.OwnerSource {
	if e.Owner.Tgid == 0 {
		return event.SourceNone
	}
	if has(e, kernelResetFlagsRESET_TOMBSTONE) {
		return event.SourceTombstone
	}
	switch kernelOwnerHow(e.How) {
	case kernelOwnerHowOWNER_CURRENT:
		return event.SourceCurrent
	case kernelOwnerHowOWNER_LISTEN, kernelOwnerHowOWNER_INHERIT:
		return event.SourceListener
	case kernelOwnerHowOWNER_WALK:
		return event.SourceIterator
	}
	return event.SourceSocket
}

// ClosedByOwner tells that the stored owner itself gave up the connection, and
// that no process can hold the socket any more.
func ClosedByOwner(e *ResetEvent) bool {
	gone := has(e, kernelResetFlagsRESET_TOMBSTONE) || Orphan(e)
	return gone && kernelEndedBy(e.Ended) != kernelEndedByENDED_NONE
}

// Listening tells that the socket is a listener.
func Listening(e *ResetEvent) bool {
	const listen = 10 // TCP_LISTEN is ABI (include/net/tcp_states.h)
	return e.State == listen
}
