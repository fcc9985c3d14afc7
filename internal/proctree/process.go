package proctree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxCmdline leaves room for several arguments of the greatest length that the
// kernel allows for one (128 KiB: MAX_ARG_STRLEN, include/uapi/linux/binfmts.h);
// class paths are long, and the main class stands behind them.
const maxCmdline = 512 << 10

// nsPerTick is the unit of start times in /proc/PID/stat: USER_HZ is 100
// wherever Go runs (asm-generic/param.h).
const nsPerTick = 10_000_000

// StartedAt tells whether the process is the one that started then, ns since
// boot (task_struct.start_boottime); it is false for one that has ended.
func (t *Tree) StartedAt(boot uint64) bool {
	n, err := t.started("stat")
	return err == nil && n == boot/nsPerTick
}

// started reads the start time, in ticks since boot. The name stands in
// parentheses and may hold anything; no field after it does. The start time is
// field 22, the first one after the name field 3.
func (t *Tree) started(stat string) (uint64, error) {
	text, err := t.readProc(stat, 4096)
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("read /proc/PID/%s: %d fields after the name", stat, len(fields))
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// Cmdline gives the arguments, bounded to 512 KiB.
func (t *Tree) Cmdline() ([]string, error) {
	text, err := t.readProc("cmdline", maxCmdline)
	if err != nil {
		return nil, err
	}
	text = bytes.TrimSuffix(text, []byte{0})
	return strings.Split(string(text), "\x00"), nil
}

// NSPid gives the process's id in its own, innermost pid namespace.
func (t *Tree) NSPid() (uint32, error) {
	value, err := t.status("NSpid:")
	if err != nil {
		return 0, err
	}
	ids := strings.Fields(value)
	if len(ids) == 0 {
		return 0, errors.New("no NSpid in /proc/PID/status")
	}
	n, err := strconv.ParseUint(ids[len(ids)-1], 10, 32)
	if err != nil {
		return 0, fmt.Errorf("read NSpid in /proc/PID/status: %w", err)
	}
	return uint32(n), nil
}

// UID gives the effective user id, which is that of the files it makes.
func (t *Tree) UID() (uint32, error) {
	value, err := t.status("Uid:")
	if err != nil {
		return 0, err
	}
	ids := strings.Fields(value)
	if len(ids) < 2 {
		return 0, errors.New("no Uid in /proc/PID/status")
	}
	n, err := strconv.ParseUint(ids[1], 10, 32)
	if err != nil {
		return 0, fmt.Errorf("read Uid in /proc/PID/status: %w", err)
	}
	return uint32(n), nil
}

func (t *Tree) status(key string) (string, error) {
	text, err := t.readProc("status", 16<<10)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("no %s in /proc/PID/status", key)
}

// Thread is one of the process's threads.
type Thread struct {
	ID   string
	Name string // as the kernel keeps it, at most 15 bytes
}

// Threads gives the threads, limit at most; whole tells whether these are all.
func (t *Tree) Threads(limit int) (threads []Thread, whole bool) {
	ids, err := t.list("task", limit+1)
	if err != nil {
		return nil, false
	}
	whole = len(ids) <= limit
	for _, id := range ids[:min(limit, len(ids))] {
		// One that has ended meanwhile has no name any more.
		if text, err := t.readProc("task/"+id+"/comm", 64); err == nil {
			threads = append(threads, Thread{id, strings.TrimSuffix(string(text), "\n")})
		}
	}
	return threads, whole
}

// Age tells how long a thread has been running.
func (t *Tree) Age(thread Thread) (time.Duration, error) {
	started, err := t.started("task/" + thread.ID + "/stat")
	if err != nil {
		return 0, err
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	if age := now.Nano()/nsPerTick - int64(started); age >= 0 {
		return time.Duration(age) * nsPerTick, nil
	}
	return 0, nil
}

// Descriptor is a file that the process holds open.
type Descriptor struct {
	Number string // as /proc/PID/fd names it
	Name   string // what its link says: a path in the process's mount namespace, " (deleted)" behind a file that is gone
}

// Descriptors gives the open files, limit at most; whole tells whether these
// are all.
func (t *Tree) Descriptors(limit int) (open []Descriptor, whole bool) {
	numbers, err := t.list("fd", limit+1)
	if err != nil {
		return nil, false
	}
	whole = len(numbers) <= limit
	for _, n := range numbers[:min(limit, len(numbers))] {
		if name, err := t.readlink("fd/" + n); err == nil {
			open = append(open, Descriptor{n, name})
		}
	}
	return open, whole
}

// OpenDescriptor opens a file that the process holds open, also one that has
// no name any more. It must be a regular file.
func (t *Tree) OpenDescriptor(number string) (*File, error) {
	if _, err := strconv.ParseUint(number, 10, 31); err != nil {
		return nil, fmt.Errorf("descriptor %s: not a number", shown(number))
	}
	return t.openMagic("fd/" + number)
}

// OpenExe opens the executable, also one that has no name any more.
func (t *Tree) OpenExe() (*File, error) { return t.openMagic("exe") }

// Exe is the path of the executable as the process sees it; empty where it
// cannot be told.
func (t *Tree) Exe() string {
	name, err := t.readlink("exe")
	if err != nil {
		return ""
	}
	return name
}

// openMagic opens what a link of /proc/PID stands for, whatever its text says.
func (t *Tree) openMagic(link string) (*File, error) {
	fd, err := unix.Openat(t.dir, link, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /proc/PID/%s: %w", link, err)
	}
	defer unix.Close(fd)
	return reopen(fd, "/proc/PID/"+link)
}

// Mapping is a file that the process has mapped.
type Mapping struct {
	Range string // its addresses as /proc/PID/maps writes them
	Name  string // path in the process's mount namespace
}

// Mappings gives the mapped files for which match holds, each name once, limit
// at most. 4 MiB of /proc/PID/maps are read, some 40,000 lines.
func (t *Tree) Mappings(limit int, match func(name string) bool) []Mapping {
	text, err := t.readProc("maps", 4<<20)
	if err != nil {
		return nil
	}
	var all []Mapping
	seen := map[string]bool{}
	for len(text) > 0 && len(all) < limit {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte{'\n'})
		slash := bytes.IndexByte(line, '/')
		if slash < 0 {
			continue
		}
		if name := string(line[slash:]); !seen[name] && match(name) {
			seen[name] = true
			addresses, _, _ := strings.Cut(string(line[:slash]), " ")
			all = append(all, Mapping{addresses, name})
		}
	}
	return all
}

// OpenMapping opens a mapped file: by its mapping, which also finds a file
// that is gone, or where the kernel does not allow that (CAP_SYS_ADMIN or
// CAP_CHECKPOINT_RESTORE is needed) by its name.
func (t *Tree) OpenMapping(m Mapping) (*File, error) {
	if f, err := t.openMagic("map_files/" + m.Range); err == nil {
		return f, nil
	}
	return t.OpenFile(m.Name)
}

// list gives the names in a directory of /proc/PID.
func (t *Tree) list(name string, limit int) ([]string, error) {
	fd, err := unix.Openat(t.dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("list /proc/PID/%s: %w", name, err)
	}
	defer unix.Close(fd)
	return readdir(fd, "/proc/PID/"+name, limit, limit, func(string) bool { return true })
}

// readProc reads a file of /proc/PID itself, cut at limit.
func (t *Tree) readProc(name string, limit int64) ([]byte, error) {
	fd, err := unix.Openat(t.dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /proc/PID/%s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit))
	switch {
	case errors.Is(err, unix.ESRCH):
		return nil, fmt.Errorf("read /proc/PID/%s: %w", name, fs.ErrNotExist)
	case err != nil:
		return nil, fmt.Errorf("read /proc/PID/%s: %w", name, err)
	}
	return text, nil
}

func (t *Tree) readlink(name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(t.dir, name, buf)
	if err != nil {
		return "", fmt.Errorf("read the link /proc/PID/%s: %w", name, err)
	}
	return string(buf[:n]), nil
}
