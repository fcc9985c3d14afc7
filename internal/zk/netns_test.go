package zk

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
	"rstwhy/internal/netns"
)

// fullBacklog is a listener that takes no further connection.
func fullBacklog(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fromSockaddr(sa)
	c, err := net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(addr)) // a backlog of 0 holds one
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return addr
}

// The tests' main goroutine keeps the main thread, so that no namespace made
// here is ever that of /proc/self.
func init() { runtime.LockOSThread() }

// newNetNS makes a namespace with its loopback up, runs f in it, and keeps it
// until the test ends. It gives its inode and the path of the thread in it.
func newNetNS(t *testing.T, f func()) (uint32, string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a network namespace")
	}
	type made struct {
		inode uint32
		path  string
		err   error
	}
	ready, end := make(chan made), make(chan struct{})
	t.Cleanup(func() { close(end) })
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends in its namespace
		var m made
		if m.err = unix.Unshare(unix.CLONE_NEWNET); m.err == nil {
			m.err = loopbackUp()
		}
		m.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		var st unix.Stat_t
		if m.err == nil {
			m.err = unix.Stat(m.path, &st)
		}
		m.inode = uint32(st.Ino)
		if m.err == nil {
			f()
		}
		ready <- m
		<-end
	}()
	m := <-ready
	if m.err != nil {
		t.Fatal(m.err)
	}
	return m.inode, m.path
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

// Two servers with one address and port, in two namespaces: each question goes
// to the right one, and this process's own threads stay where they are.
func TestAskInNamespace(t *testing.T) {
	own, err := netns.Own()
	if err != nil {
		t.Fatal(err)
	}
	var there *fake
	inode, path := newNetNS(t, func() { there = listen(t, "127.0.0.1:0", answers(t, "3.4.13/all")) })
	here := listen(t, there.addr.String(), answers(t, "3.9.6/all"))

	var seen uint32
	d := dialer{timeout: time.Second, ended: func(func(), bool) {},
		register: func(_, _ netip.AddrPort, n uint32) func() { seen = n; return nil }}
	for range 3 {
		a := d.ask(context.Background(), Target{NetNS: inode, NSPath: path, Addr: there.addr}, Srvr)
		if a.Version != "3.4.13-6--1" || seen != inode {
			t.Fatalf("there: %q %q (%s), registered in %d, want %d", a.Outcome, a.Version, a.Detail, seen, inode)
		}
		a = d.ask(context.Background(), Target{NetNS: own, Addr: here.addr}, Srvr)
		if a.Release() != "3.9.6" || seen != own {
			t.Fatalf("here: %q %q (%s), registered in %d, want %d", a.Outcome, a.Version, a.Detail, seen, own)
		}
	}
	if n, m := len(there.heard()), len(here.heard()); n != 3 || m != 3 {
		t.Errorf("there %d, here %d probes", n, m)
	}
	strays := 0
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, task := range tasks {
		var st unix.Stat_t
		p := "/proc/self/task/" + task.Name() + "/ns/net"
		if unix.Stat(p, &st) == nil && uint32(st.Ino) != own && p[len("/proc/self"):] != path[len(fmt.Sprintf("/proc/%d", os.Getpid())):] {
			strays++
		}
	}
	if strays != 0 {
		t.Errorf("%d threads were left in another namespace", strays)
	}

	gone := Target{NetNS: inode, NSPath: "/proc/thread-self/ns/net", Addr: there.addr}
	if a := Ask(context.Background(), gone, Srvr, short); a.Outcome != event.OutcomeUnreachable || len(here.heard()) != 3 {
		t.Errorf("a path that leads elsewhere: %q (%s), %d probes here", a.Outcome, a.Detail, len(here.heard()))
	}
}
