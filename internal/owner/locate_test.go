package owner

import (
	"strings"
	"testing"
)

const (
	podA       = "2f3b1c4d-9a7e-4c11-8d2f-0123456789ab"
	podEscaped = "2f3b1c4d_9a7e_4c11_8d2f_0123456789ab"
	podStatic  = "5b9f1d0c2a3e4f5061728394a5b6c7d8" // a static pod's is a hash of its file
)

// Paths as the runtimes write them, and what may be said of each.
func TestLocate(t *testing.T) {
	onHost := func(runtime, id string) where { return where{runtime: runtime, containerID: id, host: true} }
	pod := func(w where, uid string) where { w.podUID = uid; return w }
	unit := func(w where, name string) where { w.unit = name; return w }
	inside := func(w where) where { w.host = false; return w }
	slices := "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + podEscaped + ".slice/"
	user := "/user.slice/user-1000.slice/user@1000.service"
	for path, want := range map[string]where{
		// Docker: systemd driver, cgroupfs driver, a parent of the user's choice
		"/system.slice/docker-" + idA + ".scope":   unit(onHost("docker", idA), "docker-"+idA+".scope"),
		"/docker/" + idA:                           onHost("docker", idA),
		"/docker/" + idA + "/init":                 onHost("docker", idA),
		"/batch.slice/docker-" + idA + ".scope":    unit(onHost("docker", idA), "docker-"+idA+".scope"),
		"/docker/" + idA + "/system.slice/x.scope": unit(onHost("docker", idA), "x.scope"),
		// nerdctl and ctr
		"/system.slice/nerdctl-" + idA + ".scope": unit(onHost("containerd", idA), "nerdctl-"+idA+".scope"),
		"/default/" + idA:                         onHost("containerd", idA),
		"/a/default/" + idA:                       {},
		// Podman as root: systemd, cgroupfs, in a pod of its own, Quadlet, systemd inside
		"/machine.slice/libpod-" + idA + ".scope":                                      unit(onHost("podman", idA), "libpod-"+idA+".scope"),
		"/machine.slice/libpod-" + idA + ".scope/container":                            unit(onHost("podman", idA), "libpod-"+idA+".scope"),
		"/machine.slice/machine-libpod_pod_" + idB + ".slice/libpod-" + idA + ".scope": unit(onHost("podman", idA), "libpod-"+idA+".scope"),
		"/libpod_parent/libpod-" + idA + "/ctr":                                        onHost("podman", idA),
		"/system.slice/web.service/libpod-payload-" + idA:                              unit(onHost("podman", idA), "web.service"),
		"/system.slice/web.service/libpod-payload-" + idA + "/system.slice/n.service":  unit(onHost("podman", idA), "n.service"),
		"/system.slice/web.service/runtime":                                            {unit: "web.service"},
		// Podman without root: the names below a user's manager are the user's
		user + "/user.slice/libpod-" + idA + ".scope":                 inside(unit(onHost("podman", idA), "libpod-"+idA+".scope")),
		user + "/app.slice/web.service/libpod-payload-" + idA:         inside(unit(onHost("podman", idA), "web.service")),
		user + "/app.slice/docker-" + idA + ".scope":                  inside(unit(onHost("docker", idA), "docker-"+idA+".scope")),
		user + "/app.slice/lxc.payload.db":                            {runtime: "lxc", unit: "user@1000.service"},
		user + "/user.slice/libpod-conmon-" + idA + ".scope":          {unit: "libpod-conmon-" + idA + ".scope"},
		"/user.slice/user-1000.slice/session-3.scope":                 {unit: "session-3.scope"},
		user + `/app.slice/app-gnome-org.gnome.Te\x2drminal-12.scope`: {unit: `app-gnome-org.gnome.Te\x2drminal-12.scope`},
		user + "/init.scope":                                          {unit: "init.scope"},
		// Kubernetes, cgroupfs driver: guaranteed, burstable, best effort, static
		"/kubepods/pod" + podA + "/" + idA:                       pod(onHost("", idA), podA),
		"/kubepods/burstable/pod" + podA + "/" + idA:             pod(onHost("", idA), podA),
		"/kubepods/besteffort/pod" + podA + "/" + idA + "/child": pod(onHost("", idA), podA),
		"/kubepods/burstable/pod" + podStatic + "/" + idA:        pod(onHost("", idA), podStatic),
		"/kubepods/burstable/pod" + podA + "/crio-" + idA:        pod(onHost("cri-o", idA), podA),
		"/kubepods/burstable/pod" + podA:                         {podUID: podA},
		// Kubernetes, systemd driver
		"/kubepods.slice/kubepods-pod" + podEscaped + ".slice/cri-containerd-" + idA + ".scope": pod(unit(onHost("containerd", idA), "cri-containerd-"+idA+".scope"), podA),
		slices + "cri-containerd-" + idA + ".scope":                                             pod(unit(onHost("containerd", idA), "cri-containerd-"+idA+".scope"), podA),
		slices + "crio-" + idA + ".scope":                                                       pod(unit(onHost("cri-o", idA), "crio-"+idA+".scope"), podA),
		slices + "crio-" + idA + ".scope/container":                                             pod(unit(onHost("cri-o", idA), "crio-"+idA+".scope"), podA),
		slices + "docker-" + idA + ".scope":                                                     pod(unit(onHost("docker", idA), "docker-"+idA+".scope"), podA),
		slices + "crio-conmon-" + idA + ".scope":                                                {podUID: podA, unit: "crio-conmon-" + idA + ".scope"},
		"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + podStatic + ".slice/cri-containerd-" + idA + ".scope": pod(unit(onHost("containerd", idA), "cri-containerd-"+idA+".scope"), podStatic),
		"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + podEscaped + ".slice/cri-containerd-" + idA + ".scope":       pod(unit(onHost("containerd", idA), "cri-containerd-"+idA+".scope"), podA),
		"/system.slice/containerd.service/kubepods-burstable-pod" + podEscaped + ".slice:cri-containerd:" + idA:                     pod(unit(onHost("containerd", idA), "containerd.service"), podA),
		// containers inside of containers: the host knows nothing of the inner ones
		"/docker/" + idA + "/docker/" + idB:                                           inside(onHost("docker", idB)),
		"/docker/" + idA + "/kubelet/kubepods/pod" + podA + "/" + idB:                 inside(pod(onHost("", idB), podA)),
		"/kubepods/pod" + podA + "/" + idA + "/system.slice/docker-" + idB + ".scope": inside(pod(unit(onHost("docker", idB), "docker-"+idB+".scope"), podA)),
		// LXC
		"/lxc.payload.db":                         {runtime: "lxc", name: "db", host: true},
		"/lxc/db/system.slice/postgres@1.service": {runtime: "lxc", name: "db", host: true, unit: "postgres@1.service"},
		"/lxc.monitor.db":                         {},
		"/lxc":                                    {},
		// plain services
		"/system.slice/ssh.service":                           {unit: "ssh.service"},
		"/system.slice/system-getty.slice/getty@tty1.service": {unit: "getty@tty1.service"},
		"/system.slice/_memory.service":                       {unit: "memory.service"},
		"/system.slice/web.service/worker":                    {unit: "web.service"},
		"/init.scope":                                         {unit: "init.scope"},
		"/user.slice":                                         {},
		"/":                                                   {},
		"":                                                    {},
		"/../../system.slice/web.service":                     {unit: "web.service"},
		// what looks like one and is none
		"/system.slice/a.service/evil\x1b[2J\n.service":                    {unit: "a.service"},
		"/system.slice/a.service/" + strings.Repeat("u", 250) + ".service": {unit: "a.service"},
		"/system.slice/.service":                                           {},
		"/system.slice/@x.service":                                         {},
		"/x/pod" + podA + "/" + idA:                                        {}, // not below kubepods
		"/kubepods/pod../" + idA:                                           onHost("", idA),
		"/kubepods/pod" + strings.Repeat("a", 65) + "/" + idA:              onHost("", idA),
		"/kubepods.slice/kubepods-podA\x1b.slice/crio-" + idA + ".scope":   unit(onHost("cri-o", idA), "crio-"+idA+".scope"),
	} {
		if got := locate(path); got != want {
			t.Errorf("%q:\n got %+v\nwant %+v", path, got, want)
		}
	}
}

// On cgroup v1 and hybrid hosts unit and container may stand in different
// hierarchies, and the v2 path may be the root.
func TestPlace(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		want       Snapshot
	}{
		{
			"v2", "0::/system.slice/docker-" + idA + ".scope\n",
			Snapshot{Cgroup: "/system.slice/docker-" + idA + ".scope", ContainerID: idA, ContainerRuntime: "docker", Unit: "docker-" + idA + ".scope"},
		},
		{
			"v1", "12:pids:/docker/" + idA + "\n4:cpu,cpuacct:/docker/" + idA + "\n1:name=systemd:/docker/" + idA + "\n",
			Snapshot{Cgroup: "/docker/" + idA, ContainerID: idA, ContainerRuntime: "docker"},
		},
		{
			"v1, a service", "4:memory:/system.slice\n3:cpu:/\n1:name=systemd:/system.slice/ssh.service\n",
			Snapshot{Cgroup: "/system.slice/ssh.service", Unit: "ssh.service"},
		},
		{
			"v1, kubepods", "3:cpu:/kubepods/burstable/pod" + podA + "/" + idA + "\n1:name=systemd:/kubepods/burstable/pod" + podA + "/" + idA + "\n",
			Snapshot{Cgroup: "/kubepods/burstable/pod" + podA + "/" + idA, ContainerID: idA, PodUID: podA},
		},
		{
			"hybrid", "9:memory:/docker/" + idA + "\n1:name=systemd:/system.slice/a.service\n0::/system.slice/a.service\n",
			Snapshot{Cgroup: "/system.slice/a.service", ContainerID: idA, ContainerRuntime: "docker", Unit: "a.service"},
		},
		{
			"hybrid, v2 at its root", "9:memory:/lxc/db\n1:name=systemd:/lxc/db/system.slice/b.service\n0::/\n",
			Snapshot{Cgroup: "/lxc/db/system.slice/b.service", ContainerName: "db", ContainerRuntime: "lxc", Unit: "b.service"},
		},
	} {
		var e entry
		(&Resolver{}).place(&e, tt.file)
		if e.Snapshot != tt.want {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.name, e.Snapshot, tt.want)
		}
	}
}

func FuzzLocate(f *testing.F) {
	f.Add("/kubepods.slice/kubepods-pod" + podEscaped + ".slice/cri-containerd-" + idA + ".scope")
	f.Add("/lxc.payload.\x1b[2J/user@1.service/_a\\x2db.service")
	f.Add("/kubepods/pod" + podA + "/crio-" + idA + "/docker/" + idB)
	f.Fuzz(func(t *testing.T, path string) {
		w := locate(path)
		if w.containerID != "" && (!isContainerID(w.containerID) || !strings.Contains(path, w.containerID)) {
			t.Errorf("%q: container %q", path, w.containerID)
		}
		if w.unit != "" && (len(w.unit) > maxUnit || !only(w.unit, unitChars) || !strings.Contains(path, w.unit)) {
			t.Errorf("%q: unit %q", path, w.unit)
		}
		if len(w.podUID) > maxPodUID || !only(w.podUID, podUIDChars) {
			t.Errorf("%q: pod %q", path, w.podUID)
		}
		if w.host && !w.container() || w.name != "" && w.runtime != runtimeLXC {
			t.Errorf("%q: %+v", path, w)
		}
		var e entry
		e.locate(w)
		if len(e.ContainerName) > maxName {
			t.Errorf("%q: name of %d bytes", path, len(e.ContainerName))
		}
	})
}
