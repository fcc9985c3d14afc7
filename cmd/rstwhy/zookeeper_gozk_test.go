package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/go-zookeeper/zk"
)

// What the client process does with the Go library, and with raw connections
// that end badly.

// ZKQuiet keeps the Go library's reconnections out of the test's log.
type ZKQuiet struct{}

func (ZKQuiet) Printf(string, ...any) {}

// ZKOpenArgs: a session of the Go library.
type ZKOpenArgs struct {
	Server  netip.AddrPort
	Timeout time.Duration
}

func (s *ZKClientService) GoOpen(a ZKOpenArgs, _ *ZKReply) error {
	c, _, err := zk.Connect([]string{a.Server.String()}, a.Timeout, zk.WithLogger(ZKQuiet{}), zk.WithLogInfo(false))
	if err != nil {
		return err
	}
	s.gozk = append(s.gozk, c)
	return nil
}

// ZKSetArgs: write so many bytes; a node that is not there is made.
type ZKSetArgs struct {
	Path  string
	Bytes int
}

func (s *ZKClientService) GoSet(a ZKSetArgs, _ *ZKReply) error {
	c := s.gozk[len(s.gozk)-1]
	_, err := c.Create(a.Path, nil, 0, zk.WorldACL(zk.PermAll))
	if err != nil && err != zk.ErrNodeExists {
		return err
	}
	_, err = c.Set(a.Path, make([]byte, a.Bytes), -1)
	return err
}

func (s *ZKClientService) GoClose(int, *ZKReply) error {
	s.gozk[len(s.gozk)-1].Close()
	s.gozk = s.gozk[:len(s.gozk)-1]
	return nil
}

// Abort closes with SO_LINGER 0.
func (s *ZKClientService) Abort(local netip.AddrPort, r *ZKReply) error {
	c := s.conns[local]
	if c == nil {
		return fmt.Errorf("no connection from %s", local)
	}
	if err := c.Abort(); err != nil {
		return err
	}
	return s.Close(local, r)
}

// Drain reads to the end.
func (s *ZKClientService) Drain(local netip.AddrPort, r *ZKReply) error {
	c := s.conns[local]
	if c == nil {
		return fmt.Errorf("no connection from %s", local)
	}
	_, err := c.Drain()
	return zkErrno(err, r)
}

// TLS shakes hands and asks srvr; whatever comes of it, the connection is
// closed in order.
func (s *ZKClientService) TLS(to netip.AddrPort, r *ZKReply) error {
	plain, err := net.DialTimeout("tcp", to.String(), 3*time.Second)
	if err != nil {
		return zkErrno(err, r)
	}
	defer plain.Close()
	r.Local = plain.LocalAddr().(*net.TCPAddr).AddrPort()
	_ = plain.SetDeadline(time.Now().Add(3 * time.Second))
	c := tls.Client(plain, &tls.Config{InsecureSkipVerify: true}) // the lab's own certificate
	if _, err := c.Write([]byte("srvr")); err != nil {
		return nil // no TLS there, as some stimuli want
	}
	_, _ = io.ReadAll(c)
	_ = c.Close()
	return nil
}

// call helpers of the test's end.

func (c zkClient) do(method string, arg any) error {
	var r ZKReply
	return c.call("Client."+method, arg, &r)
}

func (c zkClient) goOpen(server netip.AddrPort) error {
	return c.do("GoOpen", ZKOpenArgs{server, 4 * time.Second})
}
