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
	if c, err := Read(tree); !errors.Is(err, ErrNone) {
		t.Errorf("others' files: %+v %v", c, err)
	}
	put("root", "1", "org.example.Main", 0)
	if c, err := Read(tree); err != nil || c.Command != "org.example.Main" {
		t.Errorf("%+v %v", c, err)
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
