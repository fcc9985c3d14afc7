package lab

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestLoads runs each load for a moment. The kernel's own count of sent RST in
// the load's namespace says whether it makes the resets that it is named for.
func TestLoads(t *testing.T) {
	needRoot(t)
	for _, tt := range []struct {
		kind   LoadKind
		resets uint64 // an operation
	}{{Churn, 0}, {Tight, 0}, {PingPong, 0}, {Bulk, 0}, {Refused, 1}, {Spread, 1}, {Linger, 1}} {
		t.Run(string(tt.kind), func(t *testing.T) {
			r, err := RunLoad(t.Context(), tt.kind, 50*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			if r.Ops == 0 || r.CPU <= 0 || r.Wall < 50*time.Millisecond {
				t.Errorf("did nothing, or did not measure it: %+v", r)
			}
			if tt.resets == 0 && r.Resets != 0 || r.Resets < tt.resets*r.Ops {
				t.Errorf("%d operations made %d RST, want %d each", r.Ops, r.Resets, tt.resets)
			}
		})
	}
}

func TestHoldConnections(t *testing.T) {
	needRoot(t)
	const n = 20
	h, err := HoldConnections(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	count := func(name string) uint64 {
		t.Helper()
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/snmp", h.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		v, err := counter(string(b), "Tcp:", name)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if got := count("CurrEstab"); got != 2*n {
		t.Errorf("%d sockets are established, want %d", got, 2*n)
	}
	if err := h.ResetOne(); err != nil {
		t.Fatal(err)
	}
	if got := count("OutRsts"); got != 1 {
		t.Errorf("%d RST were sent, want 1", got)
	}
	if got := count("CurrEstab"); got != 2*n-2 {
		t.Errorf("%d sockets are established after the reset, want %d", got, 2*n-2)
	}
}

func TestLoadUnknown(t *testing.T) {
	needRoot(t)
	if r, err := RunLoad(t.Context(), "no-such-load", time.Millisecond); err == nil {
		t.Errorf("an unknown load gave %+v", r)
	}
}

// TestDroppedLoads: the rule's own counter is not asked, the kernel's count of
// arrived datagrams and segments is: what is dropped reaches neither.
func TestDroppedLoads(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("nft is not installed")
	}
	for _, kind := range []LoadKind{Dropped, DropTCP} {
		t.Run(string(kind), func(t *testing.T) {
			l, err := PrepareLoad(t.Context(), kind, 50*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			delivered := func() (ip, tcp uint64) {
				t.Helper()
				b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/snmp", l.PID()))
				if err != nil {
					t.Fatal(err)
				}
				if tcp, err = counter(string(b), "Tcp:", "InSegs"); err != nil {
					t.Fatal(err)
				}
				if ip, err = counter(string(b), "Ip:", "InReceives"); err != nil {
					t.Fatal(err)
				}
				return ip, tcp
			}
			if ip, _ := delivered(); ip != 0 {
				t.Errorf("%d packets before the start", ip)
			}
			results := make(chan LoadResult, 1)
			go func() {
				r, err := l.Run()
				if err != nil {
					t.Error(err)
				}
				results <- r
			}()
			for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
				if ip, tcp := delivered(); ip > 64 {
					if tcp != 0 {
						t.Errorf("%d segments passed the rule", tcp)
					}
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("no packet was received")
				}
			}
			if r := <-results; r.Ops == 0 || r.Resets != 0 {
				t.Errorf("made %+v, want operations and no RST", r)
			}
		})
	}
}
