package lab

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// LinkNS is a network namespace of our own. It lives as long as the descriptor
// is open or a process runs in it; nothing is mounted, so a killed test leaves
// nothing behind.
type LinkNS struct {
	file  *os.File
	inode uint32
}

// NewLinkNS makes an empty network namespace with its loopback device up.
func NewLinkNS() (*LinkNS, error) {
	ns := &LinkNS{}
	err := linkThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare the network namespace: %w (run as root)", err)
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			f.Close()
			return fmt.Errorf("stat the new network namespace: %w", err)
		}
		ns.file, ns.inode = f, uint32(st.Ino)
		if err := linkTunUp("lo"); err != nil {
			f.Close()
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ns, nil
}

// Inode is the number by which the kernel and rstwhy name the namespace.
func (ns *LinkNS) Inode() uint32 { return ns.inode }

// Close lets go of the namespace; the kernel removes it after its last process.
func (ns *LinkNS) Close() error { return ns.file.Close() }

// Do calls f on a thread of its own inside the namespace. Sockets that f opens
// and processes that it starts stay there. f must not start goroutines that
// rely on the namespace. A nil namespace is the process's own.
func (ns *LinkNS) Do(f func() error) error {
	if ns == nil {
		return f()
	}
	return linkThread(func() error {
		if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace %d: %w", ns.inode, err)
		}
		return f()
	})
}

// linkThread runs f on a locked thread that is never unlocked, so that the
// runtime ends it together with the namespace that it joined.
func linkThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot end without the process, and others read
			// its namespace as the process's own: while it is held here, the
			// work gets another one.
			err := linkThread(f)
			runtime.UnlockOSThread()
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// linkTunUp sets a device of the calling thread's namespace up.
func linkTunUp(device string) error {
	return linkIoctl(device, "set flags of", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error {
		r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		return nil
	})
}

// linkTunAddress gives a device an IPv4 address and netmask.
func linkTunAddress(device string, addr, mask [4]byte) error {
	if err := linkIoctl(device, "set address of", unix.SIOCSIFADDR, func(r *unix.Ifreq) error {
		return r.SetInet4Addr(addr[:])
	}); err != nil {
		return err
	}
	return linkIoctl(device, "set netmask of", unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error {
		return r.SetInet4Addr(mask[:])
	})
}

func linkIoctl(device, what string, request uint, fill func(*unix.Ifreq) error) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s %s: open a socket: %w", what, device, err)
	}
	defer unix.Close(s)
	r, err := unix.NewIfreq(device)
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, device, err)
	}
	if err := fill(r); err != nil {
		return fmt.Errorf("%s %s: %w", what, device, err)
	}
	if err := unix.IoctlIfreq(s, request, r); err != nil {
		return fmt.Errorf("%s %s: %w", what, device, err)
	}
	return nil
}
