package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// parseNetNS gives the inode number of a network namespace.
func parseNetNS(v string, replay bool) (uint32, error) {
	number := strings.TrimSuffix(strings.TrimPrefix(v, "net:["), "]") // as ls -l /proc/PID/ns/net shows it
	if n, err := strconv.ParseUint(number, 10, 32); err == nil && n > 0 {
		return uint32(n), nil
	}
	path := v
	if pid, ok := strings.CutPrefix(v, "pid:"); ok {
		n, err := parsePID(pid)
		if err != nil {
			return 0, err
		}
		path = fmt.Sprintf("/proc/%d/ns/net", n)
	} else if !strings.Contains(v, "/") {
		return 0, fmt.Errorf("%.64q is no network namespace: give its inode number (readlink /proc/PID/ns/net), pid:N or a path", v)
	}
	if replay {
		return 0, fmt.Errorf("%.64q would be looked up on this machine, and the recording may be of another one: give the inode number, as \"netns\" in -o json has it", v)
	}
	return netnsAt(path)
}

// netnsAt gives the inode number of the network namespace that a path leads to.
func netnsAt(path string) (uint32, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0, fmt.Errorf("cannot find network namespace %.128q: %w", path, err)
	}
	// Before it is opened: what is no namespace may be a FIFO or a device.
	if fs.Type != unix.NSFS_MAGIC {
		return 0, fmt.Errorf("%.128q is no network namespace", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("cannot open network namespace %.128q: %w", path, err)
	}
	defer f.Close()
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return 0, fmt.Errorf("%.128q is a namespace, but not of the network", path)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, fmt.Errorf("cannot tell the number of network namespace %.128q: %w", path, err)
	}
	return uint32(st.Ino), nil
}
