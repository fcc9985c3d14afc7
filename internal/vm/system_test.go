package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// written is what a guest writes whose steps ended so.
func written(t *testing.T, outcomes ...outcome) string {
	t.Helper()
	var b strings.Builder
	for _, o := range outcomes {
		if err := json.NewEncoder(&b).Encode(o); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestSystemTell(t *testing.T) {
	ok := func(name string) outcome { return outcome{Name: name, Output: "fine", Took: time.Second} }
	for _, tt := range []struct {
		name, output string
		want         string // part of the error; empty: none
	}{
		{"all well", written(t, ok("provision"), ok("tour")), ""},
		{"a step fails", written(t, ok("provision"), outcome{Name: "tour", Status: 1}), "tour: exit status 1"},
		{"a step is not started", written(t, ok("provision"), outcome{Name: "tour", Error: "no such file"}), "no such file"},
		{"the guest dies", written(t, ok("provision")), `before the step "tour"`},
		{"the guest complains", written(t, ok("provision")) + "vm: in the guest: no /init", "no /init"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log strings.Builder
			s := systemRun{only: "tour", log: func(format string, args ...any) { fmt.Fprintf(&log, format+"\n", args...) }}
			err := s.tell(strings.NewReader(tt.output))
			if got := fmt.Sprint(err); (err == nil) != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if !strings.Contains(log.String(), "===== provision: ok, 1 s") {
				t.Errorf("the log does not tell the first step:\n%s", &log)
			}
		})
	}
}

// TestSystemKernel: each release comes with its own kernel, and what is not known
// is named.
func TestSystemKernel(t *testing.T) {
	for _, r := range systems {
		if r.series == "6.1" && runtime.GOARCH != "amd64" {
			continue // the table of kernels has it for amd64 alone
		}
		c, err := (&systemRun{suite: r.suite}).kernel("")
		if err != nil || c.series != r.series {
			t.Errorf("%s: kernel %v, %v, want %s", r.suite, c, err, r.series)
		}
	}
	if _, err := (&systemRun{suite: "sarge"}).kernel(""); err == nil || !strings.Contains(err.Error(), "sarge") || !strings.Contains(err.Error(), "bookworm") {
		t.Errorf("an unknown release: %v", err)
	}
}
