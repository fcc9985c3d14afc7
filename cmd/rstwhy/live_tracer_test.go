package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" || os.Getenv("RSTWHY_ROOT") == "1" {
		t.Fatal("tracing needs root; run make test")
	}
	t.Skip("tracing needs root; make test runs this, make test-unit does without (RSTWHY_ROOT=1 makes it a failure)")
}

// binaryVariable names the program under test where there is no go to build it
// with, as in the guests of make test-vm.
const binaryVariable = "RSTWHY_BINARY"

// buildTracer builds the program under test.
func buildTracer(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rstwhy")
	if ready := os.Getenv(binaryVariable); ready != "" {
		// A name of its own for each test: some look for processes that are left.
		if err := os.Link(ready, path); err == nil {
			return path
		}
		b, err := os.ReadFile(ready)
		if err == nil {
			err = os.WriteFile(path, b, 0o755)
		}
		if err != nil {
			t.Fatalf("%s: %v", binaryVariable, err)
		}
		return path
	}
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("build rstwhy: %v\n%s", err, out)
	}
	return path
}

// tracer is a running `rstwhy trace -o json`.
type tracer struct {
	cmd            *exec.Cmd
	stdout, stderr string // files: a pipe that nobody reads would slow it down
	stopped        bool
}

func startTracer(t *testing.T, binary string, args ...string) *tracer {
	t.Helper()
	dir := t.TempDir()
	ready := filepath.Join(dir, "ready")
	tr := &tracer{stdout: filepath.Join(dir, "stdout"), stderr: filepath.Join(dir, "stderr")}
	tr.cmd = exec.Command(binary, append([]string{"trace", "-o", "json", "--no-probe", "--ready-file", ready}, args...)...)
	out, err := os.Create(tr.stdout)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	errs, err := os.Create(tr.stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer errs.Close()
	tr.cmd.Stdout, tr.cmd.Stderr = out, errs
	if err := tr.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !tr.stopped {
			_ = tr.cmd.Process.Kill()
			_ = tr.cmd.Wait()
		}
	})
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(ready); err == nil {
			return tr
		}
		if time.Now().After(until) {
			t.Fatalf("rstwhy trace is not ready after 20 s:\n%s", tr.log(t))
		}
	}
}

func (tr *tracer) log(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(tr.stderr)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// stop ends the tracer as Ctrl-C does and reads what it told.
func (tr *tracer) stop(t *testing.T) (resets []event.Reset, summary event.Summary, lines []string) {
	t.Helper()
	if err := tr.cmd.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- tr.cmd.Wait() }()
	select {
	case err := <-done:
		tr.stopped = true
		if err != nil {
			t.Fatalf("rstwhy trace after SIGINT: %v\n%s", err, tr.log(t))
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("rstwhy trace does not end 20 s after SIGINT:\n%s", tr.log(t))
	}
	b, err := os.ReadFile(tr.stdout)
	if err != nil {
		t.Fatal(err)
	}
	return parseOutput(t, b)
}

// parseOutput reads JSON lines: resets, then exactly one summary, the last.
func parseOutput(t *testing.T, b []byte) (resets []event.Reset, summary event.Summary, lines []string) {
	t.Helper()
	summaries := 0
	scan := bufio.NewScanner(bytes.NewReader(b))
	scan.Buffer(nil, 4<<20)
	for scan.Scan() {
		var kind struct{ Type string }
		if err := json.Unmarshal(scan.Bytes(), &kind); err != nil {
			t.Fatalf("not JSON: %v: %q", err, scan.Text())
		}
		switch kind.Type {
		case "reset":
			var r event.Reset
			if err := json.Unmarshal(scan.Bytes(), &r); err != nil {
				t.Fatalf("reset: %v: %s", err, scan.Text())
			}
			resets, lines = append(resets, r), append(lines, scan.Text())
		case "summary":
			summaries++
			if err := json.Unmarshal(scan.Bytes(), &summary); err != nil {
				t.Fatalf("summary: %v: %s", err, scan.Text())
			}
		}
	}
	if err := scan.Err(); err != nil {
		t.Fatal(err)
	}
	if last := strings.TrimSpace(string(b)); summaries != 1 || !strings.Contains(last[strings.LastIndexByte(last, '\n')+1:], `"summary"`) {
		t.Fatalf("%d summaries, or the last line is none", summaries)
	}
	return resets, summary, lines
}

// storms reads the storm lines of what the tracer told.
func (tr *tracer) storms(t *testing.T) (all []event.Storm) {
	t.Helper()
	b, err := os.ReadFile(tr.stdout)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		if !bytes.HasPrefix(line, []byte(`{"type":"storm"`)) {
			continue
		}
		var s event.Storm
		if err := json.Unmarshal(line, &s); err != nil {
			t.Fatalf("storm: %v: %s", err, line)
		}
		all = append(all, s)
	}
	return all
}

// kernelLimits asks check what this kernel does not tell.
func kernelLimits(t *testing.T, binary string) map[string]bool {
	t.Helper()
	out, err := exec.Command(binary, "check", "-o", "json").Output()
	if err != nil {
		t.Fatalf("rstwhy check: %v\n%s", err, out)
	}
	var rep checkReport
	if err := json.Unmarshal(out, &rep); err != nil {
		t.Fatal(err)
	}
	limits := map[string]bool{}
	for _, h := range rep.Hooks {
		for _, l := range h.Limits {
			limits[l.ID] = true
		}
	}
	return limits
}
