package owner

import (
	"fmt"
	"os"
)

// initPIDNamespace is PROC_PID_INIT_INO (include/linux/proc_ns.h), the inode
// number that the initial pid namespace always has.
const initPIDNamespace = 0xEFFFFFFC

// InHostPIDNamespace tells whether this process sees the pids that the kernel
// hands to BPF. In any other pid namespace /proc shows other numbers, so
// processes cannot be described.
func InHostPIDNamespace() (bool, error) {
	return isInitPIDNamespace("/proc/self/ns/pid")
}

func isInitPIDNamespace(link string) (bool, error) {
	target, err := os.Readlink(link)
	if err != nil {
		return false, fmt.Errorf("cannot tell the pid namespace: %w", err)
	}
	var ino uint64
	if _, err := fmt.Sscanf(target, "pid:[%d]", &ino); err != nil {
		return false, fmt.Errorf("cannot tell the pid namespace: %s is %q, not pid:[N]", link, target)
	}
	return ino == initPIDNamespace, nil
}
