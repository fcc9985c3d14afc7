package lab

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

type operation = func(*worker, *command, []int) (reply, error)

// operations is everything that a worker can do. It is filled by init, because
// some of them refer to it.
var operations map[string]operation

func init() {
	operations = map[string]operation{
		"socket": (*worker).socket, "bind": (*worker).bind, "name": (*worker).sockname,
		"listen":  plain(func(c *command) error { return unix.Listen(c.FD, c.num(0)) }),
		"connect": (*worker).connect, "accept": (*worker).accept,
		"disconnect": plain(disconnect),
		"send":       (*worker).send, "fill": (*worker).fill, "recv": (*worker).recv,
		"shutdown": plain(func(c *command) error { return unix.Shutdown(c.FD, c.num(0)) }),
		"close":    (*worker).close, "close-in-thread": (*worker).closeInThread,
		"connect-in-thread": func(w *worker, c *command, _ []int) (r reply, err error) {
			err = inThread("lab-any-thread", func() error { r, err = w.connect(c, nil); return err })
			return r, err
		},
		"setint": plain(func(c *command) error { return unix.SetsockoptInt(c.FD, c.num(0), c.num(1), c.num(2)) }),
		"linger": plain(func(c *command) error {
			return unix.SetsockoptLinger(c.FD, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: int32(c.num(0))})
		}),
		"deaf": plain(deaf), "hear": plain(func(c *command) error { return unix.SetsockoptInt(c.FD, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) }),
		"give": (*worker).give, "take": (*worker).take,
		"spawn": (*worker).spawn, "exec": (*worker).exec, "fork": (*worker).fork,
		"exit":    func(_ *worker, c *command, _ []int) (reply, error) { os.Exit(c.num(0)); return reply{}, nil },
		"sockets": func(_ *worker, c *command, _ []int) (reply, error) { return lookSockets(c.Str) },
		"destroy": plain(func(c *command) error { return destroySocket(c.Str) }),
		"vanish":  (*worker).vanish,
		"up":      plain(func(c *command) error { return linkUp(c.Str) }),
		"address": plain(func(c *command) error { return linkAddress(c.Str) }),
		"veth":    plain(func(c *command) error { return makeVeth("lab0", "lab1", c.num(0)) }),
		"sysctl":  plain(writeSysctl),
		"eat":     plain(eat),
		"nft":     plain(nft), "md5": plain(md5), "forge": plain(forge), "mortal": plain(mortal),
		"send-slowly": plain(sendSlowly), "steal": (*worker).steal,
		"uring-accept": (*worker).uringAccept, "uring-close": (*worker).uringClose,
		"steer":   plain(steer),
		"numbers": (*worker).numbers,
	}
}

func plain(f func(*command) error) operation {
	return func(_ *worker, c *command, _ []int) (reply, error) { return reply{}, f(c) }
}

func (w *worker) socket(c *command, _ []int) (reply, error) {
	fd, err := unix.Socket(c.num(0), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, c.num(1))
	if err == nil {
		w.sockets[fd] = true
		// Bounds a connect() that nobody answers.
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 5})
	}
	return reply{N: fd}, err
}

// sockaddr gives an address in the family of the socket: IPv4 on an IPv6
// socket is v4-mapped.
func sockaddr(fd int, s string) (unix.Sockaddr, error) {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, err
	}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return nil, err
	}
	if domain == unix.AF_INET {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().Unmap().As4()}, nil
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}, nil
}

func printable(sa unix.Sockaddr) string {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port)).String()
	}
	return ""
}

func (w *worker) bind(c *command, _ []int) (reply, error) {
	sa, err := sockaddr(c.FD, c.Str)
	if err == nil {
		err = unix.SetsockoptInt(c.FD, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = unix.Bind(c.FD, sa)
	}
	return reply{}, err
}

func (w *worker) sockname(c *command, _ []int) (reply, error) {
	sa, err := unix.Getsockname(c.FD)
	return reply{Str: printable(sa)}, err
}

// connect waits, unless its first number is 1: then it only starts.
func (w *worker) connect(c *command, _ []int) (reply, error) {
	sa, err := sockaddr(c.FD, c.Str)
	if err != nil {
		return reply{}, err
	}
	if c.num(0) == 1 {
		if err := unix.SetNonblock(c.FD, true); err != nil {
			return reply{}, err
		}
		if err = unix.Connect(c.FD, sa); err == unix.EINPROGRESS {
			err = nil
		}
		return reply{}, err
	}
	err = unix.Connect(c.FD, sa)
	if err == unix.EINTR { // goes on by itself, connect(2)
		if err = ready(c.FD, unix.POLLOUT, 5*time.Second); err == nil {
			err = socketError(c.FD)
		}
	}
	return reply{}, err
}

func socketError(fd int) error {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && n != 0 {
		err = unix.Errno(n)
	}
	return err
}

func disconnect(c *command) error {
	sa := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(c.FD), uintptr(pointer(&sa)), unsafe.Sizeof(sa))
	if errno != 0 {
		return errno
	}
	return nil
}

// ready waits, bounded, so that a worker whose bench is gone comes back to its
// command loop.
func ready(fd int, events int16, wait time.Duration) error {
	end := time.Now().Add(wait)
	for {
		p := []unix.PollFd{{Fd: int32(fd), Events: events}}
		n, err := unix.Poll(p, int(max(0, time.Until(end)).Milliseconds()))
		switch {
		case err == unix.EINTR && time.Now().Before(end):
		case err != nil:
			return err
		case n == 0:
			return unix.ETIMEDOUT
		default:
			return nil
		}
	}
}

// accept takes one connection; its first number is how long to wait, ms.
func (w *worker) accept(c *command, _ []int) (reply, error) {
	if err := ready(c.FD, unix.POLLIN, time.Duration(c.num(0))*time.Millisecond); err != nil {
		return reply{}, err
	}
	fd, sa, err := unix.Accept4(c.FD, unix.SOCK_CLOEXEC)
	if err != nil {
		return reply{}, err
	}
	w.sockets[fd] = true
	return reply{N: fd, Str: printable(sa)}, nil
}

func (w *worker) send(c *command, _ []int) (reply, error) {
	err := unix.Send(c.FD, bytes.Repeat([]byte("x"), c.num(0)), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	return reply{}, err
}

// fill sends until the peer's window and the send buffer are full.
func (w *worker) fill(c *command, _ []int) (reply, error) {
	total, chunk := 0, make([]byte, 16<<10)
	for quiet := 0; quiet < 5; {
		n, err := unix.SendmsgN(c.FD, chunk, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			quiet++
			time.Sleep(2 * time.Millisecond)
			continue
		}
		if err != nil {
			return reply{}, err
		}
		total, quiet = total+n, 0
	}
	return reply{N: total}, nil
}

// recv waits in poll() for data, or in recv() itself where its second number
// is 1.
func (w *worker) recv(c *command, _ []int) (reply, error) {
	flags, err := unix.MSG_DONTWAIT, error(nil)
	if c.num(1) == 1 {
		flags, err = 0, unix.SetsockoptTimeval(c.FD, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5})
	} else {
		err = ready(c.FD, unix.POLLIN, 5*time.Second)
	}
	if err != nil {
		return reply{}, err
	}
	n, buf := 0, make([]byte, c.num(0))
	for err = unix.EINTR; err == unix.EINTR; {
		n, _, err = unix.Recvfrom(c.FD, buf, flags)
	}
	return reply{N: n}, err
}

func (w *worker) close(c *command, _ []int) (reply, error) {
	delete(w.sockets, c.FD)
	return reply{}, unix.Close(c.FD)
}

func (w *worker) closeInThread(c *command, _ []int) (reply, error) {
	delete(w.sockets, c.FD)
	return reply{}, inThread(c.Str, func() error { return unix.Close(c.FD) })
}

// inThread works in a thread whose name is not the process's.
func inThread(name string, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the named thread ends with the goroutine
		setComm(name)
		done <- f()
	}()
	return <-done
}

// deaf makes the socket drop every segment that arrives (tcp_filter() in
// net/ipv4/tcp_ipv4.c runs the socket's classic BPF filter).
func deaf(c *command) error {
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	return unix.SetsockoptSockFprog(c.FD, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop[0]})
}

// vanish closes every socket without a packet: what waits for accept() first,
// then in repair mode (tcp_disconnect() sends nothing where tp->repair).
func (w *worker) vanish(*command, []int) (reply, error) {
	for fd := range w.sockets {
		if v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && v == 1 {
			for ready(fd, unix.POLLIN, 0) == nil {
				child, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
				if err != nil {
					break
				}
				closeSilently(child)
			}
		}
	}
	for fd := range w.sockets {
		closeSilently(fd)
		delete(w.sockets, fd)
	}
	return reply{}, nil
}

func closeSilently(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1) // a listener refuses, and needs none
	_ = unix.Close(fd)
}

// numbers gives what the socket sends and expects next, through repair mode.
func (w *worker) numbers(c *command, _ []int) (reply, error) {
	set := func(option, v int) error { return unix.SetsockoptInt(c.FD, unix.IPPROTO_TCP, option, v) }
	if err := set(unix.TCP_REPAIR, 1); err != nil {
		return reply{}, err
	}
	var n [2]int
	for i, queue := range []int{2, 1} { // TCP_SEND_QUEUE, TCP_RECV_QUEUE
		err := set(unix.TCP_REPAIR_QUEUE, queue)
		if err == nil {
			n[i], err = unix.GetsockoptInt(c.FD, unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ)
		}
		if err != nil {
			return reply{}, err
		}
	}
	return reply{Str: fmt.Sprint(uint32(n[0]), " ", uint32(n[1]))}, set(unix.TCP_REPAIR, -1)
}

// writeSysctl sets "path value" below /proc/sys/net of the worker's network
// namespace; in the initial one it refuses.
func writeSysctl(c *command) error {
	path, value, _ := strings.Cut(c.Str, " ")
	if err := ownNetwork("sysctl " + path); err != nil {
		return err
	}
	return os.WriteFile("/proc/sys/net/"+path, []byte(value), 0)
}

// ownNetwork refuses where the worker is in the network namespace of the process
// that started it.
func ownNetwork(what string) error {
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return err
	}
	parent, err := os.Readlink("/proc/" + strconv.Itoa(os.Getppid()) + "/ns/net")
	if err != nil {
		return err
	}
	if here == parent {
		return fmt.Errorf("%s: the lab changes nothing outside a network namespace of its own", what)
	}
	return nil
}
