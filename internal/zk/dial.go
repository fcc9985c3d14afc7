package zk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"rstwhy/internal/netns"
)

// dial connects to the target in its namespace. done must be called once the
// connection is closed, also where dial failed: a refused attempt is a reset
// too, and its event may come later than the error.
func (d *dialer) dial(ctx context.Context, t Target) (_ *net.TCPConn, done func(), _ error) {
	ns := t.NetNS
	if ns == 0 {
		own, err := netns.Own()
		if err != nil {
			return nil, func() {}, err
		}
		ns = own
	}
	var releases []func()
	refused := false
	done = func() {
		for _, release := range releases {
			d.ended(release, refused)
		}
	}
	// The net package may make more than one socket for one attempt (it
	// retries when a connection came out connected to itself).
	nd := net.Dialer{Timeout: d.limit(), KeepAlive: -1}
	nd.SetMultipathTCP(false)
	nd.ControlContext = func(_ context.Context, _, _ string, c syscall.RawConn) error {
		var err error
		controlErr := c.Control(func(fd uintptr) {
			var local netip.AddrPort
			if local, err = bind(int(fd), t.Addr); err == nil && d.register != nil {
				releases = append(releases, d.register(local, t.Addr, ns))
			}
		})
		return errors.Join(controlErr, err)
	}
	network := "tcp6"
	if t.Addr.Addr().Is4() {
		network = "tcp4"
	}
	var conn net.Conn
	err := netns.Enter(t.NetNS, t.NSPath, func() (err error) {
		conn, err = nd.DialContext(ctx, network, t.Addr.String())
		return err
	})
	if err != nil {
		refused = errors.Is(err, unix.ECONNREFUSED)
		return nil, done, err
	}
	return conn.(*net.TCPConn), done, nil
}

// bind gives the socket the address and port that its connection will have, so
// that the 4-tuple is known before the first packet leaves. The kernel's choice
// of the source address is learned from a UDP socket: connecting one sends
// nothing.
func bind(fd int, remote netip.AddrPort) (netip.AddrPort, error) {
	source, err := sourceAddress(remote)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("no route to %v: %w", remote, err)
	}
	if err := unix.Bind(fd, source); err != nil {
		return netip.AddrPort{}, fmt.Errorf("bind a probe of %v: %w", remote, err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("read the port of a probe of %v: %w", remote, err)
	}
	return fromSockaddr(sa), nil
}

// sourceAddress must run on the thread whose namespace is asked.
func sourceAddress(remote netip.AddrPort) (unix.Sockaddr, error) {
	family := unix.AF_INET6
	if remote.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, toSockaddr(remote)); err != nil {
		return nil, err
	}
	sa, err := unix.Getsockname(fd)
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		sa.Port = 0
	case *unix.SockaddrInet6:
		sa.Port = 0
	}
	return sa, err
}

func toSockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	sa := &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
	if zone := a.Addr().Zone(); zone != "" {
		if ifi, err := net.InterfaceByName(zone); err == nil {
			sa.ZoneId = uint32(ifi.Index)
		}
	}
	return sa
}

func fromSockaddr(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
