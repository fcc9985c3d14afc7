package lab

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const linkTestDelay = 2500 * time.Microsecond

// linkPair is a client's and a server's namespace joined by a link.
func linkPair(t *testing.T) (client, server *LinkNS, l *Link) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" || os.Getenv("RSTWHY_ROOT") == "1" {
			t.Fatal("needs root: it makes network namespaces")
		}
		t.Skip("needs root: it makes network namespaces (sudo go test, or make test)")
	}
	for _, ns := range []**LinkNS{&client, &server} {
		var err error
		if *ns, err = NewLinkNS(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*ns).Close() })
	}
	l, err := NewLink(
		LinkEnd{client, netip.MustParsePrefix("192.0.2.1/30")},
		LinkEnd{server, netip.MustParsePrefix("192.0.2.2/30")}, linkTestDelay)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return client, server, l
}

// A connection to a closed port takes a round trip to be refused, and the
// witness sees exactly its RST, in the right direction.
func TestLinkDelayAndWitness(t *testing.T) {
	client, server, l := linkPair(t)
	if client.Inode() == server.Inode() || client.Inode() == 0 {
		t.Fatalf("namespaces %d and %d are not two", client.Inode(), server.Inode())
	}
	addr := netip.MustParseAddrPort("192.0.2.2:10245")
	begin := time.Now()
	c, err := ZKDial(client, addr)
	if took := time.Since(begin); took < 2*linkTestDelay {
		t.Errorf("refused after %v, less than the link's round trip", took)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatalf("connect to a closed port: %v, want connection refused", err)
	}
	want := LinkRST{Src: addr, Dst: c.Local, ACK: true}
	got := l.RSTs(addr, c.Local)
	if len(got) != 1 {
		t.Fatalf("the link saw %d RSTs to %s, want 1", len(got), c.Local)
	}
	got[0].Time = want.Time
	if got[0] != want {
		t.Errorf("the link saw %v, want %v", got[0], want)
	}
	if all, forgotten := l.AllRSTs(); len(all) != 1 || forgotten != 0 {
		t.Errorf("the link saw %v and forgot %d, want one RST", all, forgotten)
	}
}

// A megabyte arrives whole across the link, and nothing is reset: the relay
// neither loses nor reorders.
func TestLinkCarriesBytes(t *testing.T) {
	client, server, l := linkPair(t)
	addr := netip.MustParseAddrPort("192.0.2.2:10245")
	listener := linkListen(t, server, addr)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)

	c, err := ZKDial(client, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		defer unix.Close(fd)
		for rest := sent; len(rest) > 0; {
			n, err := unix.Write(fd, rest)
			if err != nil {
				done <- err
				return
			}
			rest = rest[n:]
		}
		done <- nil
	}()
	got, err := c.Drain()
	if e := <-done; e != nil || err != nil {
		t.Fatalf("write: %v, read: %v", e, err)
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("%d bytes arrived of %d, or not the same", len(got), len(sent))
	}
	if all, _ := l.AllRSTs(); len(all) != 0 {
		t.Errorf("resets on a link where nobody resets: %v", all)
	}
}

// Cut makes an RST of the next segment of a connection, which its receiver
// accepts, and of no other connection's.
func TestLinkCut(t *testing.T) {
	client, server, l := linkPair(t)
	addr := netip.MustParseAddrPort("192.0.2.2:10245")
	listener := linkListen(t, server, addr)
	for _, cut := range []bool{true, false} {
		c, err := ZKDial(client, addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if cut {
			l.Cut(c.Local, addr)
		}
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		n, err := unix.Read(fd, make([]byte, 1))
		if cut != errors.Is(err, unix.ECONNRESET) || !cut && n != 1 {
			t.Errorf("cut %t: read of %d bytes, %v", cut, n, err)
		}
	}
}

func linkListen(t *testing.T, ns *LinkNS, addr netip.AddrPort) (fd int) {
	t.Helper()
	err := ns.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}); err != nil {
			return err
		}
		return unix.Listen(fd, 8)
	})
	if err != nil {
		t.Fatal(err)
	}
	return fd
}
