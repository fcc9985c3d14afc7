package probe

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"rstwhy/internal/event"
)

// kernelWants is admit() and wanted() of bpf/ in Go, statement by statement,
// over the bytes that the kernel side is given.
func kernelWants(w *kernelFilter, e *ResetEvent) bool {
	if (Sent(e) && w.NoSent != 0) || (!Sent(e) && w.NoReceived != 0) {
		return false
	}
	l := e.LocalAddr
	v4 := binary.LittleEndian.Uint64(l[:]) == 0 && l[8] == 0 && l[9] == 0 && l[10] == 0xff && l[11] == 0xff
	if (v4 && w.NoIpv4 != 0) || (!v4 && w.NoIpv6 != 0) {
		return false
	}
	match := func(n uint8, test func(i int) bool) bool {
		hit := n == 0
		for i := range int(n) {
			hit = hit || test(i)
		}
		return hit
	}
	in := func(addr [16]uint8, i int) bool {
		for b := range addr {
			if addr[b]&w.Addrs[i].Mask[b] != w.Addrs[i].Addr[b] {
				return false
			}
		}
		return true
	}
	return match(w.PortsLen, func(i int) bool { return w.Ports[i] == e.LocalPort || w.Ports[i] == e.PeerPort }) &&
		match(w.LocalPortsLen, func(i int) bool { return w.LocalPorts[i] == e.LocalPort }) &&
		match(w.PeerPortsLen, func(i int) bool { return w.PeerPorts[i] == e.PeerPort }) &&
		match(w.AddrsLen, func(i int) bool { return in(e.LocalAddr, i) || in(e.PeerAddr, i) })
}

// Few values, so that filters and tuples meet; the addresses differ in bits on
// and beside the prefixes' ends.
var (
	somePorts = []uint16{1, 80, 443, 10245, 65535}
	someAddrs = []string{
		"::ffff:10.0.0.1", "::ffff:10.0.0.255", "::ffff:10.0.1.0", "::ffff:10.128.0.0", "::ffff:127.0.0.1", "::ffff:0.0.0.0",
		"::ffff:255.255.255.255", "::1", "::", "2001:db8::1", "2001:db8::8000:0:0:1", "2001:db9::1", "fe80::1", "ffff::",
	}
	somePrefixes = []string{
		"10.0.0.0/24", "10.0.0.1/32", "10.0.0.0/8", "10.0.0.0/9", "0.0.0.0/0", "127.0.0.0/7", "::1/128",
		"2001:db8::/32", "2001:db8::/31", "2001:db8::/65", "2001:db8:0:0:8000::/65", "fe80::/10", "8000::/1",
	}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// some takes up to n values, most often none.
func some[T any](r *rand.Rand, n int, from []T) []T {
	if r.IntN(2) == 0 {
		return nil
	}
	var out []T
	for range r.IntN(n + 1) {
		out = append(out, pick(r, from))
	}
	return out
}

func randomFilter(r *rand.Rand) Filter {
	rarely := func() bool { return r.IntN(6) == 0 }
	f := Filter{
		Ports: some(r, 3, somePorts), LocalPorts: some(r, 3, somePorts), PeerPorts: some(r, FilterEntries, somePorts),
		NoIPv4: rarely(), NoIPv6: rarely(), NoSent: rarely(), NoReceived: rarely(),
	}
	for _, p := range some(r, FilterEntries, somePrefixes) {
		f.Addrs = append(f.Addrs, netip.MustParsePrefix(p))
	}
	return f
}

// TestFilterSidesAgree: the kernel and the replay leave out the same resets.
func TestFilterSidesAgree(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	kept, left := 0, 0
	for range 20000 {
		f := randomFilter(r)
		w, err := f.wire()
		if err != nil {
			t.Fatal(err)
		}
		e := bareReset()
		e.Direction = uint8(1 + r.IntN(2))
		e.LocalAddr, e.PeerAddr = addr16(pick(r, someAddrs)), addr16(pick(r, someAddrs))
		e.LocalPort, e.PeerPort = pick(r, somePorts), pick(r, somePorts)
		rec, err := testNames().Reset(&e, Clock{})
		if err != nil {
			t.Fatal(err)
		}
		kernel, user := kernelWants(&w, &e), f.Match(rec)
		if kernel != user {
			t.Fatalf("filter %+v, %s %s -> %s: kernel %v, user space %v", f, rec.Direction, rec.Local, rec.Peer, kernel, user)
		}
		if user {
			kept++
		} else {
			left++
		}
	}
	if kept < 2000 || left < 2000 {
		t.Errorf("%d kept, %d left out: too few of one for a test", kept, left)
	}
}

// TestAllIPv6 is where the sides differ on purpose: in the kernel ::/0 covers
// the v4-mapped form too, and user space, which always looks again, means IPv6.
func TestAllIPv6(t *testing.T) {
	f := Filter{Addrs: []netip.Prefix{netip.MustParsePrefix("::/0")}}
	for addr, want := range map[string]bool{"192.0.2.1": false, "2001:db8::1": true} {
		a := event.Endpoint{Address: netip.MustParseAddr(addr)}
		if got := f.Match(&event.Reset{Direction: event.Sent, Local: a, Peer: a}); got != want {
			t.Errorf("%s in ::/0: %v", addr, got)
		}
	}
}

func TestFilterTooMany(t *testing.T) {
	ports := make([]uint16, FilterEntries+1)
	for flag, f := range map[string]Filter{
		"-P": {Ports: ports}, "-L": {LocalPorts: ports}, "-D": {PeerPorts: ports}, "--addr": {Addrs: make([]netip.Prefix, FilterEntries+1)},
	} {
		_, err := f.wire()
		if err == nil || !strings.Contains(err.Error(), flag) || !strings.Contains(err.Error(), fmt.Sprint(FilterEntries)) {
			t.Errorf("%d values of %s: error %v", FilterEntries+1, flag, err)
		}
	}
	if err := (Filter{Ports: ports[:FilterEntries]}).Check(); err != nil {
		t.Errorf("%d ports: %v", FilterEntries, err)
	}
}
