package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rstwhy/internal/event"
)

// cliBin builds the program where any user can run it.
func cliBin(t *testing.T) string {
	t.Helper()
	bin := buildTracer(t)
	for dir := filepath.Dir(bin); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return bin
}

// cliRun is one run of the program.
type cliRun struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
}

func cliCommand(bin string, args ...string) *cliRun {
	r := &cliRun{cmd: exec.Command(bin, args...)}
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	r.cmd.Env = append(os.Environ(), "TZ=UTC")
	return r
}

// asNobody takes all privileges.
func (r *cliRun) asNobody() *cliRun {
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return r
}

// wait gives the exit status; a run that hangs is killed.
func (r *cliRun) wait(t *testing.T) int {
	t.Helper()
	hung := time.AfterFunc(30*time.Second, func() { _ = r.cmd.Process.Kill() })
	defer hung.Stop()
	err := r.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() >= 0 {
		return exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("%v: %v\n%s", r.cmd.Args[1:], err, &r.stderr)
	}
	return 0
}

func (r *cliRun) run(t *testing.T) int {
	t.Helper()
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return r.wait(t)
}

// cliTrace starts `rstwhy trace` and waits until it is ready.
func cliTrace(t *testing.T, bin string, args ...string) *cliRun {
	t.Helper()
	r := cliCommand(bin, append([]string{"trace"}, args...)...)
	r.start(t)
	return r
}

func (r *cliRun) start(t *testing.T) {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready")
	r.cmd.Args = append(r.cmd.Args, "--ready-file", ready)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.cmd.Process.Kill() }) // nothing where it has ended
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(ready); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v was not ready within 20 s", r.cmd.Args[1:])
		}
	}
}

// stop ends the run with a signal, which is success.
func (r *cliRun) stop(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	if status := r.wait(t); status != exitOK {
		t.Errorf("%v ended with status %d after %v\n%s", r.cmd.Args[1:], status, sig, &r.stderr)
	}
}

// lines reads the objects that were printed: resets, beside what storms others
// made, then one summary.
func (r *cliRun) lines(t *testing.T) (resets []event.Reset, sum event.Summary) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(r.stdout.String(), "\n"), "\n")
	for i, line := range lines {
		var err error
		if i == len(lines)-1 {
			err = json.Unmarshal([]byte(line), &sum)
		} else {
			if strings.HasPrefix(line, `{"type":"storm"`) {
				continue // the account has its resets apart
			}
			var reset event.Reset
			err = json.Unmarshal([]byte(line), &reset)
			resets = append(resets, reset)
		}
		if err != nil {
			t.Fatalf("%v printed %q: %v", r.cmd.Args[1:], line, err)
		}
	}
	if sum.Type != "summary" {
		t.Fatalf("%v did not end with a summary but with %q\n%s", r.cmd.Args[1:], lines[len(lines)-1], &r.stderr)
	}
	if !sum.Account.Balanced() || sum.Account.Delivered != uint64(len(resets)) {
		t.Errorf("%v printed %d resets; its account: %+v", r.cmd.Args[1:], len(resets), sum.Account)
	}
	return resets, sum
}

// cliAddr is a loopback address of this test alone: the kernel's other resets
// must not be taken for its own.
func cliAddr() string {
	return fmt.Sprintf("127.%d.%d.7", 64+os.Getpid()>>8&63, os.Getpid()&255)
}

// closedPort is one where nobody listens.
func closedPort(t *testing.T, addr string) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// refuse connects to a closed port: a reset sent by no process, and received
// by this one.
func refuse(t *testing.T, addr string, port uint16) {
	t.Helper()
	c, err := net.Dial("tcp", net.JoinHostPort(addr, fmt.Sprint(port)))
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connect to port %d of %s: %v, want refused", port, addr, err)
	}
	if err == nil {
		c.Close()
	}
}

// abort resets a connection by SO_LINGER 0.
func abort(t *testing.T, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
	_, _ = s.Read(make([]byte, 1))
}
