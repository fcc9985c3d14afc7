package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
)

// TestFaults does to a running tracer what a bad day does, each as its user
// would meet it. One binary serves all.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("traces the kernel: left out by -short")
	}
	needRoot(t)
	bin := cliBin(t)
	for _, f := range []struct {
		name string
		run  func(*testing.T, string)
	}{
		{"ring buffer full", faultRing}, {"processes gone", faultGone}, {"hostile names", faultNames},
		{"pid reused", faultPIDReuse}, {"disk full", faultDisk}, {"file size limit", faultFileLimit},
		{"rotation", faultRotation}, {"summaries meanwhile", faultSummaries}, {"output closed", faultClosed},
		{"ready file", faultReadyFile}, {"second tracer", faultSecond}, {"port scan", faultScan},
		{"storm of data after shutdown", faultFalseReceives}, {"storm at a prefork server", faultPrefork}, {"tombstones evicted", faultTombstones},
	} {
		t.Run(f.name, func(t *testing.T) {
			began := time.Now()
			f.run(t, bin)
			t.Logf("took %v", time.Since(began).Round(time.Millisecond))
		})
	}
}

// signal sends one to the tracer.
func (r *cliRun) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// freeze stops the tracer and waits until it stands still.
func (r *cliRun) freeze(t *testing.T) {
	t.Helper()
	r.signal(t, syscall.SIGSTOP)
	eventually(t, "the tracer stops", func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.cmd.Process.Pid))
		return err == nil && bytes.Contains(b, []byte(") T "))
	})
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for until := time.Now().Add(15 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not within 15 s: %s", what)
		}
	}
}

// finish stops the tracer with a signal and gives status, resets, storms and
// summary, whatever else it printed.
func (r *cliRun) finish(t *testing.T) (status int, resets []event.Reset, sums []event.Summary) {
	t.Helper()
	r.signal(t, os.Interrupt)
	status = r.wait(t)
	resets, sums = printed(t, r.stdout.Bytes())
	return status, resets, sums
}

func printed(t *testing.T, out []byte) (resets []event.Reset, sums []event.Summary) {
	t.Helper()
	for line := range bytes.Lines(out) {
		var kind struct{ Type string }
		var err error
		if err = json.Unmarshal(line, &kind); err == nil {
			switch kind.Type {
			case "reset":
				resets = append(resets, event.Reset{})
				err = json.Unmarshal(line, &resets[len(resets)-1])
			case "summary":
				sums = append(sums, event.Summary{})
				err = json.Unmarshal(line, &sums[len(sums)-1])
			case "storm": // stormsOf
			default:
				err = errors.New("neither reset nor summary nor storm")
			}
		}
		if err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
	}
	return resets, sums
}

// exact fails unless there is one summary of the session whose account holds.
func exact(t *testing.T, resets []event.Reset, sums []event.Summary) event.Account {
	t.Helper()
	if len(sums) != 1 {
		t.Fatalf("%d summaries, want one", len(sums))
	}
	a := sums[0].Account
	if !a.Balanced() || a.Delivered != uint64(len(resets)) || a.LostDecode != 0 {
		t.Errorf("%d resets, account %+v", len(resets), a)
	}
	return a
}

// ofPeer are the resets received from one address.
func ofPeer(resets []event.Reset, addr string) (out []event.Reset) {
	for _, r := range resets {
		if r.Direction == event.Received && r.Peer.Address.String() == addr {
			out = append(out, r)
		}
	}
	return out
}

// sweep connects to that many closed ports, each another one.
func sweep(t *testing.T, addr string, from, n uint16) {
	t.Helper()
	for i := range n {
		refuse(t, addr, from+i)
		time.Sleep(200 * time.Microsecond)
	}
}

// harmlessText fails for every byte that could steer a terminal.
func harmlessText(t *testing.T, what string, out []byte) {
	t.Helper()
	if !utf8.Valid(out) {
		t.Errorf("%s is not UTF-8", what)
	}
	for i, r := range string(out) {
		if r != '\n' && (unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)) {
			t.Fatalf("%s holds %U at byte %d: %q", what, r, i, out[max(0, i-80):min(len(out), i+40)])
		}
	}
}

// actorVariable makes this test binary a process that connects to the address
// in it, and ends; with "|" behind the address it stays for a while.
const actorVariable = "RSTWHY_FAULT_ACTOR"

func init() {
	addr, ok := os.LookupEnv(actorVariable)
	if !ok {
		return
	}
	runtime.LockOSThread() // the main thread, whose name is the process's
	name := append([]byte(os.Getenv(actorVariable+"_NAME")), 0)
	if len(name) > 1 {
		_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0)
	}
	addr, stays := strings.CutSuffix(addr, "|")
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
	}
	if stays {
		time.Sleep(20 * time.Second)
	}
	os.Exit(0)
}

// actor is the command of such a process.
func actor(exe, addr, name string, args ...string) *exec.Cmd {
	c := exec.Command(exe, args...)
	c.Env = []string{actorVariable + "=" + addr, actorVariable + "_NAME=" + name}
	return c
}

func pidsOf(resets []event.Reset) map[uint32]int {
	out := map[uint32]int{}
	for _, r := range resets {
		if r.Owner != nil {
			out[r.Owner.PID]++
		}
	}
	return out
}
