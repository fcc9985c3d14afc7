package owner

import (
	"errors"

	"golang.org/x/sys/unix"
)

// procDir is an open /proc/PID. It reads with bare system calls: package os
// would put each file into the poller, which procfs refuses, and this runs
// once for every process that opens a connection.
type procDir struct {
	fd  int
	buf []byte // reused from file to file
}

func openProcDir(path string) (*procDir, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, err
	}
	return &procDir{fd: fd, buf: make([]byte, 2048)}, nil
}

func (d *procDir) close() { unix.Close(d.fd) }

// read gives at most limit bytes of a file.
func (d *procDir) read(name string, limit int) (string, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	have := 0
	for have < limit {
		if have == len(d.buf) {
			d.buf = append(d.buf, make([]byte, len(d.buf))...)
		}
		n, err := retry(func() (int, error) { return unix.Read(fd, d.buf[have:min(len(d.buf), limit)]) })
		if err != nil {
			return "", err
		}
		if n == 0 {
			break
		}
		have += n
	}
	return string(d.buf[:have]), nil
}

func (d *procDir) readlink(name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := retry(func() (int, error) { return unix.Readlinkat(d.fd, name, buf) })
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// retry repeats a call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
