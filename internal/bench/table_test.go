package main

import (
	"os"
	"testing"
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
