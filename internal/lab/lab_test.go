package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

func TestScenarioIDs(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Scenarios {
		if s.ID == "" || s.Title == "" || s.setup == nil || seen[s.ID] {
			t.Errorf("scenario %q is incomplete or double", s.ID)
		}
		seen[s.ID] = true
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" || os.Getenv("RSTWHY_ROOT") == "1" {
		t.Fatal("provoking resets needs root")
	}
	t.Skip("provoking resets needs root (set RSTWHY_ROOT=1 to make this a failure)")
}

// sniffer counts the RST packets that an AF_PACKET socket sees: a witness that
// shares nothing with the lab's own account.
type sniffer struct {
	fd   int
	mu   sync.Mutex
	seen map[tuple4]int
}

// sniff listens on every interface of the calling thread's network namespace.
// Incoming copies only: on lo and veth each packet comes in once in the
// namespaces that hold the receiver.
func sniff(t *testing.T) *sniffer {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})))
	if err != nil {
		t.Fatalf("packet socket: %v", err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20); err != nil {
		t.Fatal(err)
	}
	s := &sniffer{fd: fd, seen: map[tuple4]int{}}
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 256)
		for {
			select {
			case <-stop:
				return
			default:
			}
			n, from, err := unix.Recvfrom(fd, buf, 0)
			if ll, ok := from.(*unix.SockaddrLinklayer); err == nil && ok && ll.Pkttype != unix.PACKET_OUTGOING {
				s.packet(buf[:n])
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done; unix.Close(fd) })
	return s
}

func (s *sniffer) packet(b []byte) {
	var src, dst netip.Addr
	var tcp []byte
	switch {
	case len(b) >= 40 && b[0]>>4 == 4 && b[9] == unix.IPPROTO_TCP:
		src, _ = netip.AddrFromSlice(b[12:16])
		dst, _ = netip.AddrFromSlice(b[16:20])
		tcp = b[int(b[0]&15)*4:]
	case len(b) >= 60 && b[0]>>4 == 6 && b[6] == unix.IPPROTO_TCP:
		src, _ = netip.AddrFromSlice(b[8:24])
		dst, _ = netip.AddrFromSlice(b[24:40])
		tcp = b[40:]
	}
	if len(tcp) < 14 || tcp[13]&4 == 0 {
		return
	}
	k := tuple4{
		netip.AddrPortFrom(src, binary.BigEndian.Uint16(tcp)),
		netip.AddrPortFrom(dst, binary.BigEndian.Uint16(tcp[2:])),
	}
	s.mu.Lock()
	s.seen[k]++
	s.mu.Unlock()
}

func (s *sniffer) count(k tuple4) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[k]
}

// in runs f in a thread of another process's network namespace.
func in(t *testing.T, pid int, f func()) {
	t.Helper()
	errs := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err == nil {
			f()
		}
		errs <- err
	}()
	if err := <-errs; err != nil {
		t.Fatalf("enter the network namespace of process %d: %v", pid, err)
	}
}

// TestProvoked checks every scenario against the packets on the wire: each sent
// truth is a RST packet, and there is no other; each received truth has one.
func TestProvoked(t *testing.T) {
	needRoot(t)
	for _, place := range Places {
		t.Run(string(place), func(t *testing.T) {
			l, err := Open()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(l.Close)
			sniffers := sniffersAt(t, l, place)
			t.Run("scenarios", func(t *testing.T) {
				for i := range Scenarios {
					s := &Scenarios[i]
					if !slices.Contains(s.Where(), place) || !chosen(s, i, place) {
						continue
					}
					t.Run(s.ID, func(t *testing.T) {
						t.Parallel()
						provoke(t, l, s, place, sniffers)
					})
				}
			})
		})
	}
}

// chosen spreads the scenarios over the places; RSTWHY_LAB_ALL=1 runs all of them
// everywhere, RSTWHY_LAB_ONLY (a substring) some of them.
func chosen(s *Scenario, i int, place Place) bool {
	if !strings.Contains(s.ID, os.Getenv("RSTWHY_LAB_ONLY")) {
		return false
	}
	where := s.Where()
	return os.Getenv("RSTWHY_LAB_ALL") == "1" || where[i%len(where)] == place
}

func sniffersAt(t *testing.T, l *Lab, place Place) (all []*sniffer) {
	t.Helper()
	add := func() { all = append(all, sniff(t)) }
	switch place {
	case Own:
		in(t, l.holder("one").PID, add)
	case Veth, Veth6:
		left, right := l.vethPair()
		in(t, left.PID, add)
		in(t, right.PID, add)
	default:
		add()
	}
	return all
}

func provoke(t *testing.T, l *Lab, s *Scenario, place Place, sniffers []*sniffer) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	p, err := s.Prepare(ctx, l, place)
	if errors.Is(err, ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, w := range p.bench.private {
		in(t, w.PID, func() { sniffers = append(sniffers, sniff(t)) })
	}
	truths, err := p.Run()
	if errors.Is(err, ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(truths) == 0 {
		t.Fatal("the scenario tells nothing")
	}
	for _, w := range p.bench.wires {
		w.drain()
	}
	count := func(k tuple4) (n int) {
		for _, w := range sniffers {
			n += w.count(k)
		}
		for _, w := range p.bench.wires {
			n += w.resets[k]
		}
		return n
	}
	expected := expect(t, truths)
	// The sniffer needs a moment, on a busy machine more than one.
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		complete := true
		for k, e := range expected {
			complete = complete && count(k) >= max(e.sent, e.received)
		}
		if complete {
			break
		}
	}
	for k, e := range expected {
		switch got := count(k); {
		case e.senderHere && got != e.sent && (!e.sentMore || got < e.sent):
			t.Errorf("RST packets %v to %v: %d, the truth tells of %d sent", k.from, k.to, got, e.sent)
		case e.receiverHere && got != e.received && (!e.receivedMore || got < e.received):
			t.Errorf("RST packets %v to %v: %d, the truth tells of %d that arrived", k.from, k.to, got, e.received)
		case !e.senderHere && !e.receiverHere && got > 0:
			t.Errorf("RST packets %v to %v: %d, the truth tells of none", k.from, k.to, got)
		}
	}
}

// expectation is what the truths of one scenario say about the RST packets from
// one end to the other.
type expectation struct {
	sent, received           int
	sentMore, receivedMore   bool
	senderHere, receiverHere bool
}

func expect(t *testing.T, truths []Truth) map[tuple4]*expectation {
	t.Helper()
	all := map[tuple4]*expectation{}
	of := func(k tuple4) *expectation {
		if all[k] == nil {
			all[k] = &expectation{}
		}
		return all[k]
	}
	for _, tr := range truths {
		if tr.NetNS == 0 || (len(tr.Owners) == 0) != (tr.Comm == "") || tr.Hook == "" || tr.Actor == "" {
			t.Errorf("incomplete truth %+v", tr)
		}
		n := int(max(1, tr.Packets))
		if tr.Optional {
			n = 0
		}
		more := tr.Repeats || tr.Optional
		if tr.Direction == event.Sent {
			if tr.NAT != nil { // on the wire it comes from the service's address
				tr.Local = tr.NAT.Destination.AddrPort()
			}
			e := of(tuple4{tr.Local, tr.Peer})
			e.sent, e.senderHere, e.sentMore = e.sent+n, true, e.sentMore || more
		} else {
			e := of(tuple4{tr.Peer, tr.Local})
			e.received, e.receiverHere, e.receivedMore = e.received+n, true, e.receivedMore || more
		}
		of(tuple4{tr.Local, tr.Peer})
		of(tuple4{tr.Peer, tr.Local})
	}
	return all
}
