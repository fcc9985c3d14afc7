package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rstwhy/internal/event"
	"rstwhy/internal/lab"
)

// hostState is what a proof must leave as it found it.
type hostState struct{ Modules, Links []string }

func readHostState(t *testing.T) (s hostState) {
	t.Helper()
	if text, err := os.ReadFile("/proc/modules"); err == nil { // absent where the kernel has none
		for line := range strings.Lines(string(text)) {
			s.Modules = append(s.Modules, strings.Fields(line)[0])
		}
	}
	slices.Sort(s.Modules)
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		s.Links = append(s.Links, l.Name+" "+l.Flags.String())
	}
	return s
}

// running lists the processes that run this program.
func running(t *testing.T, program string) (pids []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		if exe, err := os.Readlink(path); err == nil && exe == program {
			pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

func awaitNone(t *testing.T, program string) {
	t.Helper()
	var left []int
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if left = running(t, program); len(left) == 0 {
			return
		}
	}
	t.Errorf("processes left behind: %v", left)
}

// TestProve: on the machine of the test, everything that can be proved is so.
func TestProve(t *testing.T) {
	needRoot(t)
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	binary := buildTracer(t)
	before := readHostState(t)
	var stdout, stderr bytes.Buffer
	c := exec.Command(binary, "check", "--prove", "-o", "json")
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	var rep proveReport
	if e := json.Unmarshal(stdout.Bytes(), &rep); e != nil {
		t.Fatalf("%v, %v: %s%s", err, e, stdout.String(), stderr.String())
	}
	if (err == nil) != rep.OK {
		t.Errorf("exit %v, ok %t", err, rep.OK)
	}
	passed := 0
	for _, r := range rep.Rows {
		switch {
		case r.Result == proveFail, r.Result == proveLate:
			t.Errorf("%s %s: expected %d, seen %d, right %d: %s", r.Direction, r.Cause, r.Expected, r.Seen, r.Right, strings.Join(r.Why, "\n  "))
		case r.Result == provePass && (r.Expected == 0 || r.Right != r.Expected && len(r.Why) == 0 && !rep.Storm):
			t.Errorf("passed without proof: %+v", r)
		case r.Result == provePass:
			passed++
		case len(r.Why) == 0:
			t.Errorf("not provable, and no reason: %+v", r)
		}
	}
	if passed < 20 {
		t.Errorf("only %d causes proved", passed)
	}
	if took := time.Duration(rep.DurationMS) * time.Millisecond; took > 20*time.Second {
		t.Errorf("took %v", took)
	}
	if d := cmp.Diff(before, readHostState(t)); d != "" {
		t.Errorf("the host has changed (-before +after):\n%s", d)
	}
	awaitNone(t, binary)
}

// TestProveKilled: a proof that is killed takes all with it.
func TestProveKilled(t *testing.T) {
	needRoot(t)
	binary := buildTracer(t)
	before := readHostState(t)
	c := exec.Command(binary, "check", "--prove")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	started := 0
	for until := time.Now().Add(20 * time.Second); started < 12 && time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		started = len(running(t, binary))
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	if started < 12 {
		t.Fatalf("only %d processes were seen", started)
	}
	awaitNone(t, binary)
	if d := cmp.Diff(before, readHostState(t)); d != "" {
		t.Errorf("the host has changed (-before +after):\n%s", d)
	}
}

// TestProveTooSlow: what a host is too slow for is not finished, whether it was
// cut off or never begun, and no falsehood of rstwhy's. The time is cut to what
// no host can do the slowest scenarios in.
func TestProveTooSlow(t *testing.T) {
	needRoot(t)
	if testing.Short() {
		t.Skip("takes seven seconds")
	}
	for _, limit := range []time.Duration{time.Nanosecond, 1500 * time.Millisecond} {
		p := newProof(limit)
		if err := p.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		rep := p.report()
		if got := exitStatus(rep.err()); got != exitUnfinished || rep.OK {
			t.Errorf("in %v: status %d, ok %t", limit, got, rep.OK)
		}
		if why := p.late["keepalive-timeout"]; !strings.HasPrefix(why, "cut off after ") && !strings.HasPrefix(why, "not begun: ") {
			t.Errorf("in %v: keepalive-timeout, which takes longer: %q", limit, why)
		}
		if limit == time.Nanosecond && len(p.truths) > 0 {
			t.Errorf("in no time at all: %d resets were made", len(p.truths))
		}
		for _, r := range rep.Rows {
			if r.Result == proveFail {
				t.Errorf("in %v: %s %s failed: %q", limit, r.Direction, r.Cause, r.Why)
			}
			if r.Result != provePass && len(r.Why) == 0 {
				t.Errorf("in %v, no reason: %+v", limit, r)
			}
		}
	}
}

// TestProofs: each is a scenario, and none runs on the host's own loopback.
func TestProofs(t *testing.T) {
	for _, f := range proofs {
		s, ok := lab.ScenarioByID(f.id)
		if !ok {
			t.Errorf("no scenario %q", f.id)
			continue
		}
		place := proofPlace(f.place)
		own := place == lab.Own || place == lab.Veth || place == lab.Veth6
		if !slices.Contains(s.Where(), place) || !own && !s.Private() {
			t.Errorf("%s on %s is not in a namespace of the lab's", f.id, place)
		}
	}
}

// TestProveReport: what fails fails the proof, and says so in both formats.
func TestProveReport(t *testing.T) {
	l := &lab.Lab{}
	truth := lab.Truth{Scenario: "s", Cause: "linger-zero", Direction: event.Sent, Socket: event.SocketFull}
	wrong := event.Reset{Direction: event.Sent, Cause: "closed-port", Socket: event.SocketFull}
	slow := map[string]string{"x/y": "cut off after 2.0 s"}
	for _, tt := range []struct {
		name   string
		p      *proof
		status int
		want   string
	}{
		{"missing", &proof{lab: l, truths: []lab.Truth{truth}}, exitFailure, "s: missing record"},
		{"a scenario that broke", &proof{lab: l, failed: map[string]string{"x/y": "no\x1b[31m"}}, exitFailure, `no\x1b[31m`},
		{"nothing possible", &proof{lab: l, left: map[string]string{"x/y": "no TUN"}}, exitOK, "x/y: no TUN"},
		{"flood", &proof{lab: l, over: 3}, exitFailure, "3 resets"},
		{"too slow", &proof{lab: l, late: slow}, exitUnfinished, "cut off after 2.0 s"},
		{"too slow, and missing", &proof{lab: l, late: slow, truths: []lab.Truth{truth}}, exitUnfinished, "0 failed"},
		{"too slow, and wrong", &proof{lab: l, late: slow, truths: []lab.Truth{truth}, resets: []event.Reset{wrong}}, exitFailure, "cause closed-port, not linger-zero"},
		{"too slow, and broke", &proof{lab: l, late: slow, failed: map[string]string{"x/z": "no"}}, exitFailure, "1 failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rep := tt.p.report()
			var text, lines bytes.Buffer
			if err := errors.Join(rep.print(&text, "text"), rep.print(&lines, "json")); err != nil {
				t.Fatal(err)
			}
			if got := exitStatus(rep.err()); got != tt.status || rep.OK != (got == exitOK) || !strings.Contains(text.String(), tt.want) {
				t.Errorf("status %d, ok %t, want %d with %q:\n%s", got, rep.OK, tt.status, tt.want, text.String())
			}
			if blames := strings.Contains(text.String(), "please report it with this table") && strings.Contains(text.String(), "rstwhy was wrong"); blames != (tt.status == exitFailure) {
				t.Errorf("blames rstwhy: %t\n%s", blames, text.String())
			}
			var back proveReport
			if err := json.Unmarshal(lines.Bytes(), &back); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(rep, &back); d != "" {
				t.Errorf("JSON (-written +read):\n%s", d)
			}
		})
	}
}
