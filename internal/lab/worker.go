package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// roleVariable in the environment makes this program a process of the lab.
const roleVariable = "RSTWHY_LAB_ROLE"

// maxLife bounds a process of the lab whose parent was killed while it waited.
const maxLife = 10 * time.Minute

func init() {
	if os.Getenv(roleVariable) != "" {
		// The process's comm is its main thread's, and the commands must run
		// in that thread.
		runtime.LockOSThread()
	}
}

// Main must be the first call of main() and TestMain(): in a process of the lab
// it does that process's work and exits, elsewhere it returns at once.
func Main() {
	role, name, _ := strings.Cut(os.Getenv(roleVariable), " ")
	switch role {
	case "":
		return
	case "worker":
		setComm(name)
		serve()
	case "hog":
		setComm(name)
		hog()
	case "load":
		load(name)
	}
	fmt.Fprintf(os.Stderr, "lab: unknown role %q in %s\n", role, roleVariable)
	os.Exit(2)
}

func setComm(name string) {
	if p, err := unix.BytePtrFromString(name); err == nil {
		_ = unix.Prctl(unix.PR_SET_NAME, uintptr(pointer(p)), 0, 0, 0)
	}
}

// worker is the state of a worker process.
type worker struct {
	sockets map[int]bool // descriptors that vanish must close silently
	mailbox int          // unix socket on which other workers hand over descriptors
}

// serve obeys commands until the bench closes the channel.
func serve() {
	unix.CloseOnExec(controlFD)
	w := &worker{sockets: map[int]bool{}, mailbox: -1}
	if _, err := unix.FcntlInt(inheritedFD, unix.F_GETFD, 0); err == nil {
		unix.CloseOnExec(inheritedFD)
		w.sockets[inheritedFD] = true
	}
	time.AfterFunc(maxLife, func() { os.Exit(1) })
	name, err := w.openMailbox()
	if err != nil {
		answer(failed(fmt.Errorf("mailbox: %w", err)))
	} else {
		answer(reply{Str: name, N: outerPID()})
	}
	buf, oob := make([]byte, maxMessage), make([]byte, 256)
	for {
		n, oobn, _, _, err := unix.Recvmsg(controlFD, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			os.Exit(0)
		}
		var c command
		if err := json.Unmarshal(buf[:n], &c); err != nil {
			answer(failed(err))
			continue
		}
		answer(w.run(&c, rights(oob[:oobn])))
	}
}

// outerPID is the process's number in the pid namespace whose /proc is mounted
// here: that of the bench, also where the process is in another one.
func outerPID() int {
	self, err := os.Readlink("/proc/self")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(self)
	return n
}

// openMailbox lets the kernel choose an abstract name (unix(7), autobind).
func (w *worker) openMailbox() (name string, err error) {
	w.mailbox, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(w.mailbox, &unix.SockaddrUnix{})
	}
	if err != nil {
		return "", err
	}
	sa, err := unix.Getsockname(w.mailbox)
	if err != nil {
		return "", err
	}
	return sa.(*unix.SockaddrUnix).Name, nil
}

func answer(r reply) {
	b, err := json.Marshal(r)
	if err != nil {
		b = []byte(`{"err":"cannot encode the reply"}`)
	}
	if err := unix.Send(controlFD, b, unix.MSG_NOSIGNAL); err != nil {
		os.Exit(0)
	}
}

// rights takes the descriptors out of a control message.
func rights(oob []byte) (fds []int) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range messages {
		if got, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}

func failed(err error) reply {
	if errno, ok := err.(syscall.Errno); ok {
		return reply{N: -1, Errno: int(errno)}
	}
	return reply{N: -1, Err: err.Error()}
}

// run obeys one command.
func (w *worker) run(c *command, fds []int) reply {
	f, ok := operations[c.Op]
	if !ok {
		return failed(fmt.Errorf("unknown operation %q", c.Op))
	}
	r, err := f(w, c, fds)
	if err != nil {
		return failed(err)
	}
	return r
}
