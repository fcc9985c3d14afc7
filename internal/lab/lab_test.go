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

type tuple struct{ from, to netip.AddrPort }

// sniffer counts the RST packets that an AF_PACKET socket sees: a witness that
// shares nothing with the lab's own account.
type sniffer struct {
	fd   int
	mu   sync.Mutex
	seen map[tuple]int
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
	s := &sniffer{fd: fd, seen: map[tuple]int{}}
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
	k := tuple{
		netip.AddrPortFrom(src, binary.BigEndian.Uint16(tcp)),
		netip.AddrPortFrom(dst, binary.BigEndian.Uint16(tcp[2:])),
	}
	s.mu.Lock()
	s.seen[k]++
	s.mu.Unlock()
}

func (s *sniffer) count(k tuple) int {
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
					if s.Own && place != Own || !s.Own && !chosen(i, place) {
						continue
					}
					t.Run(s.ID, func(t *testing.T) {
						if s.Slow > 0 {
							t.Parallel()
						}
						provoke(t, l, s, place, sniffers)
					})
				}
			})
		})
	}
}

// chosen spreads the scenarios over the places, two for each; RSTWHY_LAB_ALL=1
// runs all of them everywhere.
func chosen(i int, place Place) bool {
	n := slices.Index(Places, place)
	return os.Getenv("RSTWHY_LAB_ALL") == "1" || i%len(Places) == n || (i+2)%len(Places) == n
}

func sniffersAt(t *testing.T, l *Lab, place Place) (all []*sniffer) {
	t.Helper()
	add := func() { all = append(all, sniff(t)) }
	switch place {
	case Own:
		in(t, l.holder("one").PID, add)
	case Veth:
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
	truths, err := s.Run(ctx, l, place)
	if errors.Is(err, ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(truths) == 0 {
		t.Fatal("the scenario tells nothing")
	}
	count := func(k tuple) (n int) {
		for _, w := range sniffers {
			n += w.count(k)
		}
		return n
	}
	want, repeats := map[tuple]int{}, map[tuple]bool{}
	for _, tr := range truths {
		k := tuple{tr.Local, tr.Peer}
		if tr.Direction == event.Received {
			k = tuple{tr.Peer, tr.Local}
			want[k] += 0
			continue
		}
		want[k]++
		want[tuple{k.to, k.from}] += 0
		repeats[k] = repeats[k] || tr.Repeats
		if tr.NetNS == 0 || (len(tr.Owners) == 0) != (tr.Comm == "") {
			t.Errorf("incomplete truth %+v", tr)
		}
	}
	// The sniffer needs a moment, on a busy machine more than one.
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		complete := true
		for k, n := range want {
			complete = complete && count(k) >= n
		}
		if complete {
			break
		}
	}
	for k, n := range want {
		if got := count(k); got != n && (!repeats[k] || got < n) {
			t.Errorf("RST packets %v to %v: %d, the truth tells of %d", k.from, k.to, got, n)
		}
	}
	for _, tr := range truths {
		if tr.Direction == event.Received && !tr.Optional && count(tuple{tr.Peer, tr.Local}) == 0 {
			t.Errorf("no RST packet for the truth %+v", tr)
		}
	}
}
