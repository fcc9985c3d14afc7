package probe

import (
	"fmt"
	"net/netip"

	"rstwhy/internal/event"
)

// Filter is what can be decided from the 4-tuple and the direction alone. The
// kernel applies it live, Match on replay.
type Filter struct {
	Addrs      []netip.Prefix `json:"addrs,omitempty"`       // either end
	Ports      []uint16       `json:"ports,omitempty"`       // either end
	LocalPorts []uint16       `json:"local_ports,omitempty"` // this host's end
	PeerPorts  []uint16       `json:"peer_ports,omitempty"`  // the other end
	NoIPv4     bool           `json:"no_ipv4,omitempty"`
	NoIPv6     bool           `json:"no_ipv6,omitempty"`
	NoSent     bool           `json:"no_sent,omitempty"`
	NoReceived bool           `json:"no_received,omitempty"`
}

// FilterEntries is how many addresses, and ports of a kind, a filter can hold.
const FilterEntries = 8

// Check says which flag was given too often.
func (f Filter) Check() error {
	for _, n := range []struct {
		what string
		len  int
	}{{"--addr", len(f.Addrs)}, {"-P", len(f.Ports)}, {"-L", len(f.LocalPorts)}, {"-D", len(f.PeerPorts)}} {
		if n.len > FilterEntries {
			return fmt.Errorf("%s is given %d times; at most %d are possible", n.what, n.len, FilterEntries)
		}
	}
	return nil
}

func (f Filter) wire() (kernelFilter, error) {
	var w kernelFilter
	if err := f.Check(); err != nil {
		return w, err
	}
	for i, p := range f.Addrs {
		bits := p.Bits()
		if p.Addr().Is4() {
			bits += 96
		}
		for b := range 16 {
			w.Addrs[i].Mask[b] = ^byte(0) << (8 - min(max(bits-b*8, 0), 8))
		}
		a := p.Addr().As16()
		for b := range 16 {
			w.Addrs[i].Addr[b] = a[b] & w.Addrs[i].Mask[b]
		}
	}
	copy(w.Ports[:], f.Ports)
	copy(w.LocalPorts[:], f.LocalPorts)
	copy(w.PeerPorts[:], f.PeerPorts)
	w.AddrsLen, w.PortsLen = uint8(len(f.Addrs)), uint8(len(f.Ports))
	w.LocalPortsLen, w.PeerPortsLen = uint8(len(f.LocalPorts)), uint8(len(f.PeerPorts))
	w.NoIpv4, w.NoIpv6, w.NoSent, w.NoReceived = flag(f.NoIPv4), flag(f.NoIPv6), flag(f.NoSent), flag(f.NoReceived)
	return w, nil
}

func flag(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// Match applies the filter to a finished record. The kernel side lets through
// the sends that a false receive is joined with, so it is applied live too.
func (f Filter) Match(r *event.Reset) bool {
	l, p := r.Local, r.Peer
	if (r.Direction == event.Sent && f.NoSent) || (r.Direction == event.Received && f.NoReceived) {
		return false
	}
	if (l.Address.Is4() && f.NoIPv4) || (!l.Address.Is4() && f.NoIPv6) {
		return false
	}
	return matchAny(f.Ports, func(n uint16) bool { return n == l.Port || n == p.Port }) &&
		matchAny(f.LocalPorts, func(n uint16) bool { return n == l.Port }) &&
		matchAny(f.PeerPorts, func(n uint16) bool { return n == p.Port }) &&
		matchAny(f.Addrs, func(n netip.Prefix) bool { return n.Contains(l.Address) || n.Contains(p.Address) })
}

func matchAny[T any](list []T, hit func(T) bool) bool {
	for _, v := range list {
		if hit(v) {
			return true
		}
	}
	return len(list) == 0
}
