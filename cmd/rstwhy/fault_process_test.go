package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// faultGone: hundreds of processes live for a moment, and are gone from /proc
// before the tracer, which stands still, reads of them.
func faultGone(t *testing.T, bin string) {
	const n = 200
	addr := cliAddr()
	port := closedPort(t, addr)
	r := cliTrace(t, bin, "-o", "json", "--no-probe", "--max-rate", "0", "--addr", addr, "--received")
	r.freeze(t)
	script := fmt.Sprintf(`for i in {1..%d}; do (echo $BASHPID; exec 3<>/dev/tcp/%s/%d) 2>/dev/null; done`, n, addr, port)
	out, _ := exec.Command("bash", "-c", script).Output() // the last connect fails, and so does the script
	r.signal(t, syscall.SIGCONT)
	time.Sleep(700 * time.Millisecond)
	status, resets, sums := r.finish(t)
	if exact(t, resets, sums); status != exitOK {
		t.Errorf("status %d\n%s", status, &r.stderr)
	}
	pids := pidsOf(resets)
	for _, pid := range strings.Fields(string(out)) {
		p, err := strconv.ParseUint(pid, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		if pids[uint32(p)] > 1 {
			t.Errorf("process %d has %d resets", p, pids[uint32(p)])
		}
		delete(pids, uint32(p))
	}
	if len(pids) > 0 {
		t.Errorf("processes that did nothing are named: %v", pids)
	}
	for _, x := range resets {
		if x.Owner != nil && (x.Owner.Comm != "bash" || x.Owner.Cmdline != "" && !strings.HasPrefix(x.Owner.Cmdline, "bash -c")) {
			t.Errorf("owner %+v", x.Owner)
		}
	}
	if a := sums[0].Account; a.Delivered+a.Aggregated != n || sums[0].OwnersUnknown > 0 {
		t.Errorf("%d processes: %+v, %d unknown", n, a, sums[0].OwnersUnknown)
	}
}

// evil steers a terminal, breaks lines and is no UTF-8.
const evil = "\x1b]0;owned\a\n\r\x9b31m\xff\u202e\u2028\x7f\x01"

// faultNames: a process chooses its name, its path and a megabyte of arguments
// against whoever prints them.
func faultNames(t *testing.T, bin string) {
	addr := cliAddr()
	port := closedPort(t, addr)
	dir := t.TempDir()
	exe := filepath.Join(dir, "e"+evil)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(exe, self, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "a.rec")
	text := cliTrace(t, bin, "--no-probe", "--max-rate", "0", "--addr", addr)
	json := cliTrace(t, bin, "-o", "json", "--no-probe", "--max-rate", "0", "--addr", addr, "--record", file)
	var args []string
	for range 9 { // an argument has at most 128 KiB (MAX_ARG_STRLEN)
		args = append(args, strings.Repeat(evil, (127<<10)/len(evil)))
	}
	c := actor(exe, net.JoinHostPort(addr, fmt.Sprint(port)), evil, args...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %.300q", err, out)
	}
	refuse(t, addr, port)
	time.Sleep(700 * time.Millisecond)
	text.stop(t, os.Interrupt)
	status, resets, sums := json.finish(t)
	exact(t, resets, sums)
	found := 0
	for _, x := range resets {
		if x.Owner != nil && x.Owner.PID == uint32(c.Process.Pid) {
			found++
			if len(x.Owner.Comm) == 0 || len(x.Owner.Cmdline) > 4096 {
				t.Errorf("comm %q, command line of %d bytes", x.Owner.Comm, len(x.Owner.Cmdline))
			}
		}
	}
	if status != exitOK || found != 1 {
		t.Errorf("status %d, %d resets of the hostile process\n%s", status, found, &json.stderr)
	}
	again := cliCommand(bin, "trace", "--replay", file)
	if status := again.run(t); status != exitOK {
		t.Errorf("replay: status %d\n%s", status, &again.stderr)
	}
	rows := 0
	for line := range bytes.Lines(text.stdout.Bytes()) {
		if bytes.Contains(line, []byte("  SENT  ")) || bytes.Contains(line, []byte("  RECV  ")) {
			rows++
		}
	}
	if rows != 4 {
		t.Errorf("%d rows of text for 4 resets:\n%s", rows, &text.stdout)
	}
	for what, b := range map[string][]byte{
		"text": text.stdout.Bytes(), "JSON": json.stdout.Bytes(), "replayed text": again.stdout.Bytes(),
		"log of text": text.stderr.Bytes(), "log of JSON": json.stderr.Bytes(),
	} {
		harmlessText(t, what, b)
	}
}

// cloneArgs is struct clone_args (include/uapi/linux/sched.h) up to set_tid.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize uint64
}

// spawnAs starts a program under a pid that must be free (clone3 with set_tid,
// Linux 5.5, CAP_SYS_ADMIN).
func spawnAs(t *testing.T, pid int, c *exec.Cmd) {
	t.Helper()
	path, err := unix.BytePtrFromString(c.Path)
	if err != nil {
		t.Fatal(err)
	}
	argv, err := syscall.SlicePtrFromStrings(c.Args)
	if err != nil {
		t.Fatal(err)
	}
	envv, err := syscall.SlicePtrFromStrings(c.Env)
	if err != nil {
		t.Fatal(err)
	}
	tid := int32(pid)
	a := cloneArgs{exitSignal: uint64(unix.SIGCHLD), setTID: uint64(uintptr(unsafe.Pointer(&tid))), setTIDSize: 1}
	child, errno := cloneAndExec(&a, path, &argv[0], &envv[0])
	if errno == unix.EPERM || errno == unix.ENOSYS {
		t.Skipf("clone3 with set_tid: %v", errno)
	}
	if errno != 0 || int(child) != pid {
		t.Fatalf("clone3 as %d: %d, %v", pid, child, errno)
	}
	t.Cleanup(func() {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, 0, nil)
	})
}

// cloneAndExec makes no call but these two in the child, which has one thread
// and none of the Go runtime's.
//
//go:norace
func cloneAndExec(a *cloneArgs, path *byte, argv, envv **byte) (uintptr, unix.Errno) {
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	pid, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(a)), unsafe.Sizeof(*a), 0)
	if pid == 0 && errno == 0 {
		unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(argv)), uintptr(unsafe.Pointer(envv)))
		for {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 127, 0, 0)
		}
	}
	return pid, errno
}

// faultPIDReuse: a process causes a reset and ends, and another one has its pid
// before the tracer looks: one of the same name, so that only the start time
// tells them apart. The new one is not named for the old one's reset, nor does its
// command line stand beside the old one's name.
func faultPIDReuse(t *testing.T, bin string) {
	addr := cliAddr()
	port := closedPort(t, addr)
	at := net.JoinHostPort(addr, fmt.Sprint(port))
	r := cliTrace(t, bin, "-o", "json", "--no-probe", "--max-rate", "0", "--addr", addr, "--received")
	r.freeze(t)
	first := actor("/proc/self/exe", at, "fault-same", "argument-of-the-first")
	if out, err := first.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	pid := first.Process.Pid
	// /proc tells a process's start in hundredths of a second (docs/known-issues.md).
	time.Sleep(20 * time.Millisecond)
	second := actor("/proc/self/exe", at+"|", "fault-same", "argument-of-the-second")
	if exe, err := os.Executable(); err != nil {
		t.Fatal(err)
	} else {
		second.Path = exe
	}
	spawnAs(t, pid, second)
	eventually(t, "the second process runs", func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		return err == nil && string(b) == "fault-same\n"
	})
	r.signal(t, syscall.SIGCONT)
	time.Sleep(time.Second)
	status, resets, sums := r.finish(t)
	exact(t, resets, sums)
	if status != exitOK || len(resets) != 2 {
		t.Fatalf("status %d, %d resets\n%s", status, len(resets), &r.stderr)
	}
	for i, x := range resets {
		want, other := "first", "second"
		if i == 1 {
			want, other = "second", "first"
		}
		if x.Owner == nil || x.Owner.PID != uint32(pid) || x.Owner.Comm != "fault-same" || strings.Contains(x.Owner.Cmdline, other) {
			t.Errorf("reset %d is the %s process's; owner %+v", i, want, x.Owner)
		}
		if i == 1 && (!x.Owner.StartTime.After(resets[0].Owner.StartTime) || !strings.Contains(x.Owner.Cmdline, "of-the-second")) {
			t.Errorf("owners %+v, then %+v", resets[0].Owner, x.Owner)
		}
	}
}
