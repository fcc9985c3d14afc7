package owner

import (
	"slices"
	"strings"
)

// parseCgroup reads /proc/PID/cgroup (cgroups(7)): lines of
// hierarchy:controllers:path, where hierarchy 0 is cgroup v2. A name in a path
// may hold a colon, but no newline (cgroup_mkdir, kernel/cgroup/cgroup.c). It
// gives the v2 path, empty where there is none, and all paths, v2 first.
func parseCgroup(s string) (v2 string, all []string) {
	for line := range strings.Lines(s) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 || !strings.HasPrefix(parts[2], "/") {
			continue
		}
		// Written by the kernel once the cgroup is removed (proc_cgroup_show).
		path := strings.TrimSuffix(parts[2], " (deleted)")
		if parts[0] == "0" && parts[1] == "" && v2 == "" {
			v2 = path
			all = slices.Insert(all, 0, path)
			continue
		}
		all = append(all, path)
	}
	return v2, all
}

// longest gives the longest path, the first of several. On cgroup v1 each
// controller may have its own, and most of them may be the root.
func longest(paths []string) string {
	found := ""
	for _, p := range paths {
		if len(p) > len(found) {
			found = p
		}
	}
	return found
}

const containerIDLen = 64

// containerPrefixes are what runtimes write before the id in the name of a
// systemd scope, PREFIX<id>.scope. The scopes of the monitors beside them
// (crio-conmon-, libpod-conmon-) hold no process of the container.
var containerPrefixes = []string{
	"docker-", "cri-containerd-", "crio-", "libpod-", "nerdctl-",
}

// ContainerID gives the id of the innermost container in a cgroup path, 64
// hexadecimal digits, or nothing.
func ContainerID(path string) string {
	names := strings.Split(path, "/")
	for i := len(names) - 1; i >= 0; i-- {
		if id := scopeID(names[i]); id != "" {
			return id
		}
		if isContainerID(names[i]) && isContainerParent(names[:i]) {
			return names[i]
		}
	}
	return ""
}

// isContainerParent tells whether a bare id below these directories is a
// container's: those of Docker and Podman with the cgroupfs driver
// (/docker/<id>, /libpod_parent/<id>), of Amazon ECS (/ecs/TASK/<id>) and of
// Kubernetes (/kubepods/.../podUID/<id>).
func isContainerParent(above []string) bool {
	n := len(above)
	switch {
	case n >= 1 && (above[n-1] == "docker" || above[n-1] == "libpod_parent"):
		return true
	case n >= 2 && above[n-2] == "ecs":
		return true
	}
	return slices.ContainsFunc(above, func(name string) bool { return strings.HasPrefix(name, "kubepods") })
}

// scopeID gives the id in the name of a scope. containerd writes
// SLICE:cri-containerd:<id> where it was given a systemd path while it uses
// the cgroupfs driver.
func scopeID(name string) string {
	if i := strings.LastIndex(name, ":cri-containerd:"); i >= 0 {
		if id := name[i+len(":cri-containerd:"):]; isContainerID(id) {
			return id
		}
	}
	name, ok := strings.CutSuffix(name, ".scope")
	if !ok {
		return ""
	}
	for _, prefix := range containerPrefixes {
		if id, ok := strings.CutPrefix(name, prefix); ok && isContainerID(id) {
			return id
		}
	}
	return ""
}

func isContainerID(s string) bool {
	if len(s) != containerIDLen {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
