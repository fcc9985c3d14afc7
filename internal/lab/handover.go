package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// give sends a descriptor to the mailbox of another worker; the sender's own
// stays open until it is closed.
func (w *worker) give(c *command, _ []int) (reply, error) {
	to := &unix.SockaddrUnix{Name: c.Str}
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
	// A worker may start workers, and of two equal names the first one counts.
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, roleVariable+"=") })
	// A worker allocates next to nothing, its threads should stay few, and the
	// runtime's own signals would interrupt system calls.
	return append(env, roleVariable+"=worker "+name, "GOMAXPROCS=2", "GOGC=off", "GODEBUG=asyncpreemptoff=1")
}

// spawn starts another worker, as a server starts its children: fork and exec,
// with the control channel that came with the command and with the given socket;
// its first number is the clone flags, as a container's runtime sets them.
func (w *worker) spawn(c *command, fds []int) (reply, error) {
	if len(fds) != 1 {
		return reply{}, errors.New("spawn needs the new worker's channel")
	}
	defer unix.Close(fds[0])
	files := []uintptr{0, 1, 2, uintptr(fds[0])}
	if c.FD >= 0 {
		files = append(files, uintptr(c.FD))
	}
	attr := &syscall.ProcAttr{Env: environment(c.Str), Files: files, Sys: &syscall.SysProcAttr{Cloneflags: uintptr(c.num(0))}}
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

// order is one system call for a forked child.
type order struct {
	NR  uintptr
	Arg [4]uintptr
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
	base := uintptr(unsafe.Pointer(o))
	// It does not outlive its parent, whose main thread this was forked from.
	syscall.RawSyscall(syscall.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0)
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
		r, _, errno := syscall.RawSyscall6(o.NR, o.Arg[0], o.Arg[1], o.Arg[2], o.Arg[3], 0, 0)
		res.R, res.Errno = r, uintptr(errno)
		syscall.RawSyscall(syscall.SYS_WRITE, ctl, uintptr(unsafe.Pointer(res)), outcomeSize)
	}
}

// forked is the bench's view of a forked child.
type forked struct {
	child  int
	parent *Worker
	conn   *net.UnixConn
	pidfd  int
}

func (f *forked) pid() int       { return f.child }
func (f *forked) name() string   { return f.parent.Comm }
func (f *forked) eye() *Worker   { return f.parent }
func (f *forked) closeFD(fd int) { f.call(unix.SYS_CLOSE, uintptr(fd)) }

// acceptFD takes a connection from an inherited listener.
func (f *forked) acceptFD(fd int) int {
	return f.call(unix.SYS_ACCEPT4, uintptr(fd), 0, 0, unix.SOCK_CLOEXEC)
}

func (f *forked) call(nr uintptr, args ...uintptr) int {
	o := order{NR: nr}
	copy(o.Arg[:], args)
	r, err := f.order(&o)
	if err != nil {
		fail("forked child of %s: system call %d: %w", f.parent.Comm, nr, err)
	}
	return r
}

func (f *forked) order(o *order) (int, error) {
	if err := f.conn.SetDeadline(limit(f.parent.ctx)); err != nil {
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
