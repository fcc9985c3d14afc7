//go:build guest

package guest

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rstwhy/internal/event"
)

// contained is a process in a cgroup as a container runtime has systemd make it.
type contained struct {
	slice, scope string // of systemd
	want         event.Process
}

const (
	containerID = "4f1c2d3e4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0"
	dockerID    = "9b8c7d6e5f4a39281706f5e4d3c2b1a00a1b2c3d4e5f60718293a4b5c6d7e8f9"
	podUID      = "1f2e3d4c-5b6a-4798-8899-aabbccddeeff"
)

var containers = []contained{
	{"kubepods-burstable-pod" + strings.ReplaceAll(podUID, "-", "_") + ".slice", "cri-containerd-" + containerID + ".scope",
		event.Process{ContainerID: containerID, ContainerRuntime: "containerd", PodUID: podUID}},
	{"system.slice", "docker-" + dockerID + ".scope",
		event.Process{ContainerID: dockerID, ContainerRuntime: "docker"}},
}

// TestService: the packaged unit, under its restrictions, traces the host, names
// containers, and ends in order.
func TestService(t *testing.T) {
	if state, _ := exec.Command("systemctl", "is-enabled", "rstwhy").Output(); strings.TrimSpace(string(state)) != "disabled" {
		t.Errorf("the package left its unit %s, want disabled", state)
	}
	// It returns when every hook is attached (Type=notify).
	run(t, "systemctl", "start", "rstwhy")
	t.Cleanup(func() { _ = exec.Command("systemctl", "stop", "rstwhy").Run() })
	for _, c := range containers {
		// The process stays a little, as one that is refused does: what it runs is
		// read while it lives.
		const refused = "exec 3<>/dev/tcp/127.0.0.1/9; sleep 5"
		run(t, "systemd-run", "--scope", "--quiet", "--slice="+c.slice, "--unit="+c.scope, "bash", "-c", refused)
		awaitContainer(t, c)
	}
	run(t, "systemctl", "stop", "rstwhy")
	checkEnd(t)
}

// journal gives the JSON lines of the service.
func journal(t *testing.T) (resets []event.Reset, last event.Summary) {
	t.Helper()
	for line := range strings.Lines(run(t, "journalctl", "--no-pager", "-o", "cat", "-u", "rstwhy")) {
		var r event.Reset
		if json.Unmarshal([]byte(line), &r) == nil && r.Type == "reset" {
			resets = append(resets, r)
			continue
		}
		var s event.Summary
		if json.Unmarshal([]byte(line), &s) == nil && s.Type == "summary" {
			last = s
		}
	}
	return resets, last
}

func awaitContainer(t *testing.T, c contained) {
	t.Helper()
	for range 300 {
		resets, _ := journal(t)
		for _, r := range resets {
			if r.Owner == nil || r.Owner.Unit != c.scope {
				continue
			}
			got := event.Process{ContainerID: r.Owner.ContainerID, ContainerRuntime: r.Owner.ContainerRuntime, PodUID: r.Owner.PodUID}
			if got != c.want || r.Cause != "connect-refused" {
				t.Errorf("%s: %s of the container %+v, want %+v", c.scope, r.Cause, got, c.want)
			}
			t.Logf("%s[%d] in %s: %s, container %s (%s), pod %q", r.Owner.Comm, r.Owner.PID, r.Owner.Cgroup, r.Cause, got.ContainerID, got.ContainerRuntime, got.PodUID)
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("the journal tells no reset of %s\n%s", c.scope, run(t, "journalctl", "--no-pager", "-n", "20", "-u", "rstwhy"))
}

// checkEnd: the service ended with its summary, and left a recording that can be
// read.
func checkEnd(t *testing.T) {
	t.Helper()
	if result := run(t, "systemctl", "show", "-P", "Result", "rstwhy"); strings.TrimSpace(result) != "success" {
		t.Errorf("the service ended with %s", result)
	}
	resets, sum := journal(t)
	if sum.Type != "summary" || !sum.Account.Balanced() || sum.Account.Lost != 0 || sum.Account.Delivered != uint64(len(resets)) {
		t.Errorf("the journal has %d resets, and the summary %+v", len(resets), sum.Account)
	}
	for _, w := range sum.Warnings { // the unit takes nothing away that the kernel's version needs
		if strings.HasPrefix(w, "without CAP_") || strings.HasPrefix(w, "hook refused ") {
			t.Errorf("the service lacks something: %s", w)
		}
	}
	recordings, err := filepath.Glob("/var/lib/rstwhy/*.rec")
	if err != nil || len(recordings) != 1 {
		t.Fatalf("recordings %q, %v, want one", recordings, err)
	}
	if text := run(t, "rstwhy", "trace", "--replay", recordings[0]); strings.Count(text, "(connect-refused)") != len(containers) {
		t.Errorf("the recording of the service tells:\n%s", text)
	}
}
