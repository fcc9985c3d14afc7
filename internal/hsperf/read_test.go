package hsperf

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"rstwhy/internal/proctree"
)

const rootVariable = "RSTWHY_TEST_ROOT"

// TestMain lets the test binary play a process in a root directory of its own.
func TestMain(m *testing.M) {
	root := os.Getenv(rootVariable)
	if root == "" {
		os.Exit(m.Run())
	}
	if root != "/" {
		if err := unix.Chroot(root); err != nil {
			os.Exit(3)
		}
	}
	os.Stdout.WriteString("ready\n")
	os.Stdin.Read(make([]byte, 1)) // until the test ends
	os.Exit(0)
}

func play(t *testing.T, root string, flags uintptr) *proctree.Tree {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), rootVariable+"="+root)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	if n, err := out.Read(make([]byte, 16)); n == 0 {
		t.Fatalf("the process did not start: %v", err)
	}
	tree, err := proctree.Open(uint32(cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tree.Close)
	return tree
}

// In a container the file has the pid that the process sees, below its own
// root; and what others put beside it is passed over.
func TestRead(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for namespaces")
	}
	root := t.TempDir()
	put := func(user, pid, command string, uid int) {
		t.Helper()
		name := filepath.Join(root, "tmp", "hsperfdata_"+user, pid)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, file(binary.LittleEndian, counter{"sun.rt.javaCommand", command}), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(name, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	perf := func(name ...string) string {
		return filepath.Join(append([]string{root, "tmp"}, name...)...)
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	tree := play(t, root, unix.CLONE_NEWPID)
	if c, err := Read(tree); !errors.Is(err, ErrNone) {
		t.Errorf("no file: %+v %v", c, err)
	}
	put("nobody", "1", "forged", 65534)
	put("root", "7", "another process", 0)
	if err := os.MkdirAll(filepath.Join(root, "tmp", "hsperfdata_pipe"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(root, "tmp", "hsperfdata_pipe", "1"), 0o644); err != nil {
		t.Fatal(err)
	}
	// The user's own file, in directories that others made: by a hard link, or a
	// symbolic one, and where others may write.
	put("root", "8", "not the process's own", 0)
	for _, d := range []string{"hsperfdata_x", "hsperfdata_open", "hsperfdata_link"} {
		do(os.Mkdir(perf(d), 0o755))
	}
	do(os.Link(perf("hsperfdata_root", "8"), perf("hsperfdata_x", "1")))
	do(os.Chown(perf("hsperfdata_x"), 65534, 65534))
	do(os.Link(perf("hsperfdata_root", "8"), perf("hsperfdata_open", "1")))
	do(os.Chmod(perf("hsperfdata_open"), 0o777))
	do(os.Symlink("../hsperfdata_root/8", perf("hsperfdata_link", "1")))
	do(os.Mkdir(perf("elsewhere"), 0o755))
	do(os.Link(perf("hsperfdata_root", "8"), perf("elsewhere", "1")))
	do(os.Symlink("elsewhere", perf("hsperfdata_elsewhere")))
	if c, err := Read(tree); !errors.Is(err, ErrNone) {
		t.Errorf("others' files: %+v %v", c, err)
	}
	for i := range 5000 { // more than a few thousand names do not hide it
		do(os.WriteFile(perf(strconv.Itoa(i)), nil, 0o644))
	}
	put("root", "1", "org.example.Main", 0)
	if c, err := Read(tree); err != nil || c.Command != "org.example.Main" {
		t.Errorf("%+v %v", c, err)
	}
	// Nor do countless directories of the user, where its name is known.
	for i := range 10 * maxUsers {
		do(os.Mkdir(perf("hsperfdata_"+strconv.Itoa(i)), 0o755))
	}
	do(os.Mkdir(filepath.Join(root, "etc"), 0o755))
	do(os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("x:x:1:0\nbroken\nroot:x:0:0:root:/root:/bin/sh\n"), 0o644))
	if c, err := Read(tree); err != nil || c.Command != "org.example.Main" {
		t.Errorf("among many: %+v %v", c, err)
	}
	if err := os.Truncate(filepath.Join(root, "tmp", "hsperfdata_root", "1"), maxFile+1); err != nil {
		t.Fatal(err)
	}
	if c, err := Read(tree); !errors.Is(err, ErrNone) {
		t.Errorf("too big a file: %+v %v", c, err)
	}

	// The pid outside is another one, and no name of the file.
	pid, err := tree.NSPid()
	if err != nil || pid != 1 {
		t.Errorf("pid in its namespace %s %v", strconv.Itoa(int(pid)), err)
	}
}
