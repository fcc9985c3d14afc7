package zk

import (
	"net/netip"
	"testing"
	"time"
)

// Four namespaces have an address asked at once, and then one a minute.
func TestAddresses(t *testing.T) {
	a := addresses{interval: time.Minute, spent: map[addressWord]time.Time{}}
	now := time.Now()
	for _, addr := range []string{"127.0.0.1:2181", "[::1]:2181", "169.254.0.1:2181", "[fe80::1%1]:2181"} {
		for range 100 {
			a.take(netip.MustParseAddrPort(addr), Srvr, now)
		}
		if now.Before(a.free(netip.MustParseAddrPort(addr), Srvr)) {
			t.Errorf("%s is another server in each namespace, and has to wait", addr)
		}
	}
	addr := netip.MustParseAddrPort("192.0.2.1:2181")
	var asked []int // seconds
	for s := range 601 {
		at := now.Add(time.Duration(s) * time.Second)
		for range 10 {
			if !at.Before(a.free(addr, Srvr)) {
				a.take(addr, Srvr, at)
				asked = append(asked, s)
			}
		}
	}
	if len(asked) != 16 || asked[5] != 0 || asked[6] != 60 || asked[7] != 120 || asked[15] != 600 {
		t.Errorf("asked after %d s", asked)
	}
	later := now.Add(601 * time.Second)
	if later.Before(a.free(addr, Conf)) || later.Before(a.free(netip.MustParseAddrPort("192.0.2.1:2182"), Srvr)) {
		t.Error("another word or port has to wait")
	}
	for i := range 3 * maxServers { // ten a second: those of the last minute count
		a.take(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1), Srvr, now.Add(time.Duration(i)*100*time.Millisecond))
	}
	if len(a.spent) > maxServers+1 {
		t.Errorf("%d addresses remembered", len(a.spent))
	}
}

// Ten pods that use one server do not have it asked ten times. Here no packet
// leaves, since the namespaces do not exist.
func TestOneAddressOfManyNamespaces(t *testing.T) {
	p := NewProber(Options{Timeout: time.Second})
	defer p.Close()
	ask := func(addr string) (n int) {
		for ns := range uint32(10) {
			p.Want(Target{NetNS: ns + 1, Addr: netip.MustParseAddrPort(addr)})
		}
		for idle := false; !idle; {
			select {
			case <-p.Results():
				n++
			case <-time.After(time.Millisecond):
				p.mu.Lock()
				idle = true
				for _, s := range p.servers {
					idle = idle && !s.pending()
				}
				p.mu.Unlock()
			}
		}
		for ; len(p.Results()) > 0; n++ {
			<-p.Results()
		}
		return n
	}
	if n := ask("192.0.2.1:2181"); n != addressBurst {
		t.Errorf("asked from %d namespaces", n)
	}
	if n := ask("192.0.2.1:2181"); n != 0 {
		t.Errorf("asked from %d namespaces again", n)
	}
	if n := ask("127.0.0.1:2181"); n != 10 {
		t.Errorf("a loopback address was asked in %d namespaces of 10", n)
	}
}
