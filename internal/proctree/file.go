package proctree

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"golang.org/x/sys/unix"
)

// File is a regular file that was opened for reading. It is read with pread(2)
// alone: the runtime's poller would wait for ever for a file that says that it
// may have something later.
type File struct {
	fd    int
	Size  int64  // when it was opened; it may change under the reader
	Owner uint32 // user id of its owner, in the initial user namespace
}

// Close gives the descriptor back.
func (f *File) Close() error { return unix.Close(f.fd) }

// ReadAt is io.ReaderAt's.
func (f *File) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		got, err := unix.Pread(f.fd, p[n:], off+int64(n))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return n, err
		case got == 0:
			return n, io.EOF
		}
		n += got
	}
	return n, nil
}

// dataFS are the file systems whose regular files are data, by the number that
// statfs(2) gives. In others a regular file may be anything: reading
// /proc/kmsg takes the kernel's messages away from who else reads them, one of
// tracefs waits for an event, one of FUSE or of a network waits for somebody
// who need not answer.
var dataFS = map[uint32]bool{
	unix.EXT4_SUPER_MAGIC:      true, // ext2 and ext3 too
	unix.XFS_SUPER_MAGIC:       true,
	unix.BTRFS_SUPER_MAGIC:     true,
	unix.TMPFS_MAGIC:           true,
	unix.RAMFS_MAGIC:           true,
	unix.OVERLAYFS_SUPER_MAGIC: true,
	unix.F2FS_SUPER_MAGIC:      true,
	unix.SQUASHFS_MAGIC:        true,
	unix.EROFS_SUPER_MAGIC_V1:  true,
	unix.ISOFS_SUPER_MAGIC:     true,
	unix.MSDOS_SUPER_MAGIC:     true,
	unix.EXFAT_SUPER_MAGIC:     true,
	unix.REISERFS_SUPER_MAGIC:  true,
	unix.NILFS_SUPER_MAGIC:     true,
	unix.UDF_SUPER_MAGIC:       true,
	// Not in the kernel's magic.h, or not in the kernel.
	0x2fc12fc1: true, // zfs
	0xca451a4e: true, // bcachefs
	0x3153464a: true, // jfs
	0x7366746e: true, // ntfs3
	0x61756673: true, // aufs
}

// data tells whether a descriptor is of a file system that may be read.
func data(fd int, name string) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return fmt.Errorf("stat the file system of %s: %w", shown(name), err)
	}
	if kind := uint32(fs.Type); !dataFS[kind] {
		return fmt.Errorf("open %s: a file system of type %#x, of which nothing is read", shown(name), kind)
	}
	return nil
}

// reopen opens for reading what an O_PATH descriptor stands for, where that is
// a regular file of a file system that holds data. O_NONBLOCK keeps a lease on
// the file from making the reader wait (fcntl(2), F_SETLEASE).
func reopen(fd int, name string) (*File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", shown(name), err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("open %s: not a regular file", shown(name))
	}
	if err := data(fd, name); err != nil {
		return nil, err
	}
	for {
		// The path is one of this process, and would say nothing in an error.
		got, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, fmt.Errorf("open %s: %w", shown(name), err)
		}
		return &File{fd: got, Size: st.Size, Owner: st.Uid}, nil
	}
}

// Owns tells whether a directory, and no link to one, belongs to the user.
func (t *Tree) Owns(dir string, uid uint32) bool {
	fd, err := t.resolveHow(dir, unix.O_NOFOLLOW|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Uid == uid
}

// OpenOwned opens a regular file in a directory where both belong to a user,
// neither is a link, and nobody else may write to the directory: what a program
// of that user made for others to read, in a place where anybody makes files.
func (t *Tree) OpenOwned(dir, name string, uid uint32) (*File, error) {
	parent, err := t.resolveHow(dir, unix.O_NOFOLLOW|unix.O_DIRECTORY)
	if err != nil {
		return nil, fmt.Errorf("open %s below its root: %w", shown(dir), err)
	}
	defer unix.Close(parent)
	var st unix.Stat_t
	if err := unix.Fstat(parent, &st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", shown(dir), err)
	}
	if st.Uid != uid || st.Mode&(unix.S_IWGRP|unix.S_IWOTH) != 0 {
		return nil, fmt.Errorf("open %s: others may write there", shown(dir))
	}
	fd, err := unix.Openat2(parent, name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return nil, fmt.Errorf("open %s/%s below its root: %w", shown(dir), shown(name), err)
	}
	defer unix.Close(fd)
	f, err := reopen(fd, dir+"/"+name)
	if err != nil {
		return nil, err
	}
	if f.Owner != uid {
		f.Close()
		return nil, fmt.Errorf("open %s/%s: it belongs to another user", shown(dir), shown(name))
	}
	return f, nil
}
