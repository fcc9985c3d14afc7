// Package proctree reads what belongs to another process, as that process sees
// it: files below its root directory, the files that it holds open or has
// mapped, its command line and the names of its threads.
//
// The process may be hostile, and rstwhy is root. So a name is resolved below
// the process's own root and cannot leave it; nothing but a regular file of a
// file system that holds data is ever opened for reading, because opening a
// pipe can wait for ever, and opening a device or reading a file that the
// kernel makes up can do anything; and each answer is bounded. That a pid was
// reused is found by the start time, before and after the reading.
package proctree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// MaxPath is the longest name that is looked up (PATH_MAX).
const MaxPath = 4096

// Tree is a process and the file system that it sees. It may be used by one
// goroutine at a time.
type Tree struct {
	dir  int    // /proc/PID: stays with the process that had the pid then
	root int    // its root directory; -1 where that may not be opened
	cwd  string // its working directory, below root; empty where it cannot be told
	err  error  // why root is -1
}

// Open opens the process. CAP_SYS_PTRACE is needed to look into its root
// directory; without it only ReadFile and what builds on it fail.
func Open(pid uint32) (*Tree, error) {
	dir := "/proc/" + strconv.FormatUint(uint64(pid), 10)
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	t := &Tree{dir: fd}
	t.root, err = unix.Openat(fd, "root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.root, t.err = -1, fmt.Errorf("open %s/root (CAP_SYS_PTRACE is needed): %w", dir, err)
		return t, nil
	}
	t.cwd = t.workingDirectory()
	return t, nil
}

// Close gives the descriptors back.
func (t *Tree) Close() {
	unix.Close(t.dir)
	if t.root >= 0 {
		unix.Close(t.root)
	}
}

// workingDirectory translates /proc/PID/cwd. Its text is relative to the mount
// namespace of the process, so a chroot's prefix has to go; that the result is
// the same directory is verified.
func (t *Tree) workingDirectory() string {
	cwd, err1 := t.readlink("cwd")
	root, err2 := t.readlink("root")
	if err1 != nil || err2 != nil {
		return ""
	}
	if root != "/" {
		var ok bool
		if cwd, ok = strings.CutPrefix(cwd, root); !ok {
			return ""
		}
	}
	if cwd == "" {
		cwd = "/"
	}
	var want, got unix.Stat_t
	fd, err := t.resolve(cwd)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	if unix.Fstatat(t.dir, "cwd", &want, 0) != nil || unix.Fstat(fd, &got) != nil ||
		want.Dev != got.Dev || want.Ino != got.Ino {
		return ""
	}
	return cwd
}

// resolve looks a name up as the process would, links and ".." included, and
// cannot leave its root. O_PATH touches no device or pipe.
func (t *Tree) resolve(name string) (int, error) { return t.resolveHow(name, 0) }

func (t *Tree) resolveHow(name string, flags uint64) (int, error) {
	if t.root < 0 {
		return -1, t.err
	}
	return unix.Openat2(t.root, name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC | flags,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// path looks up a name that may be relative to the working directory.
func (t *Tree) path(name string) (int, error) {
	if name == "" || len(name) > MaxPath {
		return -1, fmt.Errorf("open a file: name of %d bytes", len(name))
	}
	full := name
	if !strings.HasPrefix(name, "/") {
		if t.root < 0 {
			return -1, t.err
		}
		if t.cwd == "" {
			return -1, fmt.Errorf("open %s: its working directory cannot be told", shown(name))
		}
		full = t.cwd + "/" + name // not path.Join: ".." behind a link is not lexical
	}
	fd, err := t.resolve(full)
	if err != nil {
		return -1, fmt.Errorf("open %s below its root: %w", shown(name), err)
	}
	return fd, nil
}

// OpenFile opens a regular file of the process's file system. A relative name
// starts at its working directory.
func (t *Tree) OpenFile(name string) (*File, error) {
	fd, err := t.path(name)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return reopen(fd, name)
}

// ReadFile gives the content of a regular file of at most limit bytes.
func (t *Tree) ReadFile(name string, limit int64) ([]byte, error) {
	f, err := t.OpenFile(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Size > limit {
		return nil, fmt.Errorf("open %s: %d bytes are more than %d", shown(name), f.Size, limit)
	}
	text, err := io.ReadAll(io.NewSectionReader(f, 0, limit))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", shown(name), err)
	}
	return text, nil
}

// ReadDir gives the names in a directory, limit at most, in no order.
func (t *Tree) ReadDir(name string, limit int) ([]string, error) {
	return t.FindNames(name, limit, limit, func(string) bool { return true })
}

// FindNames gives those names in a directory for which match holds, most at
// most, of the first limit.
func (t *Tree) FindNames(name string, limit, most int, match func(string) bool) ([]string, error) {
	fd, err := t.path(name)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := data(fd, name); err != nil {
		return nil, err
	}
	return readdir(fd, name, limit, most, match)
}

// readdir lists what an O_PATH descriptor of a directory stands for.
func readdir(fd int, name string, limit, most int, match func(string) bool) ([]string, error) {
	dir, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", shown(name), err)
	}
	f := os.NewFile(uintptr(dir), "directory")
	defer f.Close()
	var all []string
	for limit > 0 && len(all) < most {
		names, err := f.Readdirnames(min(limit, 1024))
		limit -= len(names)
		for _, n := range names {
			if len(all) < most && match(n) {
				all = append(all, n)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", shown(name), err)
		}
	}
	return all, nil
}

// shown bounds and escapes a name that the process chose.
func shown(name string) string {
	const most = 200
	if len(name) > most {
		name = name[:most]
	}
	quoted := strconv.QuoteToASCII(name)
	return quoted[1 : len(quoted)-1]
}
