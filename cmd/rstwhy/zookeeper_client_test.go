package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/rpc"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"github.com/go-zookeeper/zk"
	"golang.org/x/sys/unix"

	"rstwhy/internal/lab"
)

// zkClientEnv makes the test binary a client process; see TestZKClientProcess.
const zkClientEnv = "RSTWHY_TEST_ZK_CLIENT"

// TestZKClientProcess is no test: it is the program of the client's host, this
// binary run again inside that network namespace. A process is needed since
// rstwhy enters the namespace of a socket through the process that owns it,
// and sockets of a process whose main thread is elsewhere are out of its
// reach, as it says.
func TestZKClientProcess(t *testing.T) {
	if os.Getenv(zkClientEnv) == "" {
		t.Skip("the client process of TestZooKeeper")
	}
	server := rpc.NewServer()
	if err := server.RegisterName("Client", &ZKClientService{conns: map[netip.AddrPort]*lab.ZKConn{}}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	server.ServeConn(zkPipe{os.Stdin, os.Stdout}) // until the test closes the pipe
	os.Exit(0)
}

// The client process stands for a Java client whose library is not known: rules
// about Java's clients leave out what is known to be another program. The name is
// that of the main thread, where init runs.
func init() {
	if os.Getenv(zkClientEnv) == "" {
		return
	}
	runtime.LockOSThread()
	name := append([]byte("java"), 0)
	if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "name the client process:", err)
	}
	runtime.UnlockOSThread()
}

type zkPipe struct {
	io.ReadCloser
	io.WriteCloser
}

func (p zkPipe) Close() error { return errors.Join(p.WriteCloser.Close(), p.ReadCloser.Close()) }

// ZKClientService is what the client process does when told (net/rpc wants
// exported names). One call at a
// time: the test waits for each.
type ZKClientService struct {
	conns map[netip.AddrPort]*lab.ZKConn // by local end
	gozk  []*zk.Conn                     // sessions of the Go library, the latest last
}

// ZKReply carries what came of a call; an errno crosses as a number.
type ZKReply struct {
	Local netip.AddrPort
	Errno syscall.Errno
}

type ZKSend struct {
	Local netip.AddrPort
	Data  []byte
	Read  int // then read as many bytes
}

func (s *ZKClientService) Dial(to netip.AddrPort, r *ZKReply) error {
	c, err := lab.ZKDial(nil, to)
	r.Local = c.Local
	if err != nil {
		return zkErrno(err, r)
	}
	s.conns[c.Local] = c
	return nil
}

func (s *ZKClientService) Send(a ZKSend, r *ZKReply) error {
	c := s.conns[a.Local]
	if c == nil {
		return fmt.Errorf("no connection from %s", a.Local)
	}
	if _, err := c.Write(a.Data); err != nil {
		return zkErrno(err, r)
	}
	_, err := io.ReadFull(c, make([]byte, a.Read))
	return zkErrno(err, r)
}

func (s *ZKClientService) Close(local netip.AddrPort, _ *ZKReply) error {
	c := s.conns[local]
	delete(s.conns, local)
	if c == nil {
		return nil
	}
	return c.Close()
}

func zkErrno(err error, r *ZKReply) error {
	if errors.As(err, &r.Errno) {
		return nil
	}
	return err
}

// zkClient is the test's end of a client process.
type zkClient struct {
	*rpc.Client
	pid int
}

func startZKClient(t *testing.T, ns *lab.LinkNS) zkClient {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestZKClientProcess$")
	cmd.Env = append(os.Environ(), zkClientEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	c := zkClient{rpc.NewClient(zkPipe{out, in}), cmd.Process.Pid}
	t.Cleanup(func() {
		c.Client.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("client process: %v", err)
		}
	})
	return c
}

// dial connects; the connection's local end is known even where that fails.
func (c zkClient) dial(to netip.AddrPort) (local netip.AddrPort, err error) {
	var r ZKReply
	err = c.call("Client.Dial", to, &r)
	return r.Local, err
}

// send writes data in one segment, and reads as many bytes as wanted.
func (c zkClient) send(local netip.AddrPort, data []byte, read int) error {
	var r ZKReply
	return c.call("Client.Send", ZKSend{local, data, read}, &r)
}

func (c zkClient) close(local netip.AddrPort) {
	var r ZKReply
	_ = c.call("Client.Close", local, &r) // a reset connection may say so
}

func (c zkClient) call(method string, arg any, r *ZKReply) error {
	if err := c.Call(method, arg, r); err != nil {
		return err
	}
	if r.Errno != 0 {
		return r.Errno
	}
	return nil
}
