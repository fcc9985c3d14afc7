package probe

import (
	"net"
	"os"
	"testing"
)

func TestRunsOfFloor(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" || os.Getenv("RSTWHY_ROOT") == "1" {
			t.Fatal("loading BPF programs needs root")
		}
		t.Skip("loading BPF programs needs root (set RSTWHY_ROOT=1 to make this a failure)")
	}
	floor, err := AttachFloor()
	if err != nil {
		t.Fatal(err)
	}
	defer floor.Close()
	timer, err := TimePrograms()
	if err != nil {
		t.Fatal(err)
	}
	defer timer.Close()
	before := floorRuns(t)
	l, err := net.Listen("tcp", "127.0.0.1:0") // CLOSE to LISTEN: one state change at least
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	after := floorRuns(t)
	if d := after.Sub(before); d.Count < 2 || d.Time <= 0 || d.Mean() <= 0 {
		t.Errorf("listen and close made %+v, mean %.0f ns, want two runs and their time", d, d.Mean())
	}
}

func floorRuns(t *testing.T) Runs {
	t.Helper()
	runs, err := RunsOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	r, ok := runs[floorProgram]
	if !ok {
		t.Fatalf("%s is not among the programs of this process: %v", floorProgram, runs)
	}
	return r
}

func TestFullName(t *testing.T) {
	for _, h := range Hooks {
		for _, c := range h.Candidates {
			if got := fullName(c.Program[:min(15, len(c.Program))]); got != c.Program {
				t.Errorf("%s, cut by the kernel, is taken for %s", c.Program, got)
			}
		}
	}
	if got := fullName("foreign"); got != "foreign" {
		t.Errorf("a foreign program is called %s", got)
	}
}
