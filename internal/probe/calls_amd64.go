package probe

import "golang.org/x/sys/unix"

var archReadingCalls = []uint32{unix.SYS_READLINK, unix.SYS_NEWFSTATAT, unix.SYS_STAT, unix.SYS_OPEN}
