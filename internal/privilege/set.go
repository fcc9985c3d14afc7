package privilege

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// set is a set of capabilities by number, as the kernel keeps it in two words of
// 32 bits (capset(2), _LINUX_CAPABILITY_VERSION_3).
type set uint64

func (s set) has(number uint) bool { return s&(1<<number) != 0 }

// effective gives those of the calling thread; threads differ in nothing.
func effective() set {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	_ = unix.Capget(&header, &data[0]) // fails for no valid version and thread
	return set(data[0].Effective) | set(data[1].Effective)<<32
}

// confine makes it the permitted and effective set of all threads, empties the
// inheritable and with it the ambient one, and rules out that a program gains
// any. It waits until each thread has done so.
func (s set) confine() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{
		{Effective: uint32(s), Permitted: uint32(s)},
		{Effective: uint32(s >> 32), Permitted: uint32(s >> 32)},
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0)
	if errno == unix.ENOTSUP {
		return errors.New("give up capabilities: this rstwhy was built with cgo, where not all threads can be told: build it with CGO_ENABLED=0 (make build)")
	}
	if errno != 0 {
		return fmt.Errorf("give up capabilities (capset): %w", errno)
	}
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("set no_new_privs (prctl): %w", errno)
	}
	return nil
}
