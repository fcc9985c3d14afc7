package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// peerOutput is what a foreign tracer wrote.
type peerOutput struct {
	lines  uint64 // on stdout, that begin with a digit
	stderr bytes.Buffer
}

// captured reads tcpdump's last words: "N packets captured".
func captured(o *peerOutput) (uint64, error) {
	for line := range strings.Lines(o.stderr.String()) {
		if n, ok := strings.CutSuffix(strings.TrimSpace(line), " packets captured"); ok {
			return strconv.ParseUint(n, 10, 64)
		}
		if strings.TrimSpace(line) == "1 packet captured" {
			return 1, nil
		}
	}
	return 0, fmt.Errorf("no count of packets: %s", o.stderr.String())
}

// printed counts bpftrace's lines.
func printed(o *peerOutput) (uint64, error) { return o.lines, nil }

// startPeer starts a foreign tracer in a mount namespace of its own with tracefs
// mounted, which bpftrace needs and this host may not have. Each command of the
// chain replaces the one before it, so that the process stays the same.
func startPeer(ctx context.Context, p *peer, load int) (*watcher, error) {
	path, err := exec.LookPath(p.args[0])
	if err != nil {
		return nil, fmt.Errorf("not installed: %w", err)
	}
	script := `mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null || mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null; exec "$@"`
	args := []string{"-c", script, "sh"}
	if p.inside {
		args = append(args, "nsenter", "--net=/proc/"+strconv.Itoa(load)+"/ns/net")
	}
	c := exec.CommandContext(ctx, "/bin/sh", append(append(args, path), p.args[1:]...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	o := &peerOutput{}
	c.Stderr = &o.stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() {
		for in := bufio.NewScanner(out); in.Scan(); {
			if b := in.Bytes(); len(b) > 0 && b[0] >= '0' && b[0] <= '9' {
				o.lines++
			}
		}
		ended <- c.Wait()
	}()
	select {
	case err := <-ended:
		return nil, fmt.Errorf("ended at once: %w: %s", err, strings.TrimSpace(o.stderr.String()))
	case <-time.After(p.settle):
	}
	return &watcher{c.Process.Pid, func() (uint64, error) {
		_ = c.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = c.Process.Kill()
			<-ended
			return 0, fmt.Errorf("did not end within 20 seconds")
		}
		return p.seen(o)
	}}, nil
}
