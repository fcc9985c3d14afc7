package probe

import "golang.org/x/sys/unix"

// readingCalls are the system calls in which a process that reads
// /proc/PID/fd, or walks descriptors through a BPF iterator, can drop the last
// reference to somebody else's file. Unused places repeat the first: 0 is a
// call of its own on x86.
func readingCalls() [12]uint32 {
	calls := [12]uint32{}
	for i := range calls {
		calls[i] = unix.SYS_READ
	}
	copy(calls[:], append([]uint32{
		unix.SYS_READ, unix.SYS_READV, unix.SYS_PREAD64, unix.SYS_GETDENTS64, unix.SYS_READLINKAT,
		unix.SYS_STATX, unix.SYS_OPENAT, unix.SYS_FACCESSAT,
	}, archReadingCalls...))
	return calls
}
