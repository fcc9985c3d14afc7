package owner

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	idA = strings.Repeat("0123456789abcdef", 4)
	idB = strings.Repeat("fedcba9876543210", 4)
)

func TestContainerID(t *testing.T) {
	for path, want := range map[string]string{
		"/system.slice/docker-" + idA + ".scope":      idA,
		"/system.slice/docker-" + idA + ".scope/init": idA,
		"/docker/" + idA:                                                                    idA,
		"/docker/" + idA + "/docker/" + idB:                                                 idB,
		"/../../docker-" + idA + ".scope":                                                   idA,
		"/docker/" + idA + "/build/" + idB:                                                  idA, // not the name of a container
		"/libpod_parent/" + idA:                                                             idA,
		"/ecs/task/" + idA:                                                                  idA,
		"/kubepods/burstable/pod1234/" + idA:                                                idA,
		"/kubepods/besteffort/pod1/" + idA + "/x":                                           idA,
		"/kubepods.slice/kubepods-pod1.slice/cri-containerd-" + idA + ".scope":              idA,
		"/kubepods.slice/kubepods-pod1.slice/crio-" + idA + ".scope":                        idA,
		"/kubepods.slice/kubepods-pod1.slice/crio-" + idA + ".scope/container":              idA,
		"/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:" + idA:        idA,
		"/machine.slice/libpod-" + idA + ".scope/container":                                 idA,
		"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + idA + ".scope": idA,

		"/kubepods.slice/crio-conmon-" + idA + ".scope":  "",
		"/machine.slice/libpod-conmon-" + idA + ".scope": "",
		"/sandbox/" + idA:                 "", // no runtime's name
		"/docker/" + idA[:63]:             "",
		"/docker/" + idA + "0":            "",
		"/docker/" + strings.ToUpper(idA): "",
		"/docker/buildkit":                "",
		"/docker-" + idA[:12] + ".scope":  "",
		"/system.slice/ssh.service":       "",
		"/":                               "",
		"":                                "",
	} {
		if got := ContainerID(path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

func TestParseCgroup(t *testing.T) {
	hybrid := "9:name=systemd:/user\n4:memory,cpu:/docker/" + idA + "\n3:x:relative\nrubbish\n0::/\n"
	v2, all := parseCgroup(hybrid)
	if want := []string{"/", "/user", "/docker/" + idA}; v2 != "/" || !cmp.Equal(all, want) {
		t.Errorf("hybrid: got %q, %q", v2, all)
	}
	if got := longest(all); got != "/docker/"+idA {
		t.Errorf("longest is %q", got)
	}
	if v2, _ := parseCgroup("0::/a:b/c (deleted)\n"); v2 != "/a:b/c" {
		t.Errorf("removed cgroup with a colon: got %q", v2)
	}
	if v2, all := parseCgroup("1:cpu:/x\n"); v2 != "" || !cmp.Equal(all, []string{"/x"}) {
		t.Errorf("v1: got %q, %q", v2, all)
	}
}

func TestFindCgroup2(t *testing.T) {
	const info = `30 22 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw
33 30 0:37 /sub /mnt/bind rw - cgroup2 cgroup2 rw
40 30 0:37 / /sys/fs/cgroup/uni\040fied rw shared:1 - cgroup2 cgroup2 rw
41 30 0:37
`
	got, err := findCgroup2(info)
	if want := (cgroupMount{point: "/sys/fs/cgroup/uni fied", root: "/"}); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := findCgroup2("1 2 0:3 / / rw - ext4 x rw\n"); !errors.Is(err, errNoCgroup2) {
		t.Errorf("got %v, want %v", err, errNoCgroup2)
	}
}

// liveTree opens the cgroup v2 tree of this machine and makes a cgroup in it.
func liveTree(t *testing.T) (tree *cgroupTree, dir string, id uint64) {
	t.Helper()
	tree, err := newCgroupTree("/proc", "")
	if err != nil || tree == nil {
		t.Skipf("no cgroup v2 here: %v", err)
	}
	t.Cleanup(func() { tree.close() })
	dir, err = os.MkdirTemp(tree.mount.point, "rstwhy-test-")
	if err != nil {
		t.Skipf("cannot make a cgroup: %v", err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	if id, err = inode(dir); err != nil {
		t.Fatal(err)
	}
	return tree, dir, id
}

func TestCgroupTree(t *testing.T) {
	tree, dir, id := liveTree(t)
	want := "/" + filepath.Base(dir)
	if p, err := tree.byHandle(id); err != nil || p != want {
		t.Errorf("by handle: got %q, %v, want %q", p, err, want)
	}
	if p, err := walkFor(tree.mount.point, id, maxWalkDirs); err != nil || p != want {
		t.Errorf("by walking: got %q, %v, want %q", p, err, want)
	}
	if _, err := walkFor(tree.mount.point, id, 1); !errors.Is(err, errTooMany) {
		t.Errorf("bounded walk: got %v, want %v", err, errTooMany)
	}
	root, err := inode(tree.mount.point)
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := tree.path(root); !ok || p != "/" {
		t.Errorf("root: got %q, %v", p, ok)
	}
	if got := tree.id(want); got != id {
		t.Errorf("id of %s is %d, want %d", want, got, id)
	}
	if got := tree.id("/../" + filepath.Base(dir)); got != 0 {
		t.Errorf("a path outside has id %d", got)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if p, ok := tree.path(id); !ok || p != want {
		t.Errorf("removed, but met before: got %q, %v, want %q", p, ok, want)
	}
	if _, err := tree.byHandle(id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed: got %v, want %v", err, fs.ErrNotExist)
	}
}

// Without file handles the tree is walked, but not for every unknown id.
func TestCgroupWalkIsRare(t *testing.T) {
	tree, dir, id := liveTree(t)
	tree.noHandles = true
	if p, ok := tree.path(1 << 60); ok {
		t.Fatalf("found %q under an id that does not exist", p)
	}
	if p, ok := tree.path(id); ok {
		t.Errorf("walked twice within a second, to find %q", p)
	}
	tree.walkAgain = time.Now()
	if p, ok := tree.path(id); !ok || p != "/"+filepath.Base(dir) {
		t.Errorf("after a second: got %q, %v", p, ok)
	}
	if _, known := tree.paths.get(1 << 60); !known {
		t.Error("the id that does not exist is looked for again")
	}
}

func FuzzParseCgroup(f *testing.F) {
	f.Add("0::/docker/" + idA + "\n4:memory:/x\n")
	f.Add("0::/\n0::/a\n")
	f.Add("::/\n:")
	f.Fuzz(func(t *testing.T, s string) {
		v2, all := parseCgroup(s)
		if v2 != "" && (len(all) == 0 || all[0] != v2) {
			t.Errorf("%q: v2 %q is not first of %q", s, v2, all)
		}
		for _, p := range append(all, s) {
			if id := ContainerID(p); id != "" && (!isContainerID(id) || !strings.Contains(p, id)) {
				t.Errorf("%q has container %q", p, id)
			}
		}
	})
}
