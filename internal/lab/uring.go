package lab

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The part of include/uapi/linux/io_uring.h that accepts and closes.
const (
	uringOpAccept  = 13
	uringOpClose   = 19
	uringAsync     = 1 << 4 // IOSQE_ASYNC: a worker thread of the kernel does it
	uringGetEvents = 1      // IORING_ENTER_GETEVENTS
	uringOffSQ     = 0
	uringOffCQ     = 0x8000000
	uringOffSQEs   = 0x10000000
	uringSQESize   = 64
	uringCQESize   = 16
)

type uringParams struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32
	_                                                                      [3]uint32
	sq                                                                     struct {
		head, tail, ringMask, ringEntries, flags, dropped, array, _ uint32
		_                                                           uint64
	}
	cq struct {
		head, tail, ringMask, ringEntries, overflow, cqes, flags, _ uint32
		_                                                           uint64
	}
}

type uringSQE struct {
	opcode, flags uint8
	ioprio        uint16
	fd            int32
	off, addr     uint64
	len, opFlags  uint32
	userData      uint64
	_             [3]uint64
}

// uringOnce does one operation on a ring of its own and gives its result.
func uringOnce(e uringSQE) (int, error) {
	var p uringParams
	r, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return 0, fmt.Errorf("io_uring_setup: %w", errno)
	}
	ring := int(r)
	defer unix.Close(ring)
	at := func(offset int64, size uint32) ([]byte, error) {
		return unix.Mmap(ring, offset, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	}
	sq, err := at(uringOffSQ, p.sq.array+p.sqEntries*4)
	if err != nil {
		return 0, fmt.Errorf("io_uring: map the submission ring: %w", err)
	}
	defer func() { _ = unix.Munmap(sq) }()
	cq, err := at(uringOffCQ, p.cq.cqes+p.cqEntries*uringCQESize)
	if err != nil {
		return 0, fmt.Errorf("io_uring: map the completion ring: %w", err)
	}
	defer func() { _ = unix.Munmap(cq) }()
	entries, err := at(uringOffSQEs, p.sqEntries*uringSQESize)
	if err != nil {
		return 0, fmt.Errorf("io_uring: map the entries: %w", err)
	}
	defer func() { _ = unix.Munmap(entries) }()
	*(*uringSQE)(unsafe.Pointer(&entries[0])) = e
	*(*uint32)(unsafe.Pointer(&sq[p.sq.array])) = 0
	*(*uint32)(unsafe.Pointer(&sq[p.sq.tail]))++
	for {
		_, _, errno = unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(ring), 1, 1, uringGetEvents, 0, 0)
		if errno != unix.EINTR {
			break
		}
	}
	if errno != 0 {
		return 0, fmt.Errorf("io_uring_enter: %w", errno)
	}
	if res := *(*int32)(unsafe.Pointer(&cq[p.cq.cqes+8])); res < 0 {
		return 0, unix.Errno(-res)
	} else {
		return int(res), nil
	}
}

// uringAccept and uringClose work through io_uring; with a first number of 1 in
// a thread that the kernel adds to the process.
func (w *worker) uringAccept(c *command, _ []int) (reply, error) {
	fd, err := uringOnce(uringSQE{opcode: uringOpAccept, flags: uringFlags(c), fd: int32(c.FD), opFlags: unix.SOCK_CLOEXEC})
	if err == nil {
		w.sockets[fd] = true
	}
	return reply{N: fd}, err
}

func (w *worker) uringClose(c *command, _ []int) (reply, error) {
	delete(w.sockets, c.FD)
	_, err := uringOnce(uringSQE{opcode: uringOpClose, flags: uringFlags(c), fd: int32(c.FD)})
	return reply{}, err
}

func uringFlags(c *command) uint8 {
	if c.num(0) == 1 {
		return uringAsync
	}
	return 0
}
