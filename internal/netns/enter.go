package netns

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrEnter marks a network namespace that could not be entered.
var ErrEnter = errors.New("network namespace cannot be entered")

// Own is the inode of the namespace in which this process started. Threads of
// Enter leave it for a while, so it is read once, from the calling thread's own
// entry and not from /proc/self, which is the main thread's.
var Own = sync.OnceValues(func() (uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return 0, fmt.Errorf("read the own network namespace from /proc/thread-self/ns/net: %w", err)
	}
	return uint32(st.Ino), nil
})

// Enter runs f on a thread that is in the namespace with that inode. A socket
// that f makes stays there. The path leads to the namespace (/proc/PID/ns/net);
// because the pid may have been reused, what it leads to is compared with the
// inode before it is entered. 0 is the own namespace.
func Enter(netns uint32, path string, f func() error) error {
	own, err := Own()
	if err != nil {
		return err
	}
	if netns == 0 || netns == own {
		return f()
	}
	if path == "" {
		return fmt.Errorf("%w: no process is known in namespace %d", ErrEnter, netns)
	}
	fd, err := open(netns, path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)

	done := make(chan error, 1)
	go func() { done <- onThread(fd, f) }()
	return <-done
}

// onThread must run in a goroutine of its own: where the way back fails, the
// thread stays locked and ends with its goroutine, so that no other code can
// ever run in the foreign namespace (runtime.LockOSThread).
func onThread(fd int, f func() error) error {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// /proc/self shows the main thread: in another namespace it would
		// mislead everybody who reads /proc/self/ns/net or /proc/self/net.
		done := make(chan error)
		go func() { done <- onThread(fd, f) }()
		err := <-done
		runtime.UnlockOSThread()
		return err
	}
	back, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("%w: open the own one: %w", ErrEnter, err)
	}
	defer unix.Close(back)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("%w (CAP_SYS_ADMIN is needed): setns: %w", ErrEnter, err)
	}
	err = f()
	if unix.Setns(back, unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return err
}

func open(netns uint32, path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return -1, fmt.Errorf("%w: open %s: %w", ErrEnter, path, err)
	}
	var fs unix.Statfs_t
	var st unix.Stat_t
	if err := also(unix.Fstatfs(fd, &fs), unix.Fstat(fd, &st)); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("%w: stat %s: %w", ErrEnter, path, err)
	}
	if fs.Type != unix.NSFS_MAGIC || uint32(st.Ino) != netns {
		unix.Close(fd)
		return -1, fmt.Errorf("%w: %s is no longer namespace %d", ErrEnter, path, netns)
	}
	return fd, nil
}
