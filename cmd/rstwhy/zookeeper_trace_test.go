package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
	"rstwhy/internal/lab"
)

// zkTrace is a running `rstwhy trace -o json` and what it has printed so far.
type zkTrace struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	read   chan struct{} // closed at the end of stdout

	mu      sync.Mutex
	resets  []event.Reset
	summary *event.Summary
	broken  error
}

// startZKTrace starts the tracer in the initial network namespace and returns
// when it is ready.
func startZKTrace(t *testing.T, bin string, ports ...uint16) *zkTrace {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready")
	// Only the sites' network: another test's flood must not cost us records.
	args := []string{"trace", "-o", "json", "--ready-file", ready, "--addr", "192.0.2.0/24"}
	for _, port := range ports {
		args = append(args, "--zk-port", strconv.Itoa(int(port)))
	}
	tr := &zkTrace{cmd: exec.Command(bin, args...), read: make(chan struct{})}
	tr.cmd.Stderr = &tr.stderr
	stdout, err := tr.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(tr.read)
		in := bufio.NewScanner(stdout)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			tr.take(in.Bytes())
		}
	}()
	t.Cleanup(func() { _ = tr.cmd.Process.Kill() }) // nothing where stop was called
	// Long, since an emulated machine starts servers and the tracer in minutes.
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(ready); err == nil {
			return tr
		}
		select {
		case <-tr.read:
			err := tr.cmd.Wait()
			t.Fatalf("rstwhy trace ended before it was ready: %v\n%s", err, &tr.stderr)
		default:
		}
		if time.Now().After(deadline) {
			_ = tr.cmd.Process.Kill()
			<-tr.read
			_ = tr.cmd.Wait()
			t.Fatalf("rstwhy trace was not ready within two minutes\n%s", &tr.stderr)
		}
	}
}

// take keeps one line of output.
func (tr *zkTrace) take(line []byte) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var kind struct{ Type string }
	err := json.Unmarshal(line, &kind)
	switch {
	case err != nil:
	case kind.Type == "reset":
		var r event.Reset
		if err = json.Unmarshal(line, &r); err == nil {
			tr.resets = append(tr.resets, r)
		}
	case kind.Type == "summary":
		err = json.Unmarshal(line, &tr.summary)
	}
	if err != nil && tr.broken == nil {
		tr.broken = fmt.Errorf("output line %q: %w", line, err)
	}
}

// of gives the records of one connection in one namespace and direction.
func (tr *zkTrace) of(ns *lab.LinkNS, dir event.Direction, local, peer netip.AddrPort) []event.Reset {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var out []event.Reset
	for _, r := range tr.resets {
		if r.NetNS == ns.Inode() && r.Direction == dir && r.Local.AddrPort() == local && r.Peer.AddrPort() == peer {
			out = append(out, r)
		}
	}
	return out
}

// in gives the records of one namespace.
func (tr *zkTrace) in(ns *lab.LinkNS) []event.Reset {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var out []event.Reset
	for _, r := range tr.resets {
		if r.NetNS == ns.Inode() {
			out = append(out, r)
		}
	}
	return out
}

// stop ends the tracer as Ctrl-C does and gives its summary.
func (tr *zkTrace) stop(t *testing.T) event.Summary {
	t.Helper()
	if err := tr.cmd.Process.Signal(unix.SIGINT); err != nil {
		t.Errorf("interrupt rstwhy: %v", err)
	}
	select {
	case <-tr.read:
	case <-time.After(2 * time.Minute):
		_ = tr.cmd.Process.Kill()
		t.Error("rstwhy trace did not end within two minutes of SIGINT")
	}
	if err := tr.cmd.Wait(); err != nil {
		t.Errorf("rstwhy trace after SIGINT: %v, want exit status 0", err)
	}
	if tr.broken != nil {
		t.Error(tr.broken)
	}
	if tr.summary == nil {
		t.Fatalf("rstwhy trace printed no summary\n%s", &tr.stderr)
	}
	return *tr.summary
}

// zkRule is the rule of a record's verdict, empty where there is none.
func zkRule(r event.Reset) string {
	if r.Verdict == nil {
		return ""
	}
	return r.Verdict.Rule
}

// zkServerOf is what a record says of the ZooKeeper server.
func zkServerOf(r event.Reset) event.Server {
	if r.ZooKeeper == nil || r.ZooKeeper.Server == nil {
		return event.Server{}
	}
	return *r.ZooKeeper.Server
}

// zkDescribe formats records for a failure.
func zkDescribe(records []event.Reset) string {
	var b strings.Builder
	for _, r := range records {
		line, err := json.Marshal(r)
		if err != nil {
			line = []byte(err.Error())
		}
		fmt.Fprintf(&b, "\t%s\n", line)
	}
	return b.String()
}
