package netns

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rstwhy/internal/event"
)

// nft loads rules in the room.
func (r room) nft(t *testing.T, rules string) {
	t.Helper()
	nft, err := exec.LookPath("nft")
	if err != nil {
		if _, err := os.Stat("/usr/sbin/nft"); err != nil {
			if os.Getenv("CI") == "true" || os.Getenv("RSTWHY_ROOT") == "1" {
				t.Fatal("needs nft (package nftables); make test installs it")
			}
			t.Skip("needs nft (package nftables); make test installs it")
		}
		nft = "/usr/sbin/nft"
	}
	r.inside(t, func() error {
		if out, err := exec.Command(nft, rules).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", rules, err, out)
		}
		return nil
	})
}

// TestTranslation: a service address that the namespace itself translates is
// found from both ends of the connection; a connection that is not translated
// has none, and without conntrack nothing is asked.
func TestTranslation(t *testing.T) {
	before := loadedModules(t)
	r := newRoom(t)
	spaces := NewSpaces()
	spaces.Note(r.inode, r.pid)
	a := NewAsker(spaces, false)
	defer a.Close()
	if err := a.modules.Translations(); err != nil {
		t.Skipf("cannot be asked here: %v", err)
	}
	for _, tt := range []struct{ name, family, host string }{{"IPv4", "ip", "127.0.0.1"}, {"IPv6", "ip6", "::1"}} {
		t.Run(tt.name, func(t *testing.T) {
			server := netip.AddrPortFrom(netip.MustParseAddr(tt.host), 8080)
			service := netip.AddrPortFrom(server.Addr(), 80)
			var listener net.Listener
			r.inside(t, func() (err error) {
				listener, err = net.Listen("tcp", server.String())
				return err
			})
			defer listener.Close()
			if is, err := tracks(spaces, r.inode); tt.family == "ip" && (is || err != nil) {
				t.Fatalf("conntrack in use before any rule: %v, %v", is, err)
			}
			r.nft(t, fmt.Sprintf(`add table %[1]s nat; add chain %[1]s nat out { type nat hook output priority -100; }; add rule %[1]s nat out tcp dport 80 dnat to %[2]s`, tt.family, server))
			direct, _ := r.connect(t, listener, server)
			local, peer := r.connect(t, listener, service)

			want := &event.NAT{
				Source: endpointOf(local), Destination: endpointOf(service),
				ReplySource: endpointOf(server), ReplyDestination: endpointOf(local),
			}
			for _, end := range []Tuple{{local, service}, {server, peer}} {
				if diff := cmp.Diff(want, askNAT(t, a, r.inode, end), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
					t.Errorf("seen from %s (-want +got, trouble %v):\n%s", end.Local, a.Trouble(), diff)
				}
			}
			if got := askNAT(t, a, r.inode, Tuple{direct, server}); got != nil {
				t.Errorf("a connection that is not translated: %+v", got)
			}
			if got := askNAT(t, a, r.inode, Tuple{local, netip.AddrPortFrom(server.Addr(), 81)}); got != nil {
				t.Errorf("a connection that does not exist: %+v", got)
			}
		})
	}
	if after := loadedModules(t); after != before {
		t.Errorf("modules before:\n%s\nafter:\n%s", before, after)
	}
	empty := newRoom(t)
	spaces.Note(empty.inode, empty.pid)
	if is, err := tracks(spaces, empty.inode); is || err != nil {
		t.Errorf("an empty namespace uses conntrack: %v, %v", is, err)
	}
}

// connect opens a connection in the room and gives the client's address, and
// the client's address as the server sees it.
func (r room) connect(t *testing.T, l net.Listener, to netip.AddrPort) (local, seen netip.AddrPort) {
	t.Helper()
	var c net.Conn
	r.inside(t, func() (err error) {
		c, err = net.DialTimeout("tcp", to.String(), time.Second)
		return err
	})
	t.Cleanup(func() { c.Close() })
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return c.LocalAddr().(*net.TCPAddr).AddrPort(), s.RemoteAddr().(*net.TCPAddr).AddrPort()
}

func endpointOf(a netip.AddrPort) event.Endpoint {
	return event.Endpoint{Address: a.Addr(), Port: a.Port()}
}

func FuzzConntrackEntry(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00\x34\x00\x01\x80"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = conntrackEntry(b) })
}

func askNAT(t *testing.T, a *Asker, netns uint32, tuple Tuple) *event.NAT {
	t.Helper()
	for range 100 {
		if q := a.Translation(netns, tuple); q != nil {
			for range 400 {
				if n, ok := q.NAT(); ok {
					return n
				}
				time.Sleep(time.Millisecond)
			}
			t.Fatal("no answer")
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the question was never taken")
	return nil
}
