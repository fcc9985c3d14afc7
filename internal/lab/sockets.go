package lab

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// row is a line of /proc/net/tcp. It is read instead of asking sock_diag,
// because a sock_diag dump gives every socket a cookie and so could help the
// tracer that is being tested.
type row struct {
	State    int  // include/net/tcp_states.h; the substate of a TIME_WAIT socket
	Timewait bool // a TIME_WAIT minisocket (timer kind 3 in get_timewait4_sock)
	Unread   int
	Unsent   int // sent and not acknowledged, or not sent
	Inode    int // 0: no process holds it
	Found    bool
}

const (
	stateEstablished = 1
	stateFinWait1    = 4
	stateFinWait2    = 5
)

// lookSockets finds one socket by "local peer".
func lookSockets(s string) (reply, error) {
	local, peer, err := twoAddresses(s)
	if err != nil {
		return reply{}, err
	}
	for _, file := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // no IPv6
		}
		for _, line := range strings.Split(string(text), "\n") {
			f := strings.Fields(line)
			if len(f) < 10 || procAddress(f[1]) != local || procAddress(f[2]) != peer {
				continue
			}
			b, err := json.Marshal(parseRow(f))
			return reply{Str: string(b)}, err
		}
	}
	return reply{Str: "{}"}, nil
}

func parseRow(f []string) row {
	number := func(s string, base int) int {
		n, _ := strconv.ParseInt(s, base, 64)
		return int(n)
	}
	tx, rx, _ := strings.Cut(f[4], ":")
	return row{
		State: number(f[3], 16), Timewait: strings.HasPrefix(f[5], "03:"),
		Unread: number(rx, 16), Unsent: number(tx, 16), Inode: number(f[9], 10), Found: true,
	}
}

// procAddress reads "0100007F:1F90": 32-bit words in the machine's byte order.
func procAddress(s string) netip.AddrPort {
	host, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	p, err2 := strconv.ParseUint(port, 16, 16)
	if err != nil || err2 != nil || len(b)%4 != 0 {
		return netip.AddrPort{}
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a.Unmap(), uint16(p))
}

func twoAddresses(s string) (local, peer netip.AddrPort, err error) {
	l, p, _ := strings.Cut(s, " ")
	if local, err = netip.ParseAddrPort(l); err == nil {
		peer, err = netip.ParseAddrPort(p)
	}
	return local, peer, err
}

// look finds a socket of the worker's network namespace.
func (w *Worker) look(local, peer netip.AddrPort) (r row) {
	s := w.doStr("sockets", -1, local.String()+" "+peer.String()).Str
	if err := json.Unmarshal([]byte(s), &r); err != nil {
		fail("%s: sockets: %w", w.Comm, err)
	}
	return r
}

// awaitRow waits until the socket is as wanted.
func (w *Worker) awaitRow(local, peer netip.AddrPort, what string, ok func(row) bool) {
	began := time.Now()
	var r row
	for end := limit(w.ctx); time.Now().Before(end); {
		if r = w.look(local, peer); ok(r) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	fail("%w: %+v", overdue(began, "socket %v to %v: %s", local, peer, what), r)
}

// destroySocket does what ss -K does: SOCK_DESTROY of "local peer"
// (struct inet_diag_req_v2, include/uapi/linux/inet_diag.h).
func destroySocket(s string) error {
	local, peer, err := twoAddresses(s)
	if err != nil {
		return err
	}
	const sockDestroy = 21
	b := []byte{unix.AF_INET, unix.IPPROTO_TCP, 0, 0}
	if local.Addr().Is6() {
		b[0] = unix.AF_INET6
	}
	b = binary.NativeEndian.AppendUint32(b, ^uint32(0)) // in any state
	b = binary.BigEndian.AppendUint16(b, local.Port())
	b = binary.BigEndian.AppendUint16(b, peer.Port())
	for _, a := range []netip.Addr{local.Addr(), peer.Addr()} {
		var field [16]byte
		copy(field[:], a.AsSlice())
		b = append(b, field[:]...)
	}
	b = binary.NativeEndian.AppendUint32(b, 0)          // any interface
	b = binary.NativeEndian.AppendUint64(b, ^uint64(0)) // INET_DIAG_NOCOOKIE
	if err := netlinkRequest(unix.NETLINK_SOCK_DIAG, sockDestroy, 0, b); err != nil {
		return fmt.Errorf("destroy the socket %v to %v: %w", local, peer, err)
	}
	return nil
}
