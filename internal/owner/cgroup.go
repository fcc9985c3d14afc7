package owner

import (
	"slices"
	"strings"
)

// parseCgroup reads /proc/PID/cgroup (cgroups(7)): lines of
// hierarchy:controllers:path, where hierarchy 0 is cgroup v2. A name in a path
// may hold a colon, but no newline (cgroup_mkdir, kernel/cgroup/cgroup.c). It
// gives the v2 path, empty where there is none, and all paths: v2 first, then
// that of systemd's own v1 hierarchy, which alone has every unit.
func parseCgroup(s string) (v2 string, all []string) {
	for line := range strings.Lines(s) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 || !strings.HasPrefix(parts[2], "/") {
			continue
		}
		// Written by the kernel once the cgroup is removed (proc_cgroup_show).
		path := strings.TrimSuffix(parts[2], " (deleted)")
		switch {
		case parts[0] == "0" && parts[1] == "" && v2 == "":
			v2 = path
			all = slices.Insert(all, 0, path)
		case parts[1] == "name=systemd" && v2 == "":
			all = slices.Insert(all, 0, path)
		case parts[1] == "name=systemd":
			all = slices.Insert(all, 1, path)
		default:
			all = append(all, path)
		}
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

// Names of container runtimes, as event.Process has them.
const (
	runtimeDocker     = "docker"
	runtimeContainerd = "containerd"
	runtimeCRIO       = "cri-o"
	runtimePodman     = "podman"
	runtimeLXC        = "lxc"
)

// where is what a cgroup path tells of the processes in it.
type where struct {
	runtime     string // empty: the path does not prove it
	containerID string
	name        string // of an LXC container, whose path has a name and no id
	podUID      string
	unit        string
	// host: the container was made by a daemon of this host, not inside of
	// another container or by a user, who both choose the names below the
	// cgroup that they were given. Only then do the host's files describe it.
	host bool
}

func (w *where) container() bool { return w.containerID != "" || w.runtime != "" }

// locate reads a cgroup path. The innermost container and unit count.
func locate(path string) where {
	w := where{host: true}
	names := strings.Split(path, "/")
	containers := 0
	for i, name := range names {
		if isUserManager(name) {
			w.host = false
		}
		if uid := podUID(name, names[:i]); uid != "" {
			w.podUID = uid
		}
		if u := unitName(name); u != "" {
			w.unit = u
		}
		runtime, id, lxc := container(name, names[:i])
		if id == "" && lxc == "" {
			continue
		}
		if containers++; containers > 1 {
			w.host = false
		}
		w.runtime, w.containerID, w.name = runtime, id, lxc
	}
	w.host = w.host && containers > 0
	if !w.host {
		w.name = ""
	}
	return w
}

// ContainerID gives the id of the innermost container in a cgroup path, 64
// hexadecimal digits, or nothing.
func ContainerID(path string) string { return locate(path).containerID }

const containerIDLen = 64

// containerPrefixes are what runtimes write before the id in the name of a
// cgroup: of a systemd scope, PREFIX<id>.scope, and some without systemd too.
// The scopes of the monitors beside them (crio-conmon-, libpod-conmon-) hold no
// process of the container.
var containerPrefixes = []struct {
	prefix, runtime string
	bare            bool // also without .scope
}{
	{"docker-", runtimeDocker, false},
	{"cri-containerd-", runtimeContainerd, false},
	{"nerdctl-", runtimeContainerd, false},   // a front end of containerd
	{"crio-", runtimeCRIO, true},             // cri-o internal/config/cgmgr/cgroupfs_linux.go
	{"libpod-", runtimePodman, true},         // /libpod_parent/libpod-<id>
	{"libpod-payload-", runtimePodman, true}, // --cgroups=split, as Quadlet does: SERVICE/libpod-payload-<id>
}

// container recognises the cgroup of a container by its name and those above.
func container(name string, above []string) (runtime, id, lxc string) {
	if runtime, id = scoped(name); id != "" {
		return runtime, id, ""
	}
	if lxc = lxcName(name, above); lxc != "" {
		return runtimeLXC, "", lxc
	}
	if !isContainerID(name) {
		return "", "", ""
	}
	if runtime, ok := bareParent(above); ok {
		return runtime, name, ""
	}
	return "", "", ""
}

// scoped gives the id in a name that a runtime made. containerd writes
// SLICE:cri-containerd:<id> where it was given a systemd path while it uses
// the cgroupfs driver.
func scoped(name string) (runtime, id string) {
	if i := strings.LastIndex(name, ":cri-containerd:"); i >= 0 {
		if id := name[i+len(":cri-containerd:"):]; isContainerID(id) {
			return runtimeContainerd, id
		}
	}
	stem, scope := strings.CutSuffix(name, ".scope")
	for _, p := range containerPrefixes {
		if id, ok := strings.CutPrefix(stem, p.prefix); ok && isContainerID(id) && (scope || p.bare) {
			return p.runtime, id
		}
	}
	return "", ""
}

// bareParent tells whether a bare id below these directories is a container's:
// those of Docker and Podman with the cgroupfs driver (/docker/<id>,
// /libpod_parent/<id>), of containerd in its namespace "default"
// (/default/<id>), of Amazon ECS (/ecs/TASK/<id>) and of Kubernetes
// (/kubepods/.../podUID/<id>), where any runtime may have made it.
func bareParent(above []string) (runtime string, ok bool) {
	n := len(above)
	if n == 0 {
		return "", false
	}
	switch parent := above[n-1]; {
	case parent == "docker":
		return runtimeDocker, true
	case parent == "libpod_parent":
		return runtimePodman, true
	case parent == "default" && n == 2 && above[0] == "": // oci.WithNamespacedCgroup, containerd
		return runtimeContainerd, true
	case n >= 2 && above[n-2] == "ecs":
		return "", true
	}
	return "", slices.ContainsFunc(above, func(name string) bool { return strings.HasPrefix(name, "kubepods") })
}

// lxcName gives the name of an LXC container: lxc.payload.NAME, and lxc/NAME
// before LXC 4. lxc.monitor.NAME is its monitor's.
func lxcName(name string, above []string) string {
	if s, ok := strings.CutPrefix(name, "lxc.payload."); ok {
		return s
	}
	if len(above) == 2 && above[0] == "" && above[1] == "lxc" {
		return name
	}
	return ""
}

func isContainerID(s string) bool {
	return len(s) == containerIDLen && only(s, "0123456789abcdef")
}

func only(s, chars string) bool { return strings.Trim(s, chars) == "" }

// maxPodUID bounds a pod's uid: 36 digits and dashes, or the 32 digits of a
// hash for a static pod.
const maxPodUID = 64

const podUIDChars = "0123456789abcdefghijklmnopqrstuvwxyz-"

// podUID recognises the cgroup of a pod. The kubelet's systemd driver makes
// kubepods[-burstable|-besteffort]-pod<uid>.slice, where the uid's dashes are
// underscores since a dash separates slices; a cgroup root of the cluster's own
// stands before it. The cgroupfs driver makes pod<uid> below kubepods.
// (pkg/kubelet/cm/cgroup_manager_linux.go, Kubernetes.)
func podUID(name string, above []string) string {
	// SLICE:cri-containerd:<id>, see scoped.
	if i := strings.IndexByte(name, ':'); i >= 0 {
		name = name[:i]
	}
	uid, ok := "", false
	if stem, slice := strings.CutSuffix(name, ".slice"); slice {
		i := strings.LastIndex(stem, "-pod")
		if ok = i >= 0 && strings.Contains(stem[:i], "kubepods"); ok {
			uid = strings.ReplaceAll(stem[i+len("-pod"):], "_", "-")
		}
	} else if uid, ok = strings.CutPrefix(name, "pod"); ok {
		ok = slices.ContainsFunc(above, func(name string) bool { return strings.HasPrefix(name, "kubepods") })
	}
	if !ok || len(uid) > maxPodUID || !only(uid, podUIDChars) {
		return ""
	}
	return uid
}
