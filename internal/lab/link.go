package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// linkQueue bounds the packets on their way in one direction. At 1500 bytes
// that is 1.5 MB, more than a receive window of the lab's connections.
const linkQueue = 1024

// linkRSTs bounds how many RSTs a link remembers.
const linkRSTs = 4096

// LinkEnd is one end of a Link: a namespace and its address on the link.
type LinkEnd struct {
	NS     *LinkNS
	Prefix netip.Prefix // IPv4 address with the link's prefix length
}

// Link joins two network namespaces by two TUN devices and a relay in this
// process, which holds back each packet for the same time, in order: on
// loopback a peer's answer arrives inside the very call that sent the segment,
// and most resets that a real network shows never happen. (The kernel's own
// delay, netem, is a module that many machines lack.)
//
// The relay sees every packet, so it is also the witness that does not share
// a line of code with the tracer: RSTs tells which RSTs were on the wire.
type Link struct {
	ends  [2]*os.File
	wg    sync.WaitGroup
	drops atomic.Uint64

	mu   sync.Mutex
	rsts []LinkRST
	over uint64 // RSTs beyond linkRSTs
	cuts map[linkFlow]bool
}

// LinkRST is a TCP segment with the RST flag that crossed the link.
type LinkRST struct {
	Time     time.Time
	Src, Dst netip.AddrPort
	ACK      bool // [R.] when true, [R] when false
}

// NewLink joins a and b with the given delay each way.
func NewLink(a, b LinkEnd, delay time.Duration) (*Link, error) {
	l := &Link{}
	for i, end := range []LinkEnd{a, b} {
		f, err := linkTUN(end)
		if err != nil {
			if i == 1 {
				l.ends[0].Close()
			}
			return nil, err
		}
		l.ends[i] = f
	}
	l.relay(l.ends[0], l.ends[1], delay)
	l.relay(l.ends[1], l.ends[0], delay)
	return l, nil
}

// Close removes both devices.
func (l *Link) Close() error {
	err := l.ends[0].Close()
	if e := l.ends[1].Close(); err == nil {
		err = e
	}
	l.wg.Wait()
	return err
}

// Drops is the number of packets that found a full queue.
func (l *Link) Drops() uint64 { return l.drops.Load() }

// RSTs gives the RSTs that entered the link from src to dst, oldest first, and
// whether more were seen than a link remembers.
func (l *Link) RSTs(src, dst netip.AddrPort) []LinkRST {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []LinkRST
	for _, r := range l.rsts {
		if r.Src == src && r.Dst == dst {
			out = append(out, r)
		}
	}
	return out
}

// AllRSTs gives every RST that crossed the link, and the number of those that
// were too many to remember.
func (l *Link) AllRSTs() (all []LinkRST, forgotten uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append(all, l.rsts...), l.over
}

type linkPacket struct {
	due  time.Time
	data []byte
}

// relay carries packets from one device to the other until either is closed.
func (l *Link) relay(from, to *os.File, delay time.Duration) {
	queue := make(chan linkPacket, linkQueue)
	l.wg.Add(2)
	go func() {
		defer l.wg.Done()
		defer close(queue)
		buf := make([]byte, 65536)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			now := time.Now()
			n = l.cut(buf[:n])
			l.witness(now, buf[:n])
			select {
			case queue <- linkPacket{now.Add(delay), append([]byte(nil), buf[:n]...)}:
			default:
				l.drops.Add(1)
			}
		}
	}()
	go func() {
		defer l.wg.Done()
		for p := range queue {
			time.Sleep(time.Until(p.due))
			// A device that is being closed, or is not up yet, loses the
			// packet as a cable would.
			if _, err := to.Write(p.data); err != nil {
				l.drops.Add(1)
			}
		}
	}()
}

// witness notes a packet that is an IPv4 TCP segment with RST (RFC 9293 §3.1).
func (l *Link) witness(now time.Time, p []byte) {
	if len(p) < 20 || p[0]>>4 != 4 || p[9] != unix.IPPROTO_TCP {
		return
	}
	hl := int(p[0]&0xf) * 4
	if hl < 20 || len(p) < hl+20 {
		return
	}
	const flagRST, flagACK = 0x04, 0x10
	tcp := p[hl:]
	if tcp[13]&flagRST == 0 {
		return
	}
	src, dst := netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20]))
	r := LinkRST{
		Time: now,
		Src:  netip.AddrPortFrom(src, binary.BigEndian.Uint16(tcp)),
		Dst:  netip.AddrPortFrom(dst, binary.BigEndian.Uint16(tcp[2:])),
		ACK:  tcp[13]&flagACK != 0,
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.rsts) == linkRSTs {
		l.over++
		return
	}
	l.rsts = append(l.rsts, r)
}

// linkTUN makes a TUN device in the end's namespace, with its address, up.
func linkTUN(end LinkEnd) (*os.File, error) {
	if !end.Prefix.Addr().Is4() {
		return nil, fmt.Errorf("link address %s is not IPv4: give an IPv4 prefix", end.Prefix)
	}
	var f *os.File
	err := end.NS.Do(func() error {
		const device = "rstwhy0"
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w (the kernel needs CONFIG_TUN)", err)
		}
		r, err := unix.NewIfreq(device)
		if err != nil {
			unix.Close(fd)
			return err
		}
		r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
			unix.Close(fd)
			return fmt.Errorf("make TUN device %s: %w", device, err)
		}
		// The poller takes the descriptor only after TUNSETIFF: before it,
		// poll reports an error (drivers/net/tun.c, tun_chr_poll).
		f = os.NewFile(uintptr(fd), "/dev/net/tun")
		mask := net.CIDRMask(end.Prefix.Bits(), 32)
		if err := linkTunAddress(device, end.Prefix.Addr().As4(), [4]byte(mask)); err != nil {
			f.Close()
			return err
		}
		if err := linkTunUp(device); err != nil {
			f.Close()
			return err
		}
		return nil
	})
	return f, err
}
