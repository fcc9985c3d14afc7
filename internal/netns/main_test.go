package netns

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// The tests' main goroutine keeps the main thread, so that no namespace made
// here is ever that of /proc/self.
func init() { runtime.LockOSThread() }

const holderVariable = "RSTWHY_TEST_NETNS_HOLDER"

// TestMain lets the test binary be the process that holds a namespace.
func TestMain(m *testing.M) {
	if os.Getenv(holderVariable) == "" {
		mainTid, mainErr = threadOfMain()
		os.Exit(m.Run())
	}
	if err := interfaceUp("lo"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends
	os.Exit(0)
}

var mainTid, mainErr = 0, error(nil)

// threadOfMain is the thread on which onThread worked when it was called on the
// main thread (by TestMain; a test cannot get there).
func threadOfMain() (tid int, err error) {
	fd, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	err = onThread(fd, func() error { tid = unix.Gettid(); return nil })
	return tid, err
}

func TestMainThreadStays(t *testing.T) {
	needRoot(t)
	if mainErr != nil || mainTid == 0 || mainTid == os.Getpid() {
		t.Errorf("thread %d of process %d: %v", mainTid, os.Getpid(), mainErr)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" || os.Getenv("RSTWHY_ROOT") == "1" {
		t.Fatal("needs root: it makes network namespaces")
	}
	t.Skip("needs root: it makes network namespaces (sudo go test, or make test)")
}

// room is a network namespace held by a process of its own.
type room struct {
	inode, pid uint32
	end        func() // ends the process, and with it the namespace
}

func newRoom(t *testing.T) room {
	t.Helper()
	needRoot(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holderVariable+"=1")
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	cmd.Stderr = os.Stderr
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
	r := room{pid: uint32(cmd.Process.Pid)}
	ended := false
	r.end = func() {
		if !ended {
			ended = true
			in.Close()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(r.end)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("holder of a namespace: %q, %v", line, err)
	}
	if r.inode, err = inode(fmt.Sprintf("/proc/%d/ns/net", r.pid)); err != nil {
		t.Fatal(err)
	}
	return r
}

// inside runs f in the namespace.
func (r room) inside(t *testing.T, f func() error) {
	t.Helper()
	if err := Enter(r.inode, fmt.Sprintf("/proc/%d/ns/net", r.pid), f); err != nil {
		t.Fatal(err)
	}
}

func interfaceUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}
