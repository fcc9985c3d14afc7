package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// An initramfs is a cpio archive in the "newc" form
// (Documentation/driver-api/early-userspace/buffer-format.rst). It is written
// without compression: unpacking is the guest's work, and an emulated CPU is slow.

const (
	modeDir  = 0o040000
	modeFile = 0o100000
	modeLink = 0o120000
	modeChar = 0o020000
)

// archive writes an initramfs. The first error stays and is told by close.
type archive struct {
	w     *bufio.Writer
	inode uint32
	size  int64
	has   map[string]bool
	err   error
}

func newArchive(w io.Writer) *archive {
	return &archive{w: bufio.NewWriterSize(w, 1<<20), has: map[string]bool{}}
}

// node is what the header of an entry says.
type node struct {
	mode         uint32
	major, minor uint32 // of the device
}

// entry writes one entry whose content is size bytes from r. A name that is
// there already is left as it is: the kernel would unpack the later one over it.
func (a *archive) entry(name string, n node, size int64, r io.Reader) {
	if a.err != nil || a.has[name] {
		return
	}
	if size > 1<<32-1 {
		a.err = fmt.Errorf("%s has %d bytes, and a file of an initramfs at most 4 GiB", name, size)
		return
	}
	a.has[name] = true
	a.inode++
	a.printf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		a.inode, n.mode, 0, 0, 1, 0, size, 0, 0, n.major, n.minor, len(name)+1, 0, name)
	a.pad()
	if r == nil || a.err != nil {
		return
	}
	written, err := io.Copy(a.w, r)
	a.size += written
	if err == nil && written != size {
		err = fmt.Errorf("it changed while it was read: %d bytes instead of %d", written, size)
	}
	if err != nil {
		a.err = fmt.Errorf("put %s into the initramfs: %w", name, err)
		return
	}
	a.pad()
}

func (a *archive) printf(format string, args ...any) {
	n, err := fmt.Fprintf(a.w, format, args...)
	a.size += int64(n)
	if a.err == nil {
		a.err = err
	}
}

func (a *archive) pad() {
	if over := a.size % 4; over != 0 {
		a.printf("%s", "\x00\x00\x00"[:4-over])
	}
}

// dir makes a directory and those above it.
func (a *archive) dir(name string) {
	name = strings.Trim(path.Clean("/"+name), "/")
	if name == "" || a.has[name] {
		return
	}
	a.dir(path.Dir(name))
	a.entry(name, node{mode: modeDir | 0o755}, 0, nil)
}

// text makes a file of a text.
func (a *archive) text(name, content string, perm uint32) {
	a.dir(path.Dir(name))
	a.entry(strings.TrimPrefix(name, "/"), node{mode: modeFile | perm}, int64(len(content)), strings.NewReader(content))
}

// char makes a character device.
func (a *archive) char(name string, major, minor uint32) {
	a.dir(path.Dir(name))
	a.entry(strings.TrimPrefix(name, "/"), node{modeChar | 0o600, major, minor}, 0, nil)
}

// tree copies a file, or a directory with all that is below it.
func (a *archive) tree(from, to string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		return a.copy(p, path.Join(to, filepath.ToSlash(below)), d.IsDir() || d.Type() == fs.ModeSymlink && p != from)
	})
}

// copy copies one file. Links inside a tree stay links; the file that the caller
// named is followed.
func (a *archive) copy(from, to string, keep bool) error {
	stat := os.Stat
	if keep {
		stat = os.Lstat
	}
	st, err := stat(from)
	if err != nil {
		return err
	}
	name := strings.TrimPrefix(path.Clean("/"+to), "/")
	a.dir(path.Dir(name))
	switch st.Mode().Type() {
	case fs.ModeDir:
		a.dir(name)
	case fs.ModeSymlink:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		a.entry(name, node{mode: modeLink | 0o777}, int64(len(target)), strings.NewReader(target))
	case 0:
		f, err := os.Open(from)
		if err != nil {
			return err
		}
		defer f.Close()
		a.entry(name, node{mode: modeFile | uint32(st.Mode().Perm())}, st.Size(), f)
	default:
		return fmt.Errorf("%s is neither a file nor a directory nor a link", from)
	}
	return a.err
}

func (a *archive) close() error {
	a.entry("TRAILER!!!", node{}, 0, nil)
	if a.err == nil {
		a.err = a.w.Flush()
	}
	return a.err
}
