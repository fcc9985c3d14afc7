package release

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"rstwhy/internal/lab"
)

// The clean system: Debian's least, and systemd for the unit. Linux 6.10, from
// which rstwhy can tell all, came with this suite.
const (
	rootSuite   = "trixie"
	rootInclude = "systemd"
)

// cleanRoot unpacks a clean Debian. It is made once, outside the source, from
// the mirror that this machine uses.
func cleanRoot(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatalf("find a cache directory for a Debian root: %v (set HOME or XDG_CACHE_HOME)", err)
	}
	archive := filepath.Join(cache, "rstwhy", "root-"+rootSuite+"-"+rootInclude+"-"+runtime.GOARCH+".tar")
	if err := os.MkdirAll(filepath.Dir(archive), 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(archive+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(archive); err != nil {
		makeRoot(t, archive)
	}
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	output(t, "tar", "-C", root, "-xpf", archive)
	return root
}

func makeRoot(t *testing.T, archive string) {
	t.Helper()
	mirrors, err := lab.DebianMirrors()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	part := archive + ".part"
	out, err := exec.CommandContext(ctx, "mmdebstrap", "--quiet", "--format=tar", "--variant=minbase", "--include="+rootInclude,
		rootSuite, part, mirrors.Main).CombinedOutput()
	if err != nil {
		t.Fatalf("make a Debian root: %v\n%s", err, out)
	}
	if err := os.Rename(part, archive); err != nil {
		t.Fatal(err)
	}
}

// inside is a command in the root, with the kernel's file systems of the host in
// a mount namespace of its own: nothing stays mounted.
func inside(root string, args ...string) *exec.Cmd {
	const script = `root=$1; shift
for d in proc sys dev; do mount --rbind "/$d" "$root/$d"; done
exec chroot "$root" "$@"`
	c := exec.Command("unshare", append([]string{"--mount", "--propagation", "private", "sh", "-ec", script, "sh", root}, args...)...)
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"}
	return c
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	return outputOf(t, exec.Command(name, args...))
}

func outputOf(t *testing.T, c *exec.Cmd) string {
	t.Helper()
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(c.Args, " "), err, out)
	}
	return string(out)
}

// snapshot tells each file's mode, owner and content apart.
func snapshot(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		owner := info.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%s %d:%d", info.Mode(), owner.Uid, owner.Gid)
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(filepath.Join(root, path))
			if err != nil {
				return err
			}
			text += " to " + to
		case info.Mode().IsRegular():
			f, err := os.Open(filepath.Join(root, path))
			if err != nil {
				return err
			}
			defer f.Close()
			h := sha256.New()
			if _, err := io.Copy(h, f); err != nil {
				return err
			}
			text += fmt.Sprintf(" %x", h.Sum(nil))
		}
		out["/"+path] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// changes lists what differs, but for the package manager's own books.
func changes(before, after map[string]string, books ...string) []string {
	var out []string
	keep := func(path string) bool {
		for _, b := range books {
			if path == b || strings.HasPrefix(path, b+"/") {
				return false
			}
		}
		return true
	}
	for path, was := range before {
		if is, ok := after[path]; keep(path) && (!ok || is != was) {
			out = append(out, fmt.Sprintf("%s was %q and is %q", path, was, is))
		}
	}
	for path, is := range after {
		if _, ok := before[path]; keep(path) && !ok {
			out = append(out, fmt.Sprintf("%s is new: %q", path, is))
		}
	}
	return out
}
