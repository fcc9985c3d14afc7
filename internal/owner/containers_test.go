package owner

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hostFiles makes a root directory with some files in it.
func hostFiles(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, content := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const bundle = containerdTasks + "/k8s.io/"

func criConfig(pod, uid string) string {
	return fmt.Sprintf(`{"ociVersion":"1.2.0","process":{"args":["x"]},"annotations":{"io.kubernetes.cri.container-type":"container",
		"io.kubernetes.cri.container-name":"main","io.kubernetes.cri.sandbox-name":%q,"io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.sandbox-uid":%q}}`, pod, uid)
}

func TestLookUp(t *testing.T) {
	dir := map[string]string{
		dockerContainers + "/" + idA + "/config.v2.json":           `{"ID":"` + idA + `","Name":"/web","Config":{"Labels":{"a":"b"}}}`,
		bundle + idA + "/config.json":                              criConfig("web-0", podA),
		storageRun + "/" + idA + "/userdata/config.json":           `{"annotations":{"io.kubernetes.container.name":"db","io.kubernetes.pod.name":"db-0","io.kubernetes.pod.namespace":"data","io.kubernetes.pod.uid":"` + podA + `"}}`,
		storageRun + "/" + idB + "/userdata/config.json":           `{"annotations":{"org.opencontainers.image.stopSignal":"15"}}`,
		storageContainers + "/containers.json":                     `[{"id":"` + idA + `","names":["k8s_x"]},{"id":"x","names":[]}]`,
		storageContainers + "/volatile-containers.json":            `[{"id":"` + idB + `","names":["once"]}]`,
		containerdTasks + "/default/" + idB + "/config.json":       `{"annotations":{"nerdctl/name":"ner"}}`,
		podLogs + "/kube-system_etcd_" + podStatic + "/etcd/0.log": "",
		podLogs + "/a_b_c_" + podStatic + "x/0.log":                "",
	}
	c := newContainers(hostFiles(t, dir))
	for name, tt := range map[string]struct {
		in   where
		want names
	}{
		"docker":      {where{runtime: "docker", containerID: idA}, names{runtime: "docker", container: "web"}},
		"containerd":  {where{runtime: "containerd", containerID: idA, podUID: podA}, names{"containerd", "main", "web-0", "shop", podA}},
		"bare id":     {where{containerID: idA, podUID: podA}, names{"containerd", "main", "web-0", "shop", podA}},
		"nerdctl":     {where{runtime: "containerd", containerID: idB}, names{runtime: "containerd", container: "ner"}},
		"cri-o":       {where{runtime: "cri-o", containerID: idA, podUID: podA}, names{"cri-o", "db", "db-0", "data", podA}},
		"podman --rm": {where{runtime: "podman", containerID: idB}, names{container: "once"}},
		// A file that names another pod than the path is another container's.
		"contradiction": {where{runtime: "containerd", containerID: idA, podUID: "other"}, names{}},
		"by its logs":   {where{runtime: "cri-o", containerID: strings.Repeat("0", 64), podUID: podStatic}, names{pod: "etcd", namespace: "kube-system"}},
		"nothing":       {where{runtime: "docker", containerID: idB}, names{}},
	} {
		if got := c.lookUp(tt.in); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", name, got, tt.want)
		}
	}
	if got := newContainers(t.TempDir()).lookUp(where{containerID: idA, podUID: podA}); got != (names{}) {
		t.Errorf("a host without any runtime: %+v", got)
	}
}

// Nothing that a container may have put in place is read, and nothing blocks.
func TestLookUpHostile(t *testing.T) {
	file := dockerContainers + "/" + idA + "/config.v2.json"
	good := `{"Name":"/web"}`
	docker := where{runtime: "docker", containerID: idA}
	for name, change := range map[string]func(t *testing.T, root, path string) error{
		"FIFO": func(_ *testing.T, _, path string) error {
			return syscall.Mkfifo(path, 0o644)
		},
		"link": func(_ *testing.T, root, path string) error {
			secret := filepath.Join(root, "secret")
			if err := os.WriteFile(secret, []byte(good), 0o600); err != nil {
				return err
			}
			return os.Symlink(secret, path)
		},
		"directory": func(_ *testing.T, _, path string) error { return os.Mkdir(path, 0o755) },
		"socket": func(_ *testing.T, _, path string) error {
			return syscall.Mknod(path, syscall.S_IFSOCK|0o644, 0)
		},
		"device": func(t *testing.T, _, path string) error {
			if err := syscall.Mknod(path, syscall.S_IFCHR|0o644, 1<<8|5); err != nil { // /dev/zero
				t.Skip("needs root: ", err)
			}
			return nil
		},
		"huge": func(_ *testing.T, _, path string) error {
			return os.WriteFile(path, []byte(good+strings.Repeat(" ", maxHostFile)), 0o644)
		},
		"sparse and endless": func(_ *testing.T, _, path string) error {
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				return err
			}
			return os.Truncate(path, 1<<40)
		},
		"writable by all": func(_ *testing.T, _, path string) error {
			if err := os.WriteFile(path, []byte(good), 0o644); err != nil {
				return err
			}
			return os.Chmod(path, 0o666)
		},
		"another user's": func(t *testing.T, _, path string) error {
			if err := os.WriteFile(path, []byte(good), 0o644); err != nil {
				return err
			}
			if err := os.Chown(path, 65534, 65534); err != nil {
				t.Skip("needs root: ", err)
			}
			return nil
		},
		"in another user's directory": func(t *testing.T, _, path string) error {
			if err := os.WriteFile(path, []byte(good), 0o644); err != nil {
				return err
			}
			if err := os.Chown(filepath.Dir(path), 65534, 65534); err != nil {
				t.Skip("needs root: ", err)
			}
			return nil
		},
		"in everybody's directory": func(_ *testing.T, _, path string) error {
			if err := os.WriteFile(path, []byte(good), 0o644); err != nil {
				return err
			}
			return os.Chmod(filepath.Dir(path), 0o777)
		},
		"directory is a link": func(_ *testing.T, root, path string) error {
			if err := os.WriteFile(path, []byte(good), 0o644); err != nil {
				return err
			}
			if err := os.Rename(filepath.Dir(path), filepath.Join(root, "moved")); err != nil {
				return err
			}
			return os.Symlink(filepath.Join(root, "moved"), filepath.Dir(path))
		},
		"no JSON": func(_ *testing.T, _, path string) error { return os.WriteFile(path, []byte("{"), 0o644) },
		"another's": func(_ *testing.T, _, path string) error {
			return os.WriteFile(path, []byte(`{"ID":"`+idB+`","Name":"/web"}`), 0o644)
		},
		"not the type": func(_ *testing.T, _, path string) error { return os.WriteFile(path, []byte(`{"Name":7}`), 0o644) },
		"nested too deep": func(_ *testing.T, _, path string) error {
			return os.WriteFile(path, []byte(strings.Repeat("[", 200_000)), 0o644)
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := hostFiles(t, map[string]string{file: good})
			path := filepath.Join(root, file)
			if got := newContainers(root).lookUp(docker); got.container != "web" {
				t.Fatalf("the file is not read to begin with: %+v", got)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := change(t, root, path); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if got := newContainers(root).lookUp(docker); got != (names{}) {
				t.Errorf("got %+v", got)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
	long := hostFiles(t, map[string]string{file: `{"Name":"/` + strings.Repeat("é", 1000) + `\u001b[2J"}`})
	if got := newContainers(long).lookUp(docker); len(got.container) > maxName || !strings.HasSuffix(got.container, cutMark) {
		t.Errorf("a name of %d bytes", len(got.container))
	}
	// An admin's link to another disk is followed.
	elsewhere := hostFiles(t, map[string]string{"data/" + idA + "/config.v2.json": good, "var/lib/docker/x": ""})
	if err := os.Symlink(filepath.Join(elsewhere, "data"), filepath.Join(elsewhere, dockerContainers)); err != nil {
		t.Fatal(err)
	}
	if got := newContainers(elsewhere).lookUp(docker); got.container != "web" {
		t.Errorf("through an admin's link: %+v", got)
	}
}

func TestNamesAreCached(t *testing.T) {
	file := dockerContainers + "/" + idA + "/config.v2.json"
	root := hostFiles(t, map[string]string{file: `{"Name":"/web"}`})
	path := filepath.Join(root, file)
	c := newContainers(root)
	now := time.Now()
	c.now = func() time.Time { return now }
	docker, other := where{runtime: "docker", containerID: idA, host: true}, where{runtime: "docker", containerID: idB, host: true}
	ask := func(w where, want string) {
		t.Helper()
		for range 200 { // this machine may be too busy for the time that an answer is waited for
			if got, ok := c.names(w); ok && got.container == want {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		got, ok := c.names(w)
		t.Errorf("got %+v, %v, want %q", got, ok, want)
	}
	ask(docker, "web")
	ask(other, "")
	if err := os.WriteFile(path, []byte(`{"Name":"/renamed"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, dockerContainers, idB), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, dockerContainers, idB, "config.v2.json"), []byte(`{"Name":"/late"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	credit := func() float64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.credit
	}
	spent := credit()
	ask(docker, "web")
	ask(other, "")
	if credit() != spent {
		t.Error("looked up again at once")
	}
	now = now.Add(nodeRetry)
	ask(other, "late")
	now = now.Add(nodeFresh)
	ask(docker, "renamed")
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	now = now.Add(nodeFresh)
	ask(docker, "renamed") // the container is gone, its last processes are not

	// A disk that hangs: nobody waits behind the first.
	hang := func(busy bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.busy = busy
	}
	for running := true; running; time.Sleep(time.Millisecond) { // what was asked last may still be read
		c.mu.Lock()
		running = c.busy
		c.mu.Unlock()
	}
	hang(true)
	began := time.Now()
	for i := range 1000 {
		if got, ok := c.names(where{containerID: fmt.Sprintf("%064x", i)}); ok {
			t.Fatalf("got %+v", got)
		}
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("a thousand questions behind one that hangs took %v", took)
	}
	hang(false)
	for i := range 1000 {
		c.names(where{containerID: fmt.Sprintf("%064x", i)})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.known.len(); n > nodeBurst+10 {
		t.Errorf("%d look ups at once, more than %d", n, nodeBurst)
	}
}
