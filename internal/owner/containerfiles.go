package owner

import (
	"encoding/json"
	"slices"
	"strings"
)

// The files in which container runtimes keep what they run. All are root's, and
// none is shown to a container.
const (
	dockerContainers  = "/var/lib/docker/containers"                     // ID/config.v2.json
	containerdTasks   = "/run/containerd/io.containerd.runtime.v2.task"  // NAMESPACE/ID/config.json
	storageContainers = "/var/lib/containers/storage/overlay-containers" // containers.json of Podman and CRI-O
	storageRun        = "/run/containers/storage/overlay-containers"     // ID/userdata/config.json of the same
	podLogs           = "/var/log/pods"                                  // NAMESPACE_POD_UID, by the kubelet
)

// lookUp reads the files of the runtime that the path names, of each where it
// names none. What contradicts the path is another container's.
func (c *containers) lookUp(w where) names {
	var found names
	if w.containerID != "" {
		for _, f := range []struct {
			runtimes []string
			read     func(id string) (names, bool)
		}{
			{[]string{runtimeContainerd, ""}, c.containerd},
			{[]string{runtimeDocker, ""}, c.docker},
			{[]string{runtimeCRIO, runtimePodman, ""}, c.storage},
		} {
			if !slices.Contains(f.runtimes, w.runtime) {
				continue
			}
			got, ok := f.read(w.containerID)
			if ok && (w.podUID == "" || got.podUID == "" || w.podUID == got.podUID) {
				found = got
				break
			}
		}
	}
	if uid := w.podUID; uid != "" && found.pod == "" {
		found.namespace, found.pod = c.podByLogs(uid)
	}
	return found.clean()
}

func (n names) clean() names {
	for _, s := range []*string{&n.runtime, &n.container, &n.pod, &n.namespace, &n.podUID} {
		*s = clean(*s, maxName)
	}
	return n
}

// file decodes a JSON file below one of the directories above.
func (c *containers) file(to any, base string, path ...string) bool {
	dir, err := openHostDir(c.root + base)
	if err != nil {
		return false
	}
	defer dir.close()
	b, err := dir.read(path...)
	return err == nil && json.Unmarshal(b, to) == nil
}

// docker reads what dockerd keeps (daemon/container, moby); a container of
// cri-dockerd has the kubelet's labels.
func (c *containers) docker(id string) (names, bool) {
	var file struct {
		ID     string
		Name   string
		Config struct{ Labels map[string]string }
	}
	if !c.file(&file, dockerContainers, id, "config.v2.json") || file.ID != "" && file.ID != id {
		return names{}, false
	}
	got := podNames(file.Config.Labels)
	got.runtime = runtimeDocker
	if got.container == "" {
		got.container = strings.TrimPrefix(file.Name, "/")
	}
	return got, true
}

// containerd reads the OCI configuration in the task's bundle.
func (c *containers) containerd(id string) (names, bool) {
	for _, namespace := range []string{"k8s.io", "default"} {
		var file struct{ Annotations map[string]string }
		if !c.file(&file, containerdTasks, namespace, id, "config.json") {
			continue
		}
		got := podNames(file.Annotations)
		got.runtime = runtimeContainerd
		if got.container == "" {
			got.container = file.Annotations["nerdctl/name"]
		}
		return got, true
	}
	return names{}, false
}

// storage reads what Podman and CRI-O keep: names in the store that they
// share, the pod in the OCI configuration.
func (c *containers) storage(id string) (names, bool) {
	var file struct{ Annotations map[string]string }
	ok := c.file(&file, storageRun, id, "userdata", "config.json")
	got := podNames(file.Annotations)
	if got.container != "" || got.pod != "" {
		got.runtime = runtimeCRIO
		return got, true
	}
	// The second holds those of `podman run --rm`.
	for _, name := range []string{"containers.json", "volatile-containers.json"} {
		var list []struct {
			ID    string   `json:"id"`
			Names []string `json:"names"`
		}
		if !c.file(&list, storageContainers, name) {
			continue
		}
		for _, item := range list {
			if item.ID == id && len(item.Names) > 0 {
				got.container = item.Names[0]
				return got, true
			}
		}
	}
	return got, ok
}

// podNames reads the annotations or labels of containerd, CRI-O and the
// kubelet, in this order.
func podNames(of map[string]string) names {
	first := func(keys ...string) string {
		for _, k := range keys {
			if of[k] != "" {
				return of[k]
			}
		}
		return ""
	}
	return names{
		container: first("io.kubernetes.cri.container-name", "io.kubernetes.container.name"),
		pod:       first("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"),
		namespace: first("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"),
		podUID:    first("io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"),
	}
}

// podByLogs finds a pod by the directory of its logs. Neither names nor uid have
// an underscore (RFC 1123 labels).
func (c *containers) podByLogs(uid string) (namespace, pod string) {
	dir, err := openHostDir(c.root + podLogs)
	if err != nil {
		return "", ""
	}
	defer dir.close()
	name, err := dir.find(maxPodsInDir, func(name string) bool {
		return strings.HasSuffix(name, "_"+uid) && strings.Count(name, "_") == 2
	})
	if err != nil {
		return "", ""
	}
	parts := strings.Split(name, "_")
	return parts[0], parts[1]
}
