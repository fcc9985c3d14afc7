package release

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The release that the tests make has a version and a time of its own.
const (
	tag        = "v0.9.0-rc.1"
	pkgVersion = "0.9.0~rc.1"
	commitDate = "2026-01-02T03:04:05Z"
)

// architectures are Go's names, and those of the rpm.
var architectures = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

// scratch lasts as long as the tests of this package.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if scratch, err = os.MkdirTemp("", "rstwhy-release-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(scratch)
		return m.Run()
	}())
}

func needBuild(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("makes a release: left out by -short")
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	needBuild(t)
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" || os.Getenv("RSTWHY_ROOT") == "1" {
		t.Fatal("installing packages needs root; run make test")
	}
	t.Skip("installing packages needs root; make test runs this (RSTWHY_ROOT=1 makes it a failure)")
}

// tree is a clone of this source with one commit, and what make made there.
type tree string

func (d tree) dist(name ...string) string {
	return filepath.Join(append([]string{string(d), "dist"}, name...)...)
}

func (d tree) binary(arch string) string { return d.dist("rstwhy-" + pkgVersion + "-linux-" + arch) }
func (d tree) deb() string {
	return d.dist("rstwhy_" + pkgVersion + "-1_" + runtime.GOARCH + ".deb")
}
func (d tree) rpm(arch string) string {
	return d.dist("rstwhy-" + pkgVersion + "-1." + architectures[arch] + ".rpm")
}

// release is made once for all tests.
func release(t *testing.T) tree {
	t.Helper()
	needBuild(t)
	d, err := first()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var first = sync.OnceValues(func() (tree, error) {
	d, err := clone("first")
	if err == nil {
		err = d.make("umask 022", nil, "release")
	}
	return d, err
})

// clone copies the source as it is, committed or not, and commits it: the copies
// have the same commit.
func clone(name string) (tree, error) {
	d := tree(filepath.Join(scratch, name))
	if err := os.MkdirAll(string(d), 0o755); err != nil {
		return d, err
	}
	entries, err := os.ReadDir("../..")
	if err != nil {
		return d, err
	}
	for _, e := range entries {
		if slices.Contains([]string{".git", "bin", "dist"}, e.Name()) {
			continue
		}
		if err := d.run(nil, "cp", "-R", filepath.Join(source(), e.Name()), "."); err != nil {
			return d, err
		}
	}
	env := []string{"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_DATE=" + commitDate, "GIT_COMMITTER_DATE=" + commitDate,
		"GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test", "GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test"}
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}, {"commit", "-q", "-m", "all"}, {"tag", tag}} {
		if err := d.run(env, "git", args...); err != nil {
			return d, err
		}
	}
	return d, nil
}

func source() string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		panic(err) // there is no working directory
	}
	return dir
}

// make runs a target after a line of shell.
func (d tree) make(before string, env []string, target string) error {
	return d.run(env, "sh", "-ec", before+"\nexec make "+target)
}

func (d tree) run(env []string, name string, args ...string) error {
	c := exec.Command(name, args...)
	c.Dir = string(d)
	c.Env = append(outsideMake(), env...)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// outsideMake is the environment without what `make test` adds to it for a make
// that is its own.
func outsideMake() []string {
	return slices.DeleteFunc(os.Environ(), func(s string) bool {
		return strings.HasPrefix(s, "MAKE") || strings.HasPrefix(s, "MFLAGS=")
	})
}
