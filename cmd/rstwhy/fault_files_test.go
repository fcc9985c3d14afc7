package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a tmpfs of so many bytes in a mount namespace of its own and
// gives a path to it that every process which shares our descriptors can use.
func smallDisk(t *testing.T, bytes int) string {
	t.Helper()
	type opened struct {
		fd  int
		err error
	}
	ready := make(chan opened)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with its namespace
		err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount("rstwhy-fault", os.TempDir(), "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", bytes))
		}
		fd := -1
		if err == nil {
			fd, err = unix.Open(os.TempDir(), unix.O_DIRECTORY|unix.O_PATH|unix.O_CLOEXEC, 0)
		}
		ready <- opened{fd, err}
	}()
	o := <-ready
	if o.err != nil {
		t.Fatalf("mount a small disk: %v", o.err)
	}
	t.Cleanup(func() { unix.Close(o.fd) })
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), o.fd)
}

// faultDisk: the disk is full in the middle of a recording.
func faultDisk(t *testing.T, bin string) {
	file := filepath.Join(smallDisk(t, 192<<10), "a.rec")
	recordingBreaks(t, bin, file, "no space left on device", func(*cliRun) {})
}

// faultFileLimit: RLIMIT_FSIZE, which would end the process by SIGXFSZ.
func faultFileLimit(t *testing.T, bin string) {
	file := filepath.Join(t.TempDir(), "a.rec")
	recordingBreaks(t, bin, file, "file too large", func(r *cliRun) {
		limit := unix.Rlimit{Cur: 100 << 10, Max: 100 << 10}
		if err := unix.Prlimit(r.cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
			t.Fatal(err)
		}
	})
}

// recordingBreaks: it is told at once, the trace goes on, the status tells it
// again, and what was written can be read up to its last whole line.
func recordingBreaks(t *testing.T, bin, file, why string, begin func(*cliRun)) {
	t.Helper()
	const n = 300
	addr := cliAddr()
	r := cliCommand(bin, "trace", "-o", "json", "--no-probe", "--max-rate", "0", "--addr", addr, "--record", file)
	log, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r.cmd.Stderr = log
	told := func() string {
		b, err := os.ReadFile(log.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	r.start(t)
	begin(r)
	sweep(t, addr, 3000, n)
	eventually(t, "the failure is told while the trace goes on", func() bool { return strings.Contains(told(), why) })
	sweep(t, addr, 4000, 5)
	time.Sleep(300 * time.Millisecond)
	status, resets, sums := r.finish(t)
	if exact(t, resets, sums); status != exitFailure || len(resets) != 2*(n+5) {
		t.Errorf("status %d, %d resets, want %d", status, len(resets), 2*(n+5))
	}
	if msg := told(); strings.Count(msg, why) != 2 || !strings.Contains(msg, file) {
		t.Errorf("told once at once and once at the end, naming the file: %q", msg)
	}
	if w := strings.Join(sums[0].Warnings, "\n"); strings.Count(w, why) != 1 {
		t.Errorf("warnings %q", w)
	}
	again := cliCommand(bin, "trace", "-o", "json", "--replay", file)
	status = again.run(t)
	if msg := again.stderr.String(); status != exitFailure || !strings.Contains(msg, "line ") || !strings.Contains(msg, "cut off") {
		t.Errorf("replay: status %d, %q", status, msg)
	}
	kept, _ := printed(t, again.stdout.Bytes())
	if len(kept) < 20 || len(kept) >= len(resets) {
		t.Fatalf("the recording holds %d resets of %d", len(kept), len(resets))
	}
	for i := range kept {
		a, _ := json.Marshal(kept[i])
		b, _ := json.Marshal(resets[i])
		if string(a) != string(b) {
			t.Fatalf("reset %d replayed:\n%s\nlive:\n%s", i, a, b)
		}
	}
}

// faultRotation: a live recording goes on in further files, within its bound.
func faultRotation(t *testing.T, bin string) {
	const n = 3000
	addr := cliAddr()
	file := filepath.Join(t.TempDir(), "a.rec")
	r := cliTrace(t, bin, "-o", "json", "--no-probe", "--max-rate", "0", "--addr", addr, "--record", file, "--record-size", "2M", "--record-files", "2")
	sweep(t, addr, 10000, n)
	time.Sleep(300 * time.Millisecond)
	status, resets, sums := r.finish(t)
	if exact(t, resets, sums); status != exitOK || len(resets) != 2*n {
		t.Errorf("status %d, %d resets\n%s", status, len(resets), &r.stderr)
	}
	names, err := filepath.Glob(file + "*")
	if err != nil || len(names) != 2 {
		t.Fatalf("files %v, %v", names, err)
	}
	args := []string{"trace", "-o", "json"}
	for _, name := range names {
		if st, err := os.Stat(name); err != nil || st.Size() > 2<<20 || st.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
		args = append(args, "--replay", name)
	}
	again := cliCommand(bin, args...)
	if status := again.run(t); status != exitOK {
		t.Errorf("replay: status %d\n%s", status, &again.stderr)
	}
	kept, _ := printed(t, again.stdout.Bytes())
	if live := r.stdout.String(); len(kept) < n/2 || !strings.Contains(live, again.stdout.String()[:len(again.stdout.String())/2]) {
		t.Errorf("replay of %v: %d resets, not those that were printed live", names, len(kept))
	}
}

// faultClosed: nobody reads the output any more. The trace ends, with status 1
// and the reason, and the recording is whole.
func faultClosed(t *testing.T, bin string) {
	for _, format := range []string{"text", "json"} {
		addr := cliAddr()
		file := filepath.Join(t.TempDir(), "a.rec")
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r := cliCommand(bin, "trace", "-o", format, "--no-probe", "--max-rate", "0", "--addr", addr, "--record", file, "--interval", "1s")
		r.cmd.Stdout = write
		r.start(t)
		write.Close()
		read.Close()
		if format == "json" { // text ends by the summary of the first interval
			sweep(t, addr, 5000, 3)
		}
		if status := r.wait(t); status != exitFailure || strings.Count(r.stderr.String(), "broken pipe") != 1 {
			t.Errorf("%s: status %d, stderr:\n%s", format, status, &r.stderr)
		}
		again := cliCommand(bin, "trace", "-o", "json", "--replay", file)
		if status := again.run(t); status != exitOK {
			t.Errorf("%s: replay: status %d\n%s", format, status, &again.stderr)
		}
		exactReplay(t, again)
	}
}

func exactReplay(t *testing.T, r *cliRun) {
	t.Helper()
	resets, sums := printed(t, r.stdout.Bytes())
	exact(t, resets, sums)
}

// faultReadyFile: where somebody put a link, the link is replaced and what it
// points to is left alone.
func faultReadyFile(t *testing.T, bin string) {
	dir := t.TempDir()
	kept, ready := filepath.Join(dir, "kept"), filepath.Join(dir, "ready")
	if err := os.WriteFile(kept, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(kept, ready); err != nil {
		t.Fatal(err)
	}
	r := cliCommand(bin, "trace", "--no-probe", "--max-rate", "0", "--addr", cliAddr(), "--ready-file", ready)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the ready file is there", func() bool {
		st, err := os.Lstat(ready)
		return err == nil && st.Mode() == 0o644
	})
	r.stop(t, syscall.SIGTERM)
	if b, err := os.ReadFile(kept); err != nil || string(b) != "precious" {
		t.Errorf("what the link pointed to holds %q, %v", b, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("files left behind: %v, %v", left, err)
	}
}
