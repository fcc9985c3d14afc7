package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		v    []float64
		want string
	}{
		{[]float64{2}, "2.0 (2.0 to 2.0)"},
		{[]float64{9, 1, 4}, "4.0 (1.0 to 9.0)"},
		{[]float64{4, 1, 2, 9}, "3.0 (1.0 to 9.0)"},
	} {
		if got := spread(tt.v, "%.1f"); got != tt.want {
			t.Errorf("spread(%v) = %s, want %s", tt.v, got, tt.want)
		}
	}
}

func TestCPUOf(t *testing.T) {
	before, err := cpuOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		if n%1000 == 0 {
			now, err := cpuOf(os.Getpid())
			if err != nil {
				t.Fatal(err)
			}
			if now > before {
				return // the test's own time-out ends it otherwise
			}
		}
	}
}

func TestField(t *testing.T) {
	rss, err := field("/proc/self/status", "VmRSS")
	if err != nil {
		t.Fatal(err)
	}
	peak, err := field("/proc/self/status", "VmHWM")
	if err != nil {
		t.Fatal(err)
	}
	if rss < 1<<20 || peak < rss/2 {
		t.Errorf("resident %.0f bytes, peak %.0f", rss, peak)
	}
	if _, err := field("/proc/self/status", "NoSuchField"); err == nil {
		t.Error("a field that is not there gave no error")
	}
}

func TestMetric(t *testing.T) {
	out := "goos: linux\nBenchmarkStormSecond-2   \t      30\t  44948571 ns/op\t         4.000 core-%\t 7940602 B/op\nPASS\n"
	if got, err := metric(out, "core-%"); err != nil || got != 4 {
		t.Errorf("metric = %v, %v, want 4", got, err)
	}
	if _, err := metric("PASS\n", "core-%"); err == nil {
		t.Error("a figure that is not there gave no error")
	}
}

// TestPeersCount reads what tcpdump and the naive tracer leave behind.
func TestPeersCount(t *testing.T) {
	o := &peerOutput{}
	o.stderr.WriteString("tcpdump: listening on any, link-type LINUX_SLL2\n104672 packets captured\n209344 packets received by filter\n0 packets dropped by kernel\n")
	if n, err := captured(o); err != nil || n != 104672 {
		t.Errorf("captured = %d, %v", n, err)
	}
	if _, err := captured(&peerOutput{}); err == nil {
		t.Error("no last words gave no error")
	}
	// A tracer that ends at once is none.
	if w, err := startPeer(t.Context(), &peer{args: []string{"false"}, settle: 10 * time.Second, seen: printed}, os.Getpid()); err == nil {
		_, _ = w.stop()
		t.Error("a tracer that ended at once was taken for one at work")
	}
	if _, err := startPeer(t.Context(), &peer{args: []string{"no-such-tracer"}}, os.Getpid()); err == nil || !strings.Contains(err.Error(), "not installed") {
		t.Errorf("an absent tracer gave %v", err)
	}
}
