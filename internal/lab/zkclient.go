package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// zkTimeout bounds each step of a raw client.
const zkTimeout = 3 * time.Second

// ZKConn is a raw client's connection: a blocking socket of a namespace.
type ZKConn struct {
	fd            int
	Local, Remote netip.AddrPort
}

// ZKDial connects from inside ns. The error of a refused connection is
// unix.ECONNREFUSED; the connection's Local is set even then, so that its
// resets can be told apart. The socket is an AF_INET one.
func ZKDial(ns *LinkNS, addr netip.AddrPort) (*ZKConn, error) {
	c := &ZKConn{fd: -1, Remote: addr}
	err := ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		c.fd = fd
		limit := unix.NsecToTimeval(int64(zkTimeout))
		for _, o := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
			if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, o, &limit); err != nil {
				return fmt.Errorf("set a time-out: %w", err)
			}
		}
		// Bound first, the port is known even where connect fails.
		if err := c.bind(); err != nil {
			return err
		}
		return unix.Connect(fd, &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())})
	})
	if err != nil {
		c.Close()
		return c, fmt.Errorf("connect to ZooKeeper at %s: %w", addr, err)
	}
	return c, nil
}

// bind takes the source address that the route to the peer has (found with a
// UDP socket, which sends nothing) and a port.
func (c *ZKConn) bind() error {
	probe, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(probe)
	if err := unix.Connect(probe, &unix.SockaddrInet4{Addr: c.Remote.Addr().As4(), Port: int(c.Remote.Port())}); err != nil {
		return err
	}
	source, err := zkSockname(probe)
	if err != nil {
		return err
	}
	// Each connection has a port of its own, below the range from which the
	// kernel hands them out (ip_local_port_range starts at 32768): a pair of
	// endpoints names one connection of the lab, and never one of somebody
	// else's.
	port := uint16(zkPort.Add(1))
	c.Local = netip.AddrPortFrom(source.Addr(), port)
	return unix.Bind(c.fd, &unix.SockaddrInet4{Addr: source.Addr().As4(), Port: int(port)})
}

// zkPort is the source port given out last.
var zkPort atomic.Uint32

func init() { zkPort.Store(20000) }

func zkSockname(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, err
	}
	in4, ok := sa.(*unix.SockaddrInet4)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("socket address is %T, not IPv4", sa)
	}
	return netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), uint16(in4.Port)), nil
}

// Write sends b in one system call, hence (below one segment) in one segment.
func (c *ZKConn) Write(b []byte) (int, error) {
	n, err := unix.Write(c.fd, b)
	if err != nil {
		return max(n, 0), fmt.Errorf("write to ZooKeeper at %s: %w", c.Remote, err)
	}
	return n, nil
}

// Read reads what is there, io.EOF at the peer's FIN.
func (c *ZKConn) Read(b []byte) (int, error) {
	n, err := unix.Read(c.fd, b)
	if err != nil {
		return 0, fmt.Errorf("read from ZooKeeper at %s: %w", c.Remote, err)
	}
	if n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Close closes the socket.
func (c *ZKConn) Close() error {
	if c.fd < 0 {
		return nil
	}
	fd := c.fd
	c.fd = -1
	return unix.Close(fd)
}

// Drain reads until the peer's FIN or RST and returns what came. A reset after
// the answer is no error here: the stimuli provoke it.
func (c *ZKConn) Drain() ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(c, 1<<20))
	if errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
		err = nil
	}
	return b, err
}

// ZKWord asks a server a four-letter word as it must be done: four bytes, no
// newline, everything read before the close. It leaves no reset.
func ZKWord(ns *LinkNS, addr netip.AddrPort, word string) ([]byte, error) {
	c, err := ZKDial(ns, addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := c.Write([]byte(word)); err != nil {
		return nil, err
	}
	return c.Drain()
}

// ZKConnectRequest is the first message of a session (ZooKeeperClient's
// ConnectRequest record): 49 bytes, the form with the readOnly flag. A session
// id that the server does not know makes it answer "expired" and close.
func ZKConnectRequest(session uint64) []byte {
	b := make([]byte, 49)
	be := binary.BigEndian
	be.PutUint32(b[0:], 45)       // bytes that follow
	be.PutUint32(b[16:], 30000)   // time-out, ms
	be.PutUint64(b[20:], session) // 0 asks for a new one
	be.PutUint32(b[28:], 16)      // length of the password
	return b
}

// ZKGetData is a getData request for "/" without a watch, as a client sends it
// inside a session (type 4 of ZooDefs.OpCode): 18 bytes.
func ZKGetData(xid uint32) []byte {
	b := make([]byte, 18)
	be := binary.BigEndian
	be.PutUint32(b[0:], 14)
	be.PutUint32(b[4:], xid)
	be.PutUint32(b[8:], 4)
	be.PutUint32(b[12:], 1)
	b[16] = '/'
	return b
}

// zkDeadSession is a session id that no server has given out: ids carry the
// server's number and start time (SessionTrackerImpl.initializeNextSession).
const zkDeadSession = 0x7fffffffdeadbeef

// ZKPipelined is what a client with ZOOKEEPER-1702 writes when its session has
// expired: the ConnectRequest and, before any answer, the operations that
// wait, here in one segment.
func ZKPipelined(operations int) []byte {
	b := ZKConnectRequest(zkDeadSession)
	for i := range operations {
		b = append(b, ZKGetData(uint32(i+1))...)
	}
	return b
}

// Abort makes the next Close an RST, as health checks of load balancers do.
func (c *ZKConn) Abort() error {
	return unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}
