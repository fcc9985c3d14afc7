package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"rstwhy/internal/event"
)

// tracer is a running `rstwhy trace -o json`, whose output is counted and thrown
// away but for the summary.
type tracer struct {
	cmd    *exec.Cmd
	dir    string
	began  time.Time
	ready  time.Duration // from exec to the ready file
	atRest time.Duration // CPU used until ready
	stderr bytes.Buffer
	done   chan struct{} // closed at the end of stdout

	mu    sync.Mutex
	want  []byte         // part of a line that is waited for
	found chan time.Time // when it came
	lines uint64
	bytes uint64
	last  []byte
}

func startTracer(ctx context.Context, binary string, args ...string) (*tracer, error) {
	dir, err := os.MkdirTemp("", "rstwhy-bench-")
	if err != nil {
		return nil, err
	}
	t := &tracer{dir: dir, done: make(chan struct{}), found: make(chan time.Time, 1)}
	ready := filepath.Join(dir, "ready")
	t.cmd = exec.CommandContext(ctx, binary, append([]string{"trace", "-o", "json", "--no-probe", "--ready-file", ready}, args...)...)
	t.cmd.Stderr = &t.stderr
	out, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	t.began = time.Now()
	if err := t.cmd.Start(); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	go t.read(out)
	for time.Since(t.began) < 20*time.Second {
		if _, err := os.Stat(ready); err == nil {
			t.ready = time.Since(t.began)
			t.atRest, err = cpuOf(t.pid())
			return t, err
		}
		select {
		case <-t.done:
			err := t.cmd.Wait()
			os.RemoveAll(dir)
			return nil, fmt.Errorf("%s trace ended before it was ready: %w\n%s", binary, err, &t.stderr)
		case <-time.After(time.Millisecond):
		}
	}
	t.kill()
	return nil, fmt.Errorf("%s trace was not ready after 20 seconds\n%s", binary, &t.stderr)
}

func (t *tracer) pid() int { return t.cmd.Process.Pid }

func (t *tracer) kill() {
	_ = t.cmd.Process.Kill()
	<-t.done
	_ = t.cmd.Wait()
	os.RemoveAll(t.dir)
}

func (t *tracer) read(out io.Reader) {
	defer close(t.done)
	in := bufio.NewReaderSize(out, 1<<20)
	for {
		line, err := in.ReadSlice('\n')
		now := time.Now()
		t.mu.Lock()
		if len(line) > 0 {
			t.lines++
			t.bytes += uint64(len(line))
			t.last = append(t.last[:0], line...)
		}
		if t.want != nil && bytes.Contains(line, t.want) {
			t.want = nil
			t.found <- now
		}
		t.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// expect makes the next line that has part be reported on found.
func (t *tracer) expect(part string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.want = []byte(part)
}

// outcome is what a tracer did between being ready and its end.
type outcome struct {
	event.Summary
	cpu   time.Duration
	bytes uint64
}

// stop ends the tracer as a user does and reads its summary.
func (t *tracer) stop() (o outcome, err error) {
	defer os.RemoveAll(t.dir)
	if err := t.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return o, err
	}
	timer := time.AfterFunc(20*time.Second, func() { _ = t.cmd.Process.Kill() })
	defer timer.Stop()
	<-t.done
	if err := t.cmd.Wait(); err != nil {
		return o, fmt.Errorf("rstwhy trace: %w\n%s", err, &t.stderr)
	}
	if err := json.Unmarshal(t.last, &o.Summary); err != nil {
		return o, fmt.Errorf("summary: %w", err)
	}
	if o.Type != "summary" {
		return o, errors.New("rstwhy trace ended without a summary")
	}
	if !o.Account.Balanced() {
		return o, fmt.Errorf("the account does not add up: %+v", o.Account)
	}
	o.bytes = t.bytes - uint64(len(t.last))
	o.cpu = t.cmd.ProcessState.UserTime() + t.cmd.ProcessState.SystemTime() - t.atRest
	return o, nil
}
