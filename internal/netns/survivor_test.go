package netns

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stranger is a peer without a kernel behind a TUN device: it says what the
// test tells it, and answers nothing.
type stranger struct {
	tun  *os.File
	mu   sync.Mutex
	acks map[uint16]uint32 // by its own port: the sequence number of the SYN-ACK that came
}

var (
	here  = netip.MustParseAddr("192.0.2.1")
	there = netip.MustParseAddr("192.0.2.2") // TEST-NET-1, RFC 5737
)

func newStranger(t *testing.T, r room) *stranger {
	t.Helper()
	p := &stranger{acks: map[uint16]uint32{}}
	r.inside(t, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		ifr, err := unix.NewIfreq("tun0")
		if err != nil {
			return err
		}
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
			return err
		}
		p.tun = os.NewFile(uintptr(fd), "tun")
		s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(s)
		for _, set := range []struct {
			request uint
			address [4]byte
		}{{unix.SIOCSIFADDR, here.As4()}, {unix.SIOCSIFNETMASK, [4]byte{255, 255, 255, 0}}} {
			ifr, _ := unix.NewIfreq("tun0")
			if err := ifr.SetInet4Addr(set.address[:]); err != nil {
				return err
			}
			if err := unix.IoctlIfreq(s, set.request, ifr); err != nil {
				return err
			}
		}
		return interfaceUp("tun0")
	})
	t.Cleanup(func() { p.tun.Close() })
	go p.listen()
	return p
}

func (p *stranger) listen() {
	b := make([]byte, 2048)
	for {
		n, err := p.tun.Read(b)
		if err != nil {
			return
		}
		if n >= 40 && b[0] == 0x45 && b[9] == unix.IPPROTO_TCP && b[33]&0x12 == 0x12 {
			p.mu.Lock()
			p.acks[binary.BigEndian.Uint16(b[22:])] = binary.BigEndian.Uint32(b[24:])
			p.mu.Unlock()
		}
	}
}

// answered waits for the SYN-ACK to that port.
func (p *stranger) answered(t *testing.T, port uint16) uint32 {
	t.Helper()
	for range 200 {
		p.mu.Lock()
		seq, ok := p.acks[port]
		p.mu.Unlock()
		if ok {
			return seq
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("no SYN-ACK came to port %d", port)
	return 0
}

const flagSYN, flagRST, flagACK = 0x02, 0x04, 0x10

// say sends one segment without options (RFC 791, RFC 9293).
func (p *stranger) say(t *testing.T, from, to uint16, flags byte, seq, ack uint32) {
	t.Helper()
	b := make([]byte, 40)
	b[0], b[3], b[8], b[9] = 0x45, 40, 64, unix.IPPROTO_TCP
	copy(b[12:], there.AsSlice())
	copy(b[16:], here.AsSlice())
	binary.BigEndian.PutUint16(b[10:], checksum(b[:20], 0))
	tcp := b[20:]
	binary.BigEndian.PutUint16(tcp, from)
	binary.BigEndian.PutUint16(tcp[2:], to)
	binary.BigEndian.PutUint32(tcp[4:], seq)
	binary.BigEndian.PutUint32(tcp[8:], ack)
	tcp[12], tcp[13] = 0x50, flags
	binary.BigEndian.PutUint16(tcp[14:], 65535)
	pseudo := uint32(unix.IPPROTO_TCP + 20)
	for i := 12; i < 20; i += 2 {
		pseudo += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	binary.BigEndian.PutUint16(tcp[16:], checksum(tcp, pseudo))
	if _, err := p.tun.Write(b); err != nil {
		t.Fatal(err)
	}
}

func checksum(b []byte, sum uint32) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// listener is a listening socket of the room: IPv4, or IPv6 that takes IPv4
// too; bound to a device or not.
func (r room) listener(t *testing.T, six bool, device string) (port uint16) {
	t.Helper()
	r.inside(t, func() error {
		family, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{})
		if six {
			family, sa = unix.AF_INET6, &unix.SockaddrInet6{}
		}
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		t.Cleanup(func() { unix.Close(fd) })
		if device != "" {
			if err := unix.BindToDevice(fd, device); err != nil {
				return err
			}
		}
		if err := unix.Bind(fd, sa); err != nil {
			return err
		}
		if err := unix.Listen(fd, 10); err != nil {
			return err
		}
		switch sa, err := unix.Getsockname(fd); sa := sa.(type) {
		case *unix.SockaddrInet4:
			port = uint16(sa.Port)
		case *unix.SockaddrInet6:
			port = uint16(sa.Port)
		default:
			return err
		}
		return nil
	})
	return port
}

// TestSurvivor: a connection request is found while it lives, through inexact
// RSTs, and no more once an exact one killed it; also where the listener hides
// it from the plain lookup. No module is loaded by it.
func TestSurvivor(t *testing.T) {
	before := loadedModules(t)
	r := newRoom(t)
	p := newStranger(t, r)
	spaces := NewSpaces()
	spaces.Note(r.inode, r.pid)
	a := NewAsker(spaces, false)
	defer a.Close()
	if err := a.modules.Survivors(); err != nil {
		t.Skipf("cannot be asked here: %v", err)
	}
	port := uint16(40000)
	for _, tt := range []struct {
		name   string
		six    bool
		device string
		slow   bool // needs the dump
	}{{"IPv4", false, "", false}, {"v4-mapped", true, "", false}, {"bound to a device", false, "tun0", true}, {"v4-mapped, bound", true, "tun0", true}} {
		t.Run(tt.name, func(t *testing.T) {
			port++
			to := r.listener(t, tt.six, tt.device)
			tuple := Tuple{netip.AddrPortFrom(here, to), netip.AddrPortFrom(there, port)}
			is := func(want Survival) {
				t.Helper()
				dumps := a.dumps.spent
				if got := ask(t, a, r.inode, tuple); got != want {
					t.Errorf("survival %d, want %d (trouble %v)", got, want, a.Trouble())
				}
				if dumped := a.dumps.spent > dumps; want == Gone && dumped != tt.slow {
					t.Errorf("asked by a dump: %v", dumped)
				}
			}
			is(Gone)
			p.say(t, port, to, flagSYN, 1000, 0)
			synack := p.answered(t, port)
			is(Alive)
			p.say(t, port, to, flagRST, 1001+70000, 0) // out of window
			is(Alive)
			p.say(t, port, to, flagRST, 1001, 0)
			is(Gone)
			p.say(t, port, to, flagACK, 1001, synack+1) // answered with a RST, not with a connection
			is(Gone)
			p.say(t, port, to, flagSYN, 5000, 0)
			time.Sleep(20 * time.Millisecond)
			synack = p.answered(t, port)
			p.say(t, port, to, flagACK, 5001, synack+1)
			time.Sleep(20 * time.Millisecond)
			is(Alive) // established
		})
	}
	if after := loadedModules(t); after != before {
		t.Errorf("modules before:\n%s\nafter:\n%s", before, after)
	}
}

// loadedModules are names: the counts of their users move with every socket.
func loadedModules(t *testing.T) (names string) {
	b, err := os.ReadFile("/proc/modules")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		name, _, _ := strings.Cut(line, " ")
		names += name + "\n"
	}
	return names
}

func ask(t *testing.T, a *Asker, netns uint32, tuple Tuple) Survival {
	t.Helper()
	for range 100 { // over the bound it is not taken
		if q := a.Survivor(netns, tuple); q != nil {
			for range 400 {
				if s, ok := q.Survival(); ok {
					return s
				}
				time.Sleep(time.Millisecond)
			}
			t.Fatal("no answer")
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the question was never taken")
	return NotKnown
}

// TestAskerBound: a flood of questions is refused, quickly, and not answered.
func TestAskerBound(t *testing.T) {
	a := NewAsker(NewSpaces(), false)
	defer a.Close()
	taken := 0
	start := time.Now()
	for i := range 10000 {
		if a.Survivor(1, Tuple{netip.AddrPortFrom(here, 1), netip.AddrPortFrom(there, uint16(i))}) != nil {
			taken++
		}
	}
	if took := time.Since(start); taken < burst || taken > burst+1+int(took.Seconds()*perSecond) {
		t.Errorf("%d of 10000 questions were taken in %v", taken, took)
	}
	if s, ok := (*Question)(nil).Survival(); s != NotKnown || !ok {
		t.Error("a question that was not taken has no answer")
	}
}

// TestSurvivorElsewhere: a namespace that is gone gives no answer, and neither
// does one that a pid leads to no more.
func TestSurvivorElsewhere(t *testing.T) {
	r := newRoom(t)
	spaces := NewSpaces()
	spaces.Note(r.inode+1, r.pid)
	a := NewAsker(spaces, false)
	defer a.Close()
	if got := ask(t, a, r.inode+1, Tuple{netip.AddrPortFrom(here, 1), netip.AddrPortFrom(there, 2)}); got != NotKnown {
		t.Errorf("survival %d in a namespace that does not exist", got)
	}
	if why := fmt.Sprint(a.Trouble()); why == "[]" {
		t.Error("no reason is given")
	}
}
