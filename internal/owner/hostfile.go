package owner

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxHostFile bounds what is read of a runtime's file, in bytes.
const maxHostFile = 256 << 10

var errNotTrusted = errors.New("not only root can write there")

// hostDir is a directory that only root (or this user) can change, and all of
// those above it: what lies in it was not put there by a container.
type hostDir struct{ fd int }

// openHostDir opens a directory. A link in base, which is a constant, is
// followed (/var/lib/docker is often one), and where it leads is judged.
func openHostDir(base string) (*hostDir, error) {
	real, err := filepath.EvalSymlinks(base)
	if err != nil {
		return nil, err
	}
	fd, err := retry(func() (int, error) { return unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, err
	}
	d := &hostDir{fd}
	for name := range strings.SplitSeq(strings.Trim(real, "/"), "/") {
		next, err := d.sub(name)
		d.close()
		if err != nil {
			return nil, err
		}
		d = next
	}
	return d, nil
}

func (d *hostDir) close() { unix.Close(d.fd) }

// sub opens a directory in d, and no link.
func (d *hostDir) sub(name string) (*hostDir, error) {
	fd, st, err := d.open(name)
	if err != nil {
		return nil, err
	}
	// In a directory with the sticky bit nobody renames what is root's.
	open := st.Mode&unix.S_IWOTH != 0 && st.Mode&unix.S_ISVTX == 0
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || open {
		unix.Close(fd)
		return nil, fmt.Errorf("%q: %w", name, errNotTrusted)
	}
	return &hostDir{fd}, nil
}

// open gives a descriptor that can be asked what it is, and the answer. Nothing
// is opened by that: not the other end of a FIFO, nor a device whose driver the
// kernel would load.
func (d *hostDir) open(name string) (int, *unix.Stat_t, error) {
	if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
		return 0, nil, fmt.Errorf("%q: %w", name, unix.EINVAL)
	}
	fd, err := retry(func() (int, error) {
		return unix.Openat(d.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return 0, nil, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Uid != 0 && st.Uid != uint32(os.Geteuid()) {
		err = fmt.Errorf("%q: %w", name, errNotTrusted)
	}
	if err != nil {
		unix.Close(fd)
		return 0, nil, err
	}
	return fd, &st, nil
}

// reopen turns what open gave into a descriptor to read from.
func reopen(fd, flags int) (*os.File, error) {
	path := "/proc/self/fd/" + strconv.Itoa(fd)
	got, err := retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|flags, 0) })
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(got), path), nil
}

// read gives the contents of a regular file of at most maxHostFile bytes, below
// d, at a path of plain names.
func (d *hostDir) read(path ...string) ([]byte, error) {
	if len(path) > 1 {
		next, err := d.sub(path[0])
		if err != nil {
			return nil, err
		}
		defer next.close()
		return next.read(path[1:]...)
	}
	fd, st, err := d.open(path[0])
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&unix.S_IWOTH != 0 {
		return nil, fmt.Errorf("%q: %w", path[0], errNotTrusted)
	}
	f, err := reopen(fd, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxHostFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxHostFile {
		return nil, fmt.Errorf("%q: %w", path[0], unix.EFBIG)
	}
	return b, nil
}

// find gives the first name in d, of at most limit, that is wanted.
func (d *hostDir) find(limit int, wanted func(string) bool) (string, error) {
	f, err := reopen(d.fd, unix.O_DIRECTORY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for limit > 0 {
		names, err := f.Readdirnames(min(limit, 256))
		if err != nil {
			return "", err // io.EOF too
		}
		limit -= len(names)
		for _, name := range names {
			if wanted(name) {
				return name, nil
			}
		}
	}
	return "", errTooMany
}
