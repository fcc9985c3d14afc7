package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Tuple is a connection as its local socket sees it.
type Tuple struct {
	Local, Peer netip.AddrPort // IPv4 never v4-mapped
}

// Survival is what became of a connection.
type Survival int

// What a question can tell.
const (
	NotKnown Survival = iota // not asked, or not answered
	Alive                    // the connection, or its request, exists
	Gone                     // no socket has this tuple
)

// TCP states (include/net/tcp_states.h); requests appear as SYN_RECV.
const stateListen = 10

// Socket is what the kernel tells of one (struct inet_diag_msg).
type Socket struct {
	State    uint8 // of a TIME_WAIT entry its substate; of a request SYN_RECV
	TimeWait bool  // a TIME_WAIT entry
	Request  bool  // a connection request
	Cookie   uint64
}

// Listener tells that only a listener takes segments of the connection.
func (s Socket) Listener() bool { return s.State == stateListen }

const (
	stateSynRecv  = 3
	timerTimeWait = 3 // idiag_timer of inet_twsk_diag_fill
	timerRequest  = 1 // of inet_req_diag_fill, and of retransmissions
)

// socketIn reads one answer of at least messageLen bytes.
func socketIn(d []byte) Socket {
	return Socket{
		State: d[1], TimeWait: d[2] == timerTimeWait, Request: d[1] == stateSynRecv && d[2] == timerRequest,
		Cookie: uint64(binary.NativeEndian.Uint32(d[idInMessage+40:])) | uint64(binary.NativeEndian.Uint32(d[idInMessage+44:]))<<32,
	}
}

// Layout of struct inet_diag_req_v2 and struct inet_diag_msg
// (include/uapi/linux/inet_diag.h); the id begins with ports and addresses in
// network byte order.
const (
	sockDiagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	requestLen       = 56
	messageLen       = 72
	idInRequest      = 8
	idInMessage      = 4
	attrBytecode     = 1 // INET_DIAG_REQ_BYTECODE
)

// survive asks whether a socket has the tuple: first by the kernel's own lookup
// (inet_diag_find_one_icsk), which costs microseconds; where that leaves a doubt,
// by a dump of all sockets with these two ports, which walks the whole table.
func survive(s *Spaces, netns uint32, t Tuple, dump *credit) (Survival, Socket, error) {
	var conn *netlink.Conn
	var masters bool
	if err := s.Enter(netns, func() (err error) {
		masters = acceptsThroughMasters()
		conn, err = netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
		return err
	}); err != nil {
		return NotKnown, Socket{}, fmt.Errorf("ask for a socket: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return NotKnown, Socket{}, err
	}
	found, bound, err := lookup(conn, t)
	switch {
	case err != nil:
		return NotKnown, Socket{}, err
	case found.State != 0 && !found.Listener():
		return Alive, found, nil
	case found.Listener() && !bound && !masters && !t.Peer.Addr().IsLinkLocalUnicast():
		// The lookup prefers a connection or request to the listener; only
		// those bound to a device hide from it, and an unbound listener has
		// none (inet_request_bound_dev_if, tcp_v6_init_req).
		return Gone, found, nil
	case !dump.take():
		return NotKnown, found, nil
	}
	runtime.LockOSThread() // the cost is the thread's
	defer runtime.UnlockOSThread()
	started := cpuTime()
	alive, hidden, err := dumped(conn, t)
	dump.spend(cpuTime() - started)
	switch {
	case err != nil:
		return NotKnown, found, err
	case alive:
		return Alive, hidden, nil
	}
	return Gone, found, nil
}

// acceptsThroughMasters tells whether requests of unbound listeners may be bound
// to a VRF (net.ipv4.tcp_l3mdev_accept of this thread's namespace).
func acceptsThroughMasters() bool {
	b, err := os.ReadFile("/proc/sys/net/ipv4/tcp_l3mdev_accept")
	return err == nil && strings.TrimSpace(string(b)) != "0"
}

func family(t Tuple) uint8 {
	if t.Local.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// lookup gives the socket that a segment of this connection would find, state 0
// for none, and whether that socket is bound to a device.
func lookup(conn *netlink.Conn, t Tuple) (found Socket, bound bool, err error) {
	b := request(family(t), ^uint32(0))
	binary.BigEndian.PutUint16(b[idInRequest:], t.Local.Port())
	binary.BigEndian.PutUint16(b[idInRequest+2:], t.Peer.Port())
	copy(b[idInRequest+4:], t.Local.Addr().AsSlice())
	copy(b[idInRequest+20:], t.Peer.Addr().AsSlice())
	for i := idInRequest + 40; i < requestLen; i++ {
		b[i] = 0xff // INET_DIAG_NOCOOKIE, twice
	}
	answers, err := conn.Execute(message(b, netlink.Request))
	if errors.Is(err, unix.ENOENT) {
		return found, false, nil
	}
	if err != nil {
		return found, false, fmt.Errorf("ask for a socket: %w", err)
	}
	if len(answers) != 1 || len(answers[0].Data) < messageLen {
		return found, false, fmt.Errorf("ask for a socket: malformed answer")
	}
	d := answers[0].Data
	return socketIn(d), binary.NativeEndian.Uint32(d[idInMessage+36:]) != 0, nil
}

// dumped looks through all sockets with the two ports. A v4-mapped connection
// is in the dump of IPv6 or of IPv4, as its listener is.
func dumped(conn *netlink.Conn, t Tuple) (bool, Socket, error) {
	for _, f := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if f == unix.AF_INET && !t.Local.Addr().Is4() {
			continue
		}
		states := ^uint32(0) &^ (1 << stateListen)
		b := append(request(f, states), bytecode(t.Local.Port(), t.Peer.Port())...)
		answers, err := conn.Execute(message(b, netlink.Request|netlink.Dump))
		if err != nil {
			return false, Socket{}, fmt.Errorf("list sockets: %w", err)
		}
		for _, a := range answers {
			if len(a.Data) >= messageLen && idTuple(a.Data[0], a.Data[idInMessage:]) == t {
				return true, socketIn(a.Data), nil
			}
		}
	}
	return false, Socket{}, nil
}

func idTuple(family uint8, id []byte) Tuple {
	n := 16
	if family == unix.AF_INET {
		n = 4
	}
	local, _ := netip.AddrFromSlice(id[4 : 4+n])
	peer, _ := netip.AddrFromSlice(id[20 : 20+n])
	return Tuple{
		netip.AddrPortFrom(local.Unmap(), binary.BigEndian.Uint16(id)),
		netip.AddrPortFrom(peer.Unmap(), binary.BigEndian.Uint16(id[2:])),
	}
}

func request(family uint8, states uint32) []byte {
	b := make([]byte, requestLen)
	b[0], b[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], states)
	return b
}

func message(body []byte, flags netlink.HeaderFlags) netlink.Message {
	return netlink.Message{Header: netlink.Header{Type: sockDiagByFamily, Flags: flags}, Data: body}
}

// bytecode makes the kernel's filter "source port == local and destination port
// == peer" (struct inet_diag_bc_op: code, offset if true, offset if false; the
// operand is the second half of the pair that follows). A jump behind the end
// rejects.
func bytecode(local, peer uint16) []byte {
	const sourceAtLeast, sourceAtMost, peerAtLeast, peerAtMost = 2, 3, 4, 5 // INET_DIAG_BC_S_GE ...
	conditions := []struct {
		code uint8
		port uint16
	}{{sourceAtLeast, local}, {sourceAtMost, local}, {peerAtLeast, peer}, {peerAtMost, peer}}
	b := make([]byte, 4, 4+8*len(conditions))
	for i, c := range conditions {
		end := 8*(len(conditions)-i) + 4
		b = append(b, c.code, 8)
		b = binary.NativeEndian.AppendUint16(b, uint16(end))
		b = append(b, 0, 0)
		b = binary.NativeEndian.AppendUint16(b, c.port)
	}
	binary.NativeEndian.PutUint16(b, uint16(len(b)))
	binary.NativeEndian.PutUint16(b[2:], attrBytecode)
	return b
}
