package lab

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// give sends a descriptor to the mailbox of another worker; the sender's own
// stays open until it is closed.
func (w *worker) give(c *command, _ []int) (reply, error) {
	to := &unix.SockaddrUnix{Name: mailboxName(c.num(0))}
	return reply{}, unix.Sendmsg(w.mailbox, []byte("socket"), unix.UnixRights(c.FD), to, 0)
}

// take receives a descriptor from the mailbox.
func (w *worker) take(*command, []int) (reply, error) {
	if err := ready(w.mailbox, unix.POLLIN, 5*time.Second); err != nil {
		return reply{}, err
	}
	buf, oob := make([]byte, 16), make([]byte, 64)
	_, n, _, _, err := unix.Recvmsg(w.mailbox, buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return reply{}, err
	}
	fds := rights(oob[:n])
	if len(fds) != 1 {
		return reply{}, errors.New("no descriptor came")
	}
	w.sockets[fds[0]] = true
	return reply{N: fds[0]}, nil
}

func environment(name string) []string {
	// A worker allocates next to nothing, and its threads should stay few.
	return append(os.Environ(), roleVariable+"=worker "+name, "GOMAXPROCS=2", "GOGC=off")
}

// spawn starts another worker, as a server starts its children: fork and exec,
// with the control channel that came with the command and with the given socket.
func (w *worker) spawn(c *command, fds []int) (reply, error) {
	if len(fds) != 1 {
		return reply{}, errors.New("spawn needs the new worker's channel")
	}
	defer unix.Close(fds[0])
	files := []uintptr{0, 1, 2, uintptr(fds[0])}
	if c.FD >= 0 {
		files = append(files, uintptr(c.FD))
	}
	attr := &syscall.ProcAttr{Env: environment(c.Str), Files: files}
	pid, err := syscall.ForkExec("/proc/self/exe", []string{c.Str}, attr)
	if err == nil {
		go func() { _, _ = unix.Wait4(pid, nil, 0, nil) }()
	}
	return reply{N: pid}, err
}

// exec runs the program anew in this process; the socket stays open where it is
// given, all others close.
func (w *worker) exec(c *command, _ []int) (reply, error) {
	if _, err := unix.FcntlInt(controlFD, unix.F_SETFD, 0); err != nil {
		return reply{}, err
	}
	if c.FD >= 0 && c.FD != inheritedFD {
		if err := unix.Dup2(c.FD, inheritedFD); err != nil {
			return reply{}, err
		}
		unix.Close(c.FD)
	}
	if c.FD >= 0 {
		if _, err := unix.FcntlInt(inheritedFD, unix.F_SETFD, 0); err != nil {
			return reply{}, err
		}
	}
	return reply{}, syscall.Exec("/proc/self/exe", []string{c.Str}, environment(c.Str))
}

// order is one system call for a forked child. Bit i of Data replaces argument
// i by the address of Buf.
type order struct {
	NR   uintptr
	Arg  [4]uintptr
	Data uintptr
	Buf  [32]byte
}

// outcome is what became of an order.
type outcome struct{ R, Errno uintptr }

// fork makes a child by fork alone, as a prefork server does: same program,
// same comm, no exec. The Go runtime does not survive a fork, so the child runs
// obeyOrders, which makes raw system calls only.
func (w *worker) fork(_ *command, fds []int) (reply, error) {
	if len(fds) != 1 {
		return reply{}, errors.New("fork needs the child's channel")
	}
	defer unix.Close(fds[0])
	// No handler of the Go runtime may run in the child.
	all, old := unix.Sigset_t{}, unix.Sigset_t{}
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return reply{}, err
	}
	var o order
	var res outcome
	pid, errno := cloneSelf(uintptr(fds[0]), &o, &res)
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil); err != nil {
		return reply{}, err
	}
	if errno != 0 {
		return reply{}, errno
	}
	go func() { _, _ = unix.Wait4(int(pid), nil, 0, nil) }()
	return reply{N: int(pid)}, nil
}

// cloneSelf forks; in the child it never returns.
//
//go:norace
//go:noinline
func cloneSelf(ctl uintptr, o *order, res *outcome) (uintptr, syscall.Errno) {
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	obeyOrders(ctl, o, res)
	return 0, 0
}

// obeyOrders is the forked child: no allocation, no lock, no stack growth, as in
// syscall.forkAndExecInChild.
//
//go:norace
//go:nosplit
//go:noinline
func obeyOrders(ctl uintptr, o *order, res *outcome) {
	buf, base := uintptr(unsafe.Pointer(&o.Buf)), uintptr(unsafe.Pointer(o))
	// The control channel of the parent is not the child's.
	syscall.RawSyscall(syscall.SYS_CLOSE, controlFD, 0, 0)
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, ctl, base, orderSize)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 || n != orderSize {
			syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
		}
		a0, a1, a2, a3 := o.Arg[0], o.Arg[1], o.Arg[2], o.Arg[3]
		if o.Data&1 != 0 {
			a0 = buf
		}
		if o.Data&2 != 0 {
			a1 = buf
		}
		if o.Data&4 != 0 {
			a2 = buf
		}
		if o.Data&8 != 0 {
			a3 = buf
		}
		r, _, errno := syscall.RawSyscall6(o.NR, a0, a1, a2, a3, orderBuf, 0)
		res.R, res.Errno = r, uintptr(errno)
		syscall.RawSyscall(syscall.SYS_WRITE, ctl, uintptr(unsafe.Pointer(res)), outcomeSize)
	}
}

// forked is the bench's view of a forked child.
type forked struct {
	child  int
	parent *Worker
	conn   interface {
		Read([]byte) (int, error)
		Write([]byte) (int, error)
		Close() error
		SetDeadline(time.Time) error
	}
	pidfd int
}

func (f *forked) pid() int       { return f.child }
func (f *forked) name() string   { return f.parent.Comm }
func (f *forked) eye() *Worker   { return f.parent }
func (f *forked) closeFD(fd int) { f.call(unix.SYS_CLOSE, [4]uintptr{uintptr(fd)}, 0, nil) }

// acceptFD takes a connection from an inherited listener.
func (f *forked) acceptFD(fd int) int {
	return f.call(unix.SYS_ACCEPT4, [4]uintptr{uintptr(fd), 0, 0, unix.SOCK_CLOEXEC}, 0, nil)
}

// vanishFD closes a socket without a packet.
func (f *forked) vanishFD(fd int) {
	f.order(unix.SYS_SETSOCKOPT, [4]uintptr{uintptr(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR}, 8, []byte{1, 0, 0, 0})
	f.order(unix.SYS_CLOSE, [4]uintptr{uintptr(fd)}, 0, nil)
}

func (f *forked) call(nr uintptr, args [4]uintptr, data uintptr, buf []byte) int {
	r, err := f.order(nr, args, data, buf)
	if err != nil {
		fail("forked child of %s: system call %d: %w", f.parent.Comm, nr, err)
	}
	return r
}

func (f *forked) order(nr uintptr, args [4]uintptr, data uintptr, buf []byte) (int, error) {
	o := order{NR: nr, Arg: args, Data: data}
	copy(o.Buf[:], buf)
	if err := f.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	if _, err := f.conn.Write(o.bytes()); err != nil {
		return 0, err
	}
	var res outcome
	if n, err := f.conn.Read(res.bytes()); err != nil || n != int(outcomeSize) {
		return 0, fmt.Errorf("answer of %d bytes: %w", n, err)
	}
	if res.Errno != 0 {
		return 0, syscall.Errno(res.Errno)
	}
	return int(res.R), nil
}
