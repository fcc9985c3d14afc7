package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
)

// ErrUnavailable is in the error of a scenario that this host has not the means
// for.
var ErrUnavailable = errors.New("not available on this host")

// outOfMemory lets the kernel's OOM killer kill a process in a memory cgroup of
// its own.
func outOfMemory(b *Bench) func() []Truth {
	p := b.pair()
	group, err := memoryGroup(p.a.worker().PID)
	if err != nil {
		fail("memory cgroup: %w: %w", ErrUnavailable, err)
	}
	b.undo = append(b.undo, func() { _ = unix.Rmdir(group) })
	return func() []Truth {
		p.say(100)
		w := p.a.worker()
		if err := w.send(command{Op: "eat", Num: []int{memoryLimit * 4}}); err != nil {
			fail("%s: eat: %w", w.Comm, err)
		}
		awaitPidfd(w.ctx, w.pidfd, w.Comm)
		w.gone = true
		p.wasReset()
		n := int(unix.SIGKILL)
		return []Truth{
			p.sent("unread-data").endedBy(event.Ending{Kind: event.EndOOM, Signal: &n}),
			p.received("peer-reset"),
		}
	}
}

const memoryLimit = 48 << 20

// eat takes memory page by page until it is killed.
func eat(c *command) error {
	b, err := unix.Mmap(-1, 0, c.num(0), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	for i := 0; i < len(b); i += os.Getpagesize() {
		b[i] = 1
	}
	time.Sleep(time.Second)
	return errors.New("nobody killed me")
}

// memoryGroup makes a memory cgroup, version 1 or 2, below this process's own
// (or below the root of version 2, where inner groups may hold no processes) and
// moves a process into it.
func memoryGroup(pid int) (group string, err error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	parent, limit, swap := "/sys/fs/cgroup", "memory.max", "memory.swap.max"
	for line := range strings.SplitSeq(string(text), "\n") {
		if f := strings.SplitN(line, ":", 3); len(f) == 3 && f[1] == "memory" {
			parent = filepath.Join("/sys/fs/cgroup/memory", f[2])
			limit, swap = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
		}
	}
	group = filepath.Join(parent, fmt.Sprintf("rstwhy-lab-%d", pid))
	if err := os.Mkdir(group, 0o755); err != nil {
		return "", err
	}
	write := func(name, value string) error {
		return os.WriteFile(filepath.Join(group, name), []byte(value), 0)
	}
	if err = write(limit, strconv.Itoa(memoryLimit)); err == nil {
		value := map[string]string{"memory.swap.max": "0"}[swap]
		if value == "" {
			value = strconv.Itoa(memoryLimit)
		}
		_ = write(swap, value) // absent where there is no swap
		err = write("cgroup.procs", strconv.Itoa(pid))
	}
	if err != nil {
		_ = unix.Rmdir(group)
	}
	return group, err
}
