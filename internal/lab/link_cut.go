package lab

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// linkFlow is one direction of a connection.
type linkFlow struct{ src, dst netip.AddrPort }

// Cut plays a middlebox that has forgotten the connection of a and b, as a
// firewall or a load balancer does after its idle time: the next segment of
// each direction arrives as an RST in its place, which no kernel sent.
func (l *Link) Cut(a, b netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cuts = map[linkFlow]bool{{a, b}: true, {b, a}: true}
}

// cut makes an RST of the packet where its flow is to be cut, and returns the
// packet's new length.
func (l *Link) cut(p []byte) int {
	if len(p) < 20 || p[0]>>4 != 4 || p[9] != unix.IPPROTO_TCP {
		return len(p)
	}
	hl := int(p[0]&0xf) * 4
	if hl < 20 || len(p) < hl+20 {
		return len(p)
	}
	tcp := p[hl:]
	f := linkFlow{
		netip.AddrPortFrom(netip.AddrFrom4([4]byte(p[12:16])), binary.BigEndian.Uint16(tcp)),
		netip.AddrPortFrom(netip.AddrFrom4([4]byte(p[16:20])), binary.BigEndian.Uint16(tcp[2:])),
	}
	l.mu.Lock()
	wanted := l.cuts[f]
	delete(l.cuts, f)
	l.mu.Unlock()
	if !wanted {
		return len(p)
	}
	// The segment's own sequence number is the one that the receiver expects
	// next (RFC 5961 §3.2), as long as none before it was lost.
	const flagRST, flagACK = 0x04, 0x10
	tcp[12], tcp[13] = 5<<4, flagRST|flagACK
	n := hl + 20
	binary.BigEndian.PutUint16(p[2:], uint16(n))
	linkChecksum(p[:hl], 10, 0)
	pseudo := uint32(unix.IPPROTO_TCP) + 20
	for i := 12; i < 20; i += 2 {
		pseudo += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	linkChecksum(tcp[:20], 16, pseudo)
	return n
}

// linkChecksum writes the internet checksum (RFC 1071) of b, which starts at
// sum, into the two bytes at.
func linkChecksum(b []byte, at int, sum uint32) {
	b[at], b[at+1] = 0, 0
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(b[at:], ^uint16(sum))
}
