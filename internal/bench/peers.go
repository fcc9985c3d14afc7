package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/lab"
)

const (
	peerRounds = 3
	peerRun    = 1200 * time.Millisecond
)

// peer is another way to watch resets. Its output is thrown away.
type peer struct {
	name string
	args []string
}

// peers are what people use today: the filter that every runbook has, and the
// tracepoints with the current process's name.
var peers = []peer{
	{"nothing", nil},
	{"tcpdump, RST filter", []string{"tcpdump", "-i", "any", "-n", "-l", "-w", "/dev/null", "tcp[tcpflags] & (tcp-rst) != 0"}},
	{"bpftrace, naive", []string{"bpftrace", "-e", `tracepoint:tcp:tcp_send_reset,tracepoint:tcp:tcp_receive_reset { printf("%d %s\\n", pid, comm); }`}},
	{"rstwhy", nil},
}

var peerLoads = []lab.LoadKind{lab.Churn, lab.PingPong, lab.Bulk, lab.Linger, lab.Refused}

// peers runs each load beside each of them in turn, several times, and holds
// the load's CPU against that of the run with nothing in the same round.
func (b *bench) peers() error {
	t := &table{}
	head := []string{"tracer"}
	for _, k := range peerLoads {
		head = append(head, string(k))
	}
	t.add(append(head, "RSS")...)
	ratios := make([][][]float64, len(peers))
	memory := make([]float64, len(peers))
	for i := range peers {
		ratios[i] = make([][]float64, len(peerLoads))
	}
	absent := map[string]bool{}
	for range peerRounds {
		for k, kind := range peerLoads {
			alone := 0.0
			for i := range peers {
				if absent[peers[i].name] {
					continue
				}
				cpu, rss, err := b.beside(&peers[i], kind)
				if err != nil {
					fmt.Fprintf(os.Stderr, "bench: %s: %v\n", peers[i].name, err)
					absent[peers[i].name] = true
					continue
				}
				if i == 0 {
					alone = cpu
				}
				memory[i] = max(memory[i], rss)
				ratios[i][k] = append(ratios[i][k], cpu/alone)
			}
		}
	}
	for i, p := range peers {
		row := []string{p.name}
		for k := range peerLoads {
			if len(ratios[i][k]) == 0 {
				row = append(row, "not run")
				continue
			}
			row = append(row, spread(ratios[i][k], "%.2f"))
		}
		t.add(append(row, fmt.Sprintf("%.0f MiB", memory[i]/(1<<20)))...)
	}
	t.print()
	return nil
}

// beside runs a load beside a tracer and gives the load's CPU an operation, ns,
// and the tracer's resident memory, bytes.
func (b *bench) beside(p *peer, kind lab.LoadKind) (cpu, rss float64, err error) {
	pid, stop, err := b.watch(p)
	if err != nil {
		return 0, 0, err
	}
	defer stop()
	r, err := lab.RunLoad(b.ctx, kind, peerRun)
	if err != nil {
		return 0, 0, err
	}
	if pid > 0 {
		if rss, err = field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS"); err != nil {
			return 0, 0, err
		}
	}
	return float64(r.CPUPerOp().Nanoseconds()), rss, nil
}

func (b *bench) watch(p *peer) (pid int, stop func(), err error) {
	switch {
	case p.name == "rstwhy":
		tr, err := startTracer(b.ctx, b.binary)
		if err != nil {
			return 0, nil, err
		}
		return tr.pid(), tr.kill, nil
	case p.args == nil:
		return 0, func() {}, nil
	}
	return startPeer(b.ctx, p)
}

// startPeer starts a foreign tracer in a mount namespace of its own with tracefs
// mounted, which bpftrace needs and this host may not have.
func startPeer(ctx context.Context, p *peer) (int, func(), error) {
	path, err := exec.LookPath(p.args[0])
	if err != nil {
		return 0, nil, fmt.Errorf("not installed: %w", err)
	}
	script := `mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null || mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null; exec "$@"`
	c := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", script, "sh", path}, p.args[1:]...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	var out strings.Builder
	c.Stderr = &out
	if err := c.Start(); err != nil {
		return 0, nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case err := <-ended:
		return 0, nil, fmt.Errorf("ended at once: %w: %s", err, strings.TrimSpace(out.String()))
	case <-time.After(2500 * time.Millisecond): // neither says when it is attached
	}
	return c.Process.Pid, func() {
		_ = c.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			_ = c.Process.Kill()
			<-ended
		}
	}, nil
}

// soak watches rstwhy's memory while connections and resets come and go.
func (b *bench) soak() error {
	t := &table{}
	t.add("after", "resident", "operations so far")
	tr, err := startTracer(b.ctx, b.binary)
	if err != nil {
		return err
	}
	defer tr.kill()
	began, ops, next := time.Now(), uint64(0), time.Duration(0)
	step := max(time.Duration(b.minutes)*time.Minute/6, 5*time.Second)
	for end := time.Duration(b.minutes) * time.Minute; ; {
		if past := time.Since(began); past >= next {
			rss, err := field(fmt.Sprintf("/proc/%d/status", tr.pid()), "VmRSS")
			if err != nil {
				return err
			}
			t.add(past.Round(time.Second).String(), fmt.Sprintf("%.1f MiB", rss/(1<<20)), fmt.Sprint(ops))
			if next += step; past >= end {
				break
			}
		}
		for _, kind := range []lab.LoadKind{lab.Churn, lab.Linger, lab.Refused} {
			r, err := lab.RunLoad(b.ctx, kind, time.Second)
			if err != nil {
				return err
			}
			ops += r.Ops
		}
	}
	t.print()
	return nil
}
