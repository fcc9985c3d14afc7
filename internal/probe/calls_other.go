//go:build !amd64

package probe

import "golang.org/x/sys/unix"

var archReadingCalls = []uint32{unix.SYS_FSTATAT}
