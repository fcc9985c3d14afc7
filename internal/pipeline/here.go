package pipeline

import (
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"rstwhy/internal/probe"
)

// here knows addresses of this host: those of the interfaces that rstwhy sees,
// and those that were the local end of a reset.
type here struct {
	netns  uint32 // rstwhy's own
	own    map[netip.Addr]bool
	readAt uint64
	read   func() ([]net.Addr, error)
	seen   map[hereKey]uint64 // boot-clock ns of the latest record
	any    map[netip.Addr]uint64
}

type hereKey struct {
	netns uint32
	addr  netip.Addr
}

const (
	hereMax     = 4096 // addresses remembered
	hereFor     = 60e9 // a record's local address is believed so long to be on this host
	hereCertain = 2e9  // and so long for certain: addresses move between hosts
	ownEvery    = 30e9 // interfaces are read anew
	ownCertain  = 1e9
)

func newHere() here {
	h := here{read: net.InterfaceAddrs, seen: map[hereKey]uint64{}, any: map[netip.Addr]uint64{}}
	h.netns, _ = netnsOf("/proc/self/ns/net")
	return h
}

func netnsOf(path string) (uint32, bool) {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0, false
	}
	return uint32(st.Ino), true
}

// refresh reads the interfaces unless that was done within age.
func (h *here) refresh(now, age uint64) {
	if h.own != nil && now-h.readAt < age {
		return
	}
	list, err := h.read()
	if err != nil {
		list = nil // what cannot be read is not claimed
	}
	h.own, h.readAt = map[netip.Addr]bool{}, now
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				h.own[addr.Unmap()] = true
			}
		}
	}
}

// note learns from a record: a socket of this host had the address.
func (h *here) note(e *probe.ResetEvent) {
	if hook := hookOf(e); hook != hookSend && hook != hookReceive {
		return // a dropped or rejected segment may have been on its way through
	}
	a := netip.AddrFrom16(e.LocalAddr).Unmap()
	if len(h.seen) >= hereMax {
		clear(h.seen)
	}
	if len(h.any) >= hereMax {
		clear(h.any)
	}
	h.seen[hereKey{e.Netns, a}] = e.TimeNs
	h.any[a] = e.TimeNs
}

// likely tells that the other end may well be on this host, in whatever
// network namespace: worth waiting for.
func (h *here) likely(e *probe.ResetEvent) bool {
	a := netip.AddrFrom16(e.PeerAddr).Unmap()
	at, ok := h.any[a]
	return a.IsLoopback() || e.PeerAddr == e.LocalAddr || h.own[a] || ok && e.TimeNs-min(at, e.TimeNs) < hereFor
}

// certain tells that the peer's address is one of the record's own network
// namespace, so that what comes from it was sent there.
func (h *here) certain(e *probe.ResetEvent, now uint64) bool {
	a := netip.AddrFrom16(e.PeerAddr).Unmap()
	if a.IsLoopback() || e.PeerAddr == e.LocalAddr {
		return true
	}
	if e.Netns == h.netns {
		h.refresh(now, ownCertain)
		return h.own[a]
	}
	at, ok := h.seen[hereKey{e.Netns, a}]
	return ok && max(e.TimeNs, at)-min(e.TimeNs, at) < hereCertain
}
