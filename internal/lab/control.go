package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// controlFD is the worker's end of the channel on which it gets its commands:
// one JSON object a packet, and descriptors beside it.
const (
	controlFD   = 3
	inheritedFD = 4 // the socket that a spawned worker inherits
	maxMessage  = 64 << 10
	patience    = 8 * time.Second // for one command
)

// errNotInTime says that a script waited in vain.
var errNotInTime = errors.New("not in time")

// NotInTime tells that a scenario ended because what it waited for did not come
// in time: before the end of its context, or of the lab's patience.
func NotInTime(err error) bool {
	return errors.Is(err, errNotInTime) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, unix.ETIMEDOUT)
}

// limit is when a wait that begins now is over.
func limit(ctx context.Context) time.Time {
	end := time.Now().Add(patience)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		return d
	}
	return end
}

// overdue is the error of a wait for something that did not come.
func overdue(began time.Time, format string, args ...any) error {
	return fmt.Errorf("%s: %w, waited %v", fmt.Sprintf(format, args...), errNotInTime, time.Since(began).Round(time.Millisecond))
}

type command struct {
	Op  string `json:"op"`
	FD  int    `json:"fd"`
	Num []int  `json:"num,omitempty"`
	Str string `json:"str,omitempty"`
}

func (c *command) num(i int) int {
	if i < len(c.Num) {
		return c.Num[i]
	}
	return 0
}

type reply struct {
	N     int    `json:"n"`
	Str   string `json:"str,omitempty"`
	Errno int    `json:"errno,omitempty"`
	Err   string `json:"err,omitempty"`
}

func (r *reply) err() error {
	switch {
	case r.Errno != 0:
		return syscall.Errno(r.Errno)
	case r.Err != "":
		return errors.New(r.Err)
	}
	return nil
}

// channel gives the two ends of a control channel; far is for the worker.
func channel() (near *net.UnixConn, far *os.File, err error) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair for a worker: %w", err)
	}
	far = os.NewFile(uintptr(p[1]), "worker")
	f := os.NewFile(uintptr(p[0]), "bench")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		far.Close()
		return nil, nil, fmt.Errorf("control channel: %w", err)
	}
	return c.(*net.UnixConn), far, nil
}

// Worker is a process of the lab.
type Worker struct {
	PID   int
	Comm  string
	NetNS uint32
	Addr  string // its address in its network namespace, where it is not loopback

	ctx     context.Context
	conn    *net.UnixConn
	mailbox string // where other workers send descriptors
	pidfd   int
	gone    bool
	kids    []*forked
	mu      sync.Mutex // a holder of a namespace starts workers for several scenarios
}

func (w *Worker) pid() int       { return w.PID }
func (w *Worker) name() string   { return w.Comm }
func (w *Worker) eye() *Worker   { return w }
func (w *Worker) closeFD(fd int) { w.do("close", fd) }

// send gives a command without waiting for its reply.
func (w *Worker) send(c command, fds ...int) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	_, _, err = w.conn.WriteMsgUnix(b, oob, nil)
	return err
}

// receive waits for the reply.
func (w *Worker) receive() (r reply, err error) {
	began := time.Now()
	if err := w.conn.SetReadDeadline(limit(w.ctx)); err != nil {
		return r, err
	}
	buf := make([]byte, maxMessage)
	n, _, _, _, err := w.conn.ReadMsgUnix(buf, nil)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return r, overdue(began, "an answer")
	}
	if err != nil {
		return r, err
	}
	if n == 0 {
		return r, errors.New("the worker is gone")
	}
	return r, json.Unmarshal(buf[:n], &r)
}

// try runs a command; a broken channel ends the script, a failed system call
// does not.
func (w *Worker) try(op string, fd int, str string, num ...int) (reply, error) {
	err := w.send(command{Op: op, FD: fd, Str: str, Num: num})
	var r reply
	if err == nil {
		r, err = w.receive()
	}
	if err != nil {
		fail("%s: %s: %w", w.Comm, op, err)
	}
	return r, r.err()
}

// do runs a command that must succeed.
func (w *Worker) do(op string, fd int, num ...int) reply { return w.doStr(op, fd, "", num...) }

func (w *Worker) doStr(op string, fd int, str string, num ...int) reply {
	r, err := w.try(op, fd, str, num...)
	if err != nil {
		fail("%s: %s %s %v: %w", w.Comm, op, strings.TrimSpace(str), num, err)
	}
	return r
}

// want runs a command that must fail with the given error.
func (w *Worker) want(errno syscall.Errno, op string, fd int, str string, num ...int) {
	if _, err := w.try(op, fd, str, num...); !errors.Is(err, errno) {
		fail("%s: %s %s: got %w, want %v", w.Comm, op, str, err, errno)
	}
}

// signal kills by process descriptor, so that a reused pid is never hit.
func (w *Worker) signal(s syscall.Signal) { killPidfd(w.ctx, w.pidfd, w.Comm, s) }

func killPidfd(ctx context.Context, pidfd int, name string, s syscall.Signal) {
	if err := unix.PidfdSendSignal(pidfd, s, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		fail("signal %v to %s: %w", s, name, err)
	}
	awaitPidfd(ctx, pidfd, name)
}

// awaitPidfd waits until the process has exited.
func awaitPidfd(ctx context.Context, pidfd int, name string) {
	began := time.Now()
	for end := limit(ctx); time.Now().Before(end); {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 100)
		if err != nil && !errors.Is(err, unix.EINTR) {
			fail("wait for %s: %w", name, err)
		}
		if n > 0 {
			return
		}
	}
	fail("%w", overdue(began, "the exit of %s", name))
}

// exit ends the worker with a status.
func (w *Worker) exit(status int) {
	if err := w.send(command{Op: "exit", Num: []int{status}}); err != nil {
		fail("%s: exit: %w", w.Comm, err)
	}
	awaitPidfd(w.ctx, w.pidfd, w.Comm)
	w.gone = true
}

// kill ends the worker by a signal.
func (w *Worker) kill(s syscall.Signal) {
	w.signal(s)
	w.gone = true
}
