package lab

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// TCP flags (RFC 9293 3.1).
const (
	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
)

// segment is a TCP segment as the speaker writes and reads it.
type segment struct {
	from, to netip.AddrPort
	seq, ack uint32
	flags    byte
	window   uint16
	options  []byte // a multiple of four bytes
	payload  []byte
	spoilt   bool // written with a wrong checksum
}

// speaker is a peer that no kernel runs: it writes segments of its own making
// into a TUN device of the bench's network namespace, and hears what the kernel
// answers.
type speaker struct {
	ctx    context.Context
	device *os.File
	addr   netip.Addr     // its own
	resets map[tuple4]int // RSTs of the kernel that it heard: a witness for the lab's own test
}

type tuple4 struct{ from, to netip.AddrPort }

// tunAddresses: the kernel's end and the speaker's, by family (RFC 5737, 3849).
var tunAddresses = map[bool][2]string{false: {"198.51.100.1", "198.51.100.2"}, true: {"2001:db8:1::1", "2001:db8:1::2"}}

// speaker gives the bench a network namespace of its own with a TUN device, at
// whose other end the speaker is.
func (b *Bench) speaker() *speaker {
	w := b.ownHome()
	addrs := tunAddresses[b.place == IPv6 || b.place == Veth6]
	near, far := netip.MustParseAddr(addrs[0]), netip.MustParseAddr(addrs[1])
	s := &speaker{ctx: b.ctx, addr: far, resets: map[tuple4]int{}}
	var err error
	if s.device, err = openTUN(w.PID); err != nil {
		fail("TUN device: %w: %w", ErrUnavailable, err)
	}
	b.undo = append(b.undo, func() { s.device.Close() })
	bits := map[bool]string{false: "/24", true: "/64"}[near.Is6()]
	w.doStr("up", -1, tunDevice)
	w.doStr("address", -1, tunDevice+" "+near.String()+bits)
	if near.Is6() {
		w.awaitRoute(near)
	}
	w.Addr = near.String()
	b.wires = append(b.wires, s)
	return s
}

const tunDevice = "lab2"

// openTUN makes a TUN device in the network namespace of a process.
func openTUN(pid int) (f *os.File, err error) {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	err = linkThread(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		r, err := unix.NewIfreq(tunDevice)
		if err == nil {
			r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, r)
		}
		if err != nil {
			unix.Close(fd)
			return err
		}
		f = os.NewFile(uintptr(fd), "/dev/net/tun") // after TUNSETIFF, see linkTUN
		return nil
	})
	return f, err
}

// say writes one segment.
// awaitRoute waits until packets to an IPv6 address are taken in: the kernel
// makes its route in a work of its own (net/ipv6/addrconf.c: addrconf_dad_work),
// and the speaker, unlike a kernel, sends each segment once.
func (w *Worker) awaitRoute(addr netip.Addr) {
	bits := addr.As16()
	route := hex.EncodeToString(bits[:]) + " 80 "
	began := time.Now()
	for end := limit(w.ctx); time.Now().Before(end); time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/ipv6_route", w.PID))
		if err != nil {
			fail("%s: routes: %w", w.Comm, err)
		}
		if strings.Contains(string(b), route) {
			return
		}
	}
	fail("%w", overdue(began, "a route to %v", addr))
}

func (s *speaker) say(g segment) {
	if _, err := s.device.Write(g.packet()); err != nil {
		fail("write a segment into the TUN device: %w", err)
	}
}

func (s *speaker) note(g segment) {
	if g.flags&flagRST != 0 {
		s.resets[tuple4{g.from, g.to}]++
	}
}

// hear waits for a segment of the kernel's.
func (s *speaker) hear(what string, ok func(segment) bool) segment {
	began := time.Now()
	g, err := s.listen(limit(s.ctx), ok)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = overdue(began, "a segment")
	}
	if err != nil {
		fail("no %s came from the kernel: %w", what, err)
	}
	return g
}

func (s *speaker) listen(until time.Time, ok func(segment) bool) (segment, error) {
	if err := s.device.SetReadDeadline(until); err != nil {
		return segment{}, err
	}
	for buf := make([]byte, 64<<10); ; {
		n, err := s.device.Read(buf)
		if err != nil {
			return segment{}, err
		}
		if g, is := parseSegment(buf[:n]); is {
			s.note(g)
			if ok(g) {
				return g, nil
			}
		}
	}
}

// drain reads what the kernel has said so far, and a little longer.
func (s *speaker) drain() {
	if _, err := s.listen(time.Now().Add(30*time.Millisecond), func(segment) bool { return false }); !errors.Is(err, os.ErrDeadlineExceeded) {
		fail("read from the TUN device: %w", err)
	}
}

// packet gives the segment its TCP and IP headers.
func (g *segment) packet() []byte {
	tcp := binary.BigEndian.AppendUint16(nil, g.from.Port())
	tcp = binary.BigEndian.AppendUint16(tcp, g.to.Port())
	tcp = binary.BigEndian.AppendUint32(tcp, g.seq)
	tcp = binary.BigEndian.AppendUint32(tcp, g.ack)
	tcp = append(tcp, byte(20+len(g.options))/4<<4, g.flags)
	tcp = binary.BigEndian.AppendUint16(tcp, g.window)
	tcp = append(tcp, 0, 0, 0, 0) // checksum, urgent pointer
	tcp = append(append(tcp, g.options...), g.payload...)
	from, to := g.from.Addr().AsSlice(), g.to.Addr().AsSlice()
	pseudo := append(append([]byte{}, from...), to...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(tcp)))
	pseudo = binary.BigEndian.AppendUint32(pseudo, unix.IPPROTO_TCP)
	sum := checksum(append(pseudo, tcp...))
	if g.spoilt {
		sum ^= 0x5555
	}
	binary.BigEndian.PutUint16(tcp[16:], sum)
	const ttl = 64
	if len(from) == 16 {
		ip := binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(len(tcp)))
		ip = append(ip, unix.IPPROTO_TCP, ttl)
		return append(append(append(ip, from...), to...), tcp...)
	}
	ip := binary.BigEndian.AppendUint16([]byte{0x45, 0}, uint16(20+len(tcp)))
	ip = append(ip, 0, 0, 0x40, 0, ttl, unix.IPPROTO_TCP, 0, 0)
	ip = append(append(ip, from...), to...)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	return append(ip, tcp...)
}

// checksum is the internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i]) << 8
		if i+1 < len(b) {
			sum += uint32(b[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// parseSegment reads an IPv4 or IPv6 packet with TCP in it.
func parseSegment(b []byte) (g segment, ok bool) {
	var from, to netip.Addr
	switch {
	case len(b) >= 40 && b[0]>>4 == 4 && b[9] == unix.IPPROTO_TCP:
		from, to = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		b = b[min(len(b), int(b[0]&0xf)*4):]
	case len(b) >= 60 && b[0]>>4 == 6 && b[6] == unix.IPPROTO_TCP:
		from, to = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
		b = b[40:]
	}
	if !from.IsValid() || len(b) < 20 {
		return g, false
	}
	return segment{
		from: netip.AddrPortFrom(from, binary.BigEndian.Uint16(b)), to: netip.AddrPortFrom(to, binary.BigEndian.Uint16(b[2:])),
		seq: binary.BigEndian.Uint32(b[4:]), ack: binary.BigEndian.Uint32(b[8:]), flags: b[13], window: binary.BigEndian.Uint16(b[14:]),
		payload: append([]byte(nil), b[min(len(b), int(b[12]>>4)*4):]...),
	}, true
}
