package owner

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxCgroupIDs = 1024
	maxWalkDirs  = 50_000
	// A walk of 50,000 directories takes a second or two: walking is to take
	// no more than a twentieth of a CPU, and at most one walk a second.
	walkEvery = time.Second
	walkShare = 20
)

// cgroupTree turns cgroup v2 ids into paths. The id that BPF gives is the
// inode number of the cgroup's directory (kernfs, 64 bits wide since 5.5).
type cgroupTree struct {
	mount cgroupMount
	dir   *os.File // the mount point, for open_by_handle_at; nil: none

	mu    sync.Mutex
	paths *lru[uint64, string] // empty path: no such cgroup
	// walkAgain is when the tree may be walked the next time.
	walkAgain time.Time
	// noHandles is set once open_by_handle_at turns out not to be allowed
	// (it takes CAP_DAC_READ_SEARCH) or not known to this kernel's cgroupfs.
	noHandles bool
}

type cgroupMount struct {
	point string // where it is mounted
	root  string // which cgroup is mounted there, as /proc/PID/cgroup would write it
}

var errNoCgroup2 = errors.New("cgroup v2 is not mounted")

// newCgroupTree opens the tree at point, or where mountinfo says it is. A host
// without cgroup v2 has none (nil), and its ids cannot be resolved.
func newCgroupTree(proc, point string) (*cgroupTree, error) {
	mount := cgroupMount{point: point, root: "/"}
	if point == "" {
		text, err := os.ReadFile(filepath.Join(proc, "self/mountinfo"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot find where cgroup v2 is mounted: %w", err)
		}
		if mount, err = findCgroup2(string(text)); err != nil {
			return nil, nil
		}
	}
	// As the kernel will write it for a file handle: without links.
	real, err := filepath.EvalSymlinks(mount.point)
	if err != nil {
		return nil, fmt.Errorf("cannot open the cgroup v2 file system at %q: %w", mount.point, err)
	}
	mount.point = real
	dir, err := os.Open(mount.point)
	if err != nil {
		return nil, fmt.Errorf("cannot open the cgroup v2 file system at %q: %w", mount.point, err)
	}
	return &cgroupTree{
		mount: mount,
		dir:   dir,
		paths: newLRU[uint64](maxCgroupIDs, maxCgroupIDs*maxCgroup, func(p string) int { return len(p) }),
	}, nil
}

func (t *cgroupTree) close() error { return t.dir.Close() }

// findCgroup2 picks from mountinfo (proc_pid_mountinfo(5)) the mount that
// shows most of the hierarchy: the one with the shortest root.
func findCgroup2(mountinfo string) (cgroupMount, error) {
	var found cgroupMount
	for line := range strings.Lines(mountinfo) {
		head, tail, ok := strings.Cut(line, " - ")
		fields := strings.Fields(head)
		if !ok || len(fields) < 5 || !strings.HasPrefix(tail, "cgroup2 ") {
			continue
		}
		m := cgroupMount{point: unescapeMount(fields[4]), root: unescapeMount(fields[3])}
		if found.point == "" || len(m.root) < len(found.root) {
			found = m
		}
	}
	if found.point == "" {
		return found, errNoCgroup2
	}
	return found, nil
}

// unescapeMount undoes mangle_path (fs/seq_file.c): blank, tab, newline and
// backslash are written as a backslash and three octal digits.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// id gives the id of the cgroup at a path from /proc/PID/cgroup, or 0 where
// this mount does not show it.
func (t *cgroupTree) id(path string) uint64 {
	rel, ok := strings.CutPrefix(path, strings.TrimSuffix(t.mount.root, "/"))
	if !ok || (rel != "" && rel[0] != '/') || strings.Contains(rel+"/", "/../") {
		return 0
	}
	ino, err := inode(t.mount.point + rel)
	if err != nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.paths.put(ino, path)
	return ino
}

// path gives the path of the cgroup with this id, as /proc/PID/cgroup writes
// it. A cgroup that was removed has no path unless it was met before.
func (t *cgroupTree) path(id uint64) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p, ok := t.paths.get(id); ok {
		return p, p != ""
	}
	p, err := t.find(id)
	switch {
	case err == nil:
		p = strings.TrimSuffix(t.mount.root, "/") + p
		if p == "" {
			p = "/"
		}
		t.paths.put(id, p)
		return p, true
	case errors.Is(err, fs.ErrNotExist):
		t.paths.put(id, "") // ids are not used again
	}
	return "", false
}

// find gives the path below the mount point: by file handle, else by walking.
func (t *cgroupTree) find(id uint64) (string, error) {
	if !t.noHandles {
		p, err := t.byHandle(id)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return p, err
		}
		t.noHandles = errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP)
	}
	began := time.Now()
	if began.Before(t.walkAgain) {
		return "", errWalked
	}
	defer func() { t.walkAgain = time.Now().Add(max(walkEvery, walkShare*time.Since(began))) }()
	return walkFor(t.mount.point, id, maxWalkDirs)
}

// fileidKernfs is FILEID_KERNFS (include/linux/exportfs.h): a handle of this
// type is the id itself (kernfs_encode_fh, fs/kernfs/mount.c, since 5.5).
const fileidKernfs = 0xfe

func (t *cgroupTree) byHandle(id uint64) (string, error) {
	handle := unix.NewFileHandle(fileidKernfs, binary.NativeEndian.AppendUint64(nil, id))
	fd, err := unix.OpenByHandleAt(int(t.dir.Fd()), handle, unix.O_PATH|unix.O_CLOEXEC)
	if errors.Is(err, unix.ESTALE) {
		return "", fs.ErrNotExist
	}
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	full, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "", err
	}
	p, ok := strings.CutPrefix(full, t.mount.point)
	if !ok || (p != "" && p[0] != '/') {
		return "", fs.ErrNotExist // outside of what this mount shows
	}
	if ino, err := inode(full); err != nil || ino != id {
		return "", fs.ErrNotExist // removed meanwhile
	}
	return p, nil
}

var (
	errTooMany = errors.New("too many cgroups")
	errWalked  = errors.New("the cgroups were walked just now")
)

// walkFor looks for the directory with inode number id, in at most limit ones.
func walkFor(top string, id uint64, limit int) (string, error) {
	found := ""
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // removed while walking
		}
		if limit--; limit < 0 {
			return errTooMany
		}
		if ino, err := inode(path); err == nil && ino == id {
			found = path
			return fs.SkipAll
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	if found == "" {
		return "", fs.ErrNotExist
	}
	return strings.TrimPrefix(found, top), nil
}

func inode(path string) (uint64, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	return st.Ino, nil
}
