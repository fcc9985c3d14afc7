package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// LoadKind is what a load process does over and over.
type LoadKind string

// The loads. Each runs in one process on the loopback of a network namespace of
// its own: no other process of the host meets it, its ports are always free, and
// what it leaves in TIME_WAIT goes with it. One thread holds both ends, so that
// little but the kernel's work is measured; only Churn's server is a thread of
// its own, as clients and servers are.
const (
	Churn    LoadKind = "churn"    // connect, 64 bytes each way, close: no reset
	Tight    LoadKind = "tight"    // the same, by one thread, as fast as it can
	PingPong LoadKind = "pingpong" // 64 bytes each way on one connection
	Bulk     LoadKind = "bulk"     // 1 MiB on one connection
	Refused  LoadKind = "refused"  // connect to a closed port: a reset sent, and received
	Linger   LoadKind = "linger"   // connect, close with SO_LINGER 0: a reset sent, and received
	Spread   LoadKind = "spread"   // Refused, over 1,000 addresses instead of 250
	Scan     LoadKind = "scan"     // connect to 6,000 closed ports of one address, one after the other
	Shut     LoadKind = "shut"     // connect, shut the server's end down both ways, send to it: a reset sent, and received by the client only
	Prefork  LoadKind = "prefork"  // Linger to connections that a forked worker accepted: the listener's process never holds them
	Dropped  LoadKind = "dropped"  // UDP packets that an nft rule drops, some 30,000 a second
	DropTCP  LoadKind = "drop-tcp" // TCP segments without RST that it drops, as many
	Hold     LoadKind = "hold"     // open connections, then wait
)

// The ports of the loads that make resets, so that a filter can single them out.
const (
	LoadPort   = 20001 // where Linger and Hold listen
	ClosedPort = 20002 // where nobody listens
)

// LoadResult is what a load did.
type LoadResult struct {
	Ops    uint64        `json:"ops"`
	Resets uint64        `json:"resets"` // RST sent, by the kernel's own count in that namespace (OutRsts)
	Wall   time.Duration `json:"wall_ns"`
	// CPU of the process. It includes the softirqs that ran on top of it, unless
	// the kernel has CONFIG_IRQ_TIME_ACCOUNTING.
	CPU time.Duration `json:"cpu_ns"`
}

// CPUPerOp is the mean.
func (r LoadResult) CPUPerOp() time.Duration {
	return r.CPU / time.Duration(max(r.Ops, 1))
}

// Load is a running load process.
type Load struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// RunLoad runs one load for a time and gives what it did.
func RunLoad(ctx context.Context, kind LoadKind, d time.Duration) (LoadResult, error) {
	l, err := PrepareLoad(ctx, kind, d)
	if err != nil {
		return LoadResult{}, err
	}
	defer l.Close()
	return l.Run()
}

// PrepareLoad makes a load's process and network namespace; Run sets it off.
func PrepareLoad(ctx context.Context, kind LoadKind, d time.Duration) (*Load, error) {
	l, err := startLoad(ctx, kind, strconv.FormatInt(int64(d), 10))
	if err != nil {
		return nil, err
	}
	if _, err := l.out.ReadBytes('\n'); err != nil {
		l.Close()
		return nil, fmt.Errorf("lab: load %s ended before it was ready: %w", kind, err)
	}
	return l, nil
}

// Run sets a prepared load off and gives what it did.
func (l *Load) Run() (r LoadResult, err error) {
	if _, err := io.WriteString(l.in, "go\n"); err != nil {
		return r, fmt.Errorf("lab: set load off: %w", err)
	}
	line, err := l.out.ReadBytes('\n')
	if err != nil {
		return r, fmt.Errorf("lab: load ended without a result: %w", err)
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("lab: result of load: %w", err)
	}
	return r, nil
}

// PID is that of the load's process, whose network namespace is the load's.
func (l *Load) PID() int { return l.cmd.Process.Pid }

// HoldConnections opens that many connections, two sockets each, and returns
// when they are open.
func HoldConnections(ctx context.Context, n int) (*Load, error) {
	l, err := startLoad(ctx, Hold, strconv.Itoa(n))
	if err != nil {
		return nil, err
	}
	if _, err := l.out.ReadBytes('\n'); err != nil {
		l.Close()
		return nil, fmt.Errorf("lab: hold %d connections: ended too early: %w", n, err)
	}
	return l, nil
}

// ResetOne ends one of the held connections with a reset, then closes its other
// end.
func (l *Load) ResetOne() error {
	if _, err := io.WriteString(l.in, "reset\n"); err != nil {
		return fmt.Errorf("lab: ask for a reset: %w", err)
	}
	if _, err := l.out.ReadBytes('\n'); err != nil {
		return fmt.Errorf("lab: ask for a reset: %w", err)
	}
	return nil
}

// Close ends the process and its connections.
func (l *Load) Close() {
	l.in.Close()
	timer := time.AfterFunc(5*time.Second, func() { _ = l.cmd.Process.Kill() })
	_ = l.cmd.Wait()
	timer.Stop()
}

func startLoad(ctx context.Context, kind LoadKind, arg string) (*Load, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("lab: a load needs root (a network namespace of its own); run it with sudo")
	}
	l := &Load{cmd: exec.CommandContext(ctx, "/proc/self/exe")}
	l.cmd.Args = []string{"lab-load"}
	l.cmd.Env = append(os.Environ(), roleVariable+"=load "+string(kind)+" "+arg, "GOMAXPROCS=2", "GOGC=off")
	l.cmd.Stderr = os.Stderr
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	var err error
	if l.in, err = l.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("lab: start load %s: %w", kind, err)
	}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("lab: start load %s: %w", kind, err)
	}
	l.out = bufio.NewReader(out)
	if err := l.cmd.Start(); err != nil {
		return nil, fmt.Errorf("lab: start load %s: %w", kind, err)
	}
	return l, nil
}
