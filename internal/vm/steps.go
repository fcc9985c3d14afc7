package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// step is one of several programs that one guest runs, one after the other.
type step struct {
	Name  string
	Args  []string
	Dir   string
	Env   []string
	Limit time.Duration
	Ready string   // wait for this file, take the time, and end the program
	Keep  []string // files whose content goes to the host
	Tries int      // run it again where it failed, so often in all; an emulated machine misses deadlines
}

// outcome is what became of a step.
type outcome struct {
	Name     string
	Status   int
	Error    string // why there is no status
	Output   string
	Took     time.Duration
	Kept     map[string]string
	TimedOut bool
	Earlier  []outcome // tries that failed
}

func (o *outcome) failed() bool { return o.Status != 0 || o.Error != "" }

const stepsFile = "/vm/steps.json"

// runSteps is the guest's program where there are several: it writes a JSON line
// for each. A step that fails does not stop the next.
func runSteps(ctx context.Context, _ []string) (int, error) {
	b, err := os.ReadFile(stepsFile)
	if err != nil {
		return 1, err
	}
	var steps []step
	if err := json.Unmarshal(b, &steps); err != nil {
		return 1, err
	}
	enc := json.NewEncoder(os.Stdout)
	for _, s := range steps {
		o := s.run(ctx)
		for len(o.Earlier)+1 < s.Tries && o.failed() {
			again := s.run(ctx)
			again.Earlier = append(o.Earlier, o)
			again.Earlier[len(o.Earlier)].Earlier = nil
			o = again
		}
		if err := enc.Encode(o); err != nil {
			return 1, err
		}
	}
	return 0, nil
}

func (s step) run(ctx context.Context) (o outcome) {
	o.Name = s.Name
	file, err := os.CreateTemp("", "step-")
	if err != nil {
		o.Error = err.Error()
		return o
	}
	defer os.Remove(file.Name())
	defer file.Close()
	ctx, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	c := exec.CommandContext(ctx, s.Args[0], s.Args[1:]...)
	c.Dir, c.Env = s.Dir, append(os.Environ(), s.Env...)
	c.Stdout, c.Stderr = file, file
	// A test that hangs tells where: go test's runtime prints its goroutines.
	c.Cancel = func() error { return c.Process.Signal(unix.SIGQUIT) }
	c.WaitDelay = 10 * time.Second
	if s.Ready != "" {
		_ = os.Remove(s.Ready)
	}
	began := time.Now()
	if err = c.Start(); err == nil && s.Ready != "" {
		err = s.awaitReady(ctx, &o, began)
		_ = c.Process.Signal(unix.SIGINT)
	}
	if c.Process != nil {
		err = errors.Join(err, c.Wait())
	}
	if o.Took == 0 {
		o.Took = time.Since(began)
	}
	o.TimedOut = ctx.Err() != nil
	if c.ProcessState != nil {
		o.Status = c.ProcessState.ExitCode()
	}
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited || o.Status < 0 {
		o.Error = fmt.Sprint(err)
	}
	_, _ = file.Seek(0, io.SeekStart)
	text, err := io.ReadAll(file)
	if err != nil && o.Error == "" {
		o.Error = err.Error()
	}
	o.Output = string(text)
	o.Kept = map[string]string{}
	for _, name := range s.Keep {
		if b, err := os.ReadFile(name); err == nil {
			o.Kept[name] = string(b)
		}
	}
	return o
}

func (s step) awaitReady(ctx context.Context, o *outcome, began time.Time) error {
	for {
		if _, err := os.Stat(s.Ready); err == nil {
			o.Took = time.Since(began)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not appear", s.Ready)
		case <-time.After(time.Millisecond):
		}
	}
}
