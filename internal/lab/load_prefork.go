package lab

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// acceptor is the worker of Prefork.
const acceptor LoadKind = "accept"

func (l *loader) fork() error {
	listener := os.NewFile(uintptr(l.listener), "listener")
	c := exec.Command("/proc/self/exe")
	c.Args, c.ExtraFiles, c.Stderr = []string{"lab-load"}, []*os.File{listener}, os.Stderr
	c.Env = append(os.Environ(), roleVariable+"=load "+string(acceptor)+" 0")
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the signal comes when this thread ends
	return c.Start()
}

// accepts takes connections from descriptor 3 and holds each until its reset.
func accepts() error {
	l := &loader{listener: 3}
	b := make([]byte, 1)
	for {
		fd := l.accept()
		write(fd, b) // a reset before accept() is the listener's
		_, _ = unix.Read(fd, b)
		unix.Close(fd)
	}
}

func (l *loader) abort() {
	fd, err := l.dial(LoadPort)
	must("connect", err)
	read(fd, 1, l.msg[:1])
	resetAndClose(fd)
}
