package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"rstwhy/internal/event"
)

// TestTraceFilters runs a tracer for each filter over the same four resets.
func TestTraceFilters(t *testing.T) {
	if testing.Short() {
		t.Skip("traces the kernel: left out by -short")
	}
	zkNeedRoot(t)
	bin, addr := cliBin(t), cliAddr()
	p4, p6 := closedPort(t, addr), closedPort(t, "::1")
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	s4, r4, s6, r6 := "sent 4", "received 4", "sent 6", "received 6"
	other := 1 // no ephemeral port, as one beside p4 is
	cases := []struct {
		args []string
		want []string
	}{
		{nil, []string{s4, r4, s6, r6}},
		{[]string{"--sent"}, []string{s4, s6}},
		{[]string{"--received"}, []string{r4, r6}},
		{[]string{"-4"}, []string{s4, r4}},
		{[]string{"-6"}, []string{s6, r6}},
		{[]string{"-P", fmt.Sprint(p4)}, []string{s4, r4}},
		{[]string{"-P", fmt.Sprint(p4), "-P", fmt.Sprint(p6)}, []string{s4, r4, s6, r6}},
		{[]string{"-P", fmt.Sprint(other)}, nil},
		{[]string{"-L", fmt.Sprint(p4)}, []string{s4}},
		{[]string{"-D", fmt.Sprint(p4)}, []string{r4}},
		{[]string{"-L", fmt.Sprint(p4), "--received"}, nil},
		{[]string{"--addr", addr}, []string{s4, r4}},
		{[]string{"--addr", addr + "/24"}, []string{s4, r4}},
		{[]string{"--addr", "::ffff:" + addr + "/128"}, []string{s4, r4}},
		{[]string{"--addr", "::1"}, []string{s6, r6}},
		{[]string{"--addr", "203.0.113.0/24"}, nil},
		{[]string{"-p", fmt.Sprint(os.Getpid())}, []string{r4, r6}},
		{[]string{"-p", "1"}, nil},
		{[]string{"--comm", strings.TrimSpace(string(comm))}, []string{r4, r6}},
		{[]string{"--zk", "--no-probe", "--zk-port", fmt.Sprint(p4)}, []string{r4}},
	}
	runs := make([]*cliRun, len(cases))
	for i, c := range cases {
		runs[i] = cliTrace(t, bin, append([]string{"-o", "json"}, c.args...)...)
	}
	refuse(t, addr, p4)
	refuse(t, "::1", p6)
	for i, c := range cases {
		runs[i].stop(t, []os.Signal{os.Interrupt, syscall.SIGTERM}[i%2])
		resets, _ := runs[i].lines(t)
		var got []string
		for _, r := range resets {
			got = append(got, ownReset(r, p4, p6)...)
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("trace %v printed %q, want %q", c.args, got, c.want)
		}
	}
}

// ownReset names a reset by direction and family where it is of one of the two
// ports.
func ownReset(r event.Reset, p4, p6 uint16) []string {
	port, state := r.Local.Port, r.State
	if r.Direction == event.Received {
		port = r.Peer.Port
	}
	switch {
	case port == p4 && r.Peer.Address.Is4():
		return []string{string(r.Direction) + " 4"}
	case port == p6 && r.Peer.Address.Is6():
		return []string{string(r.Direction) + " 6"}
	case port == p4 || port == p6:
		return []string{fmt.Sprintf("%s %s -> %s, state %v", r.Direction, r.Local, r.Peer, state)}
	}
	return nil
}

func TestTraceEnds(t *testing.T) {
	if testing.Short() {
		t.Skip("traces the kernel: left out by -short")
	}
	zkNeedRoot(t)
	bin, addr := cliBin(t), cliAddr()
	port := closedPort(t, addr)
	t.Run("count", func(t *testing.T) {
		r := cliTrace(t, bin, "-o", "json", "--addr", addr, "-c", "3")
		for range 5 {
			refuse(t, addr, port)
		}
		if status := r.wait(t); status != exitOK {
			t.Errorf("status %d\n%s", status, &r.stderr)
		}
		if resets, _ := r.lines(t); len(resets) != 3 {
			t.Errorf("-c 3 printed %d resets", len(resets))
		}
	})
	t.Run("duration", func(t *testing.T) {
		began := time.Now()
		r := cliTrace(t, bin, "-o", "json", "--addr", addr, "--duration", "1s")
		status := r.wait(t)
		if took := time.Since(began); status != exitOK || took < time.Second || took > 10*time.Second {
			t.Errorf("status %d after %v\n%s", status, took, &r.stderr)
		}
		if _, sum := r.lines(t); sum.DurationNS < 9e8 || sum.DurationNS > 3e9 {
			t.Errorf("the summary tells a duration of %d ns", sum.DurationNS)
		}
	})
	t.Run("text", func(t *testing.T) {
		r := cliTrace(t, bin, "--addr", addr)
		refuse(t, addr, port)
		r.stop(t, os.Interrupt)
		for _, want := range []string{"closed-port", "connect-refused", fmt.Sprintf("%s:%d", addr, port), fmt.Sprint(os.Getpid())} {
			if !strings.Contains(r.stdout.String(), want) {
				t.Errorf("%q is not in the text:\n%s", want, &r.stdout)
			}
		}
	})
}

// TestClosedStdout: the reader goes away (trace | head); the recording is
// complete all the same, and the reason is told once.
func TestClosedStdout(t *testing.T) {
	if testing.Short() {
		t.Skip("traces the kernel: left out by -short")
	}
	zkNeedRoot(t)
	bin, addr := cliBin(t), cliAddr()
	port, file := closedPort(t, addr), filepath.Join(t.TempDir(), "a.rec")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r := cliCommand(bin, "trace", "-o", "json", "--addr", addr, "--record", file)
	r.cmd.Stdout = write
	r.start(t)
	write.Close()
	read.Close()
	for range 3 {
		refuse(t, addr, port)
	}
	if status := r.wait(t); status != exitFailure || strings.Count(r.stderr.String(), "broken pipe") != 1 {
		t.Errorf("status %d, stderr:\n%s", status, &r.stderr)
	}
	again := cliCommand(bin, "trace", "-o", "json", "--replay", file)
	if status := again.run(t); status != exitOK {
		t.Fatalf("replay: status %d\n%s", status, &again.stderr)
	}
	if resets, _ := again.lines(t); len(resets) == 0 {
		t.Error("the recording holds no reset")
	}
}

// TestReplayPrintsTheSame compares what was printed live, byte for byte, with
// a replay by a user without privileges.
func TestReplayPrintsTheSame(t *testing.T) {
	if testing.Short() {
		t.Skip("traces the kernel: left out by -short")
	}
	zkNeedRoot(t)
	bin, addr := cliBin(t), cliAddr()
	port := closedPort(t, addr)
	files := map[string]string{}
	live := map[string]*cliRun{}
	for _, format := range []string{"json", "text"} {
		files[format] = filepath.Join(t.TempDir(), "a.rec")
		live[format] = cliTrace(t, bin, "-o", format, "--addr", addr, "--zk-port", fmt.Sprint(port), "--record", files[format])
	}
	for range 3 {
		refuse(t, addr, port)
		abort(t, addr)
	}
	for format, r := range live {
		r.stop(t, os.Interrupt)
		b, err := os.ReadFile(files[format])
		if err != nil {
			t.Fatal(err)
		}
		public := filepath.Join(filepath.Dir(bin), format+".rec")
		if err := os.WriteFile(public, b, 0o644); err != nil {
			t.Fatal(err)
		}
		again := cliCommand(bin, "trace", "-o", format, "--replay", public).asNobody()
		if status := again.run(t); status != exitOK || again.stderr.Len() > 0 {
			t.Errorf("replay as %s: status %d\n%s", format, status, &again.stderr)
		}
		if got, want := again.stdout.String(), r.stdout.String(); got != want || strings.Count(want, "\n") < 12 {
			t.Errorf("%s: live:\n%s\nreplay:\n%s", format, want, got)
		}
	}
}
