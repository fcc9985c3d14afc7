//go:build guest

package guest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// run runs a command that must succeed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func contentOf(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// TestSystem: this is a real system, all of which is up: the other tests would
// mean less elsewhere.
func TestSystem(t *testing.T) {
	t.Logf("%s%s\n%s", run(t, "uname", "-srvm"), contentOf(t, "/etc/os-release"), run(t, "java", "-version"))
	if init := contentOf(t, "/proc/1/comm"); init != "systemd" {
		t.Errorf("process 1 is %s", init)
	}
	// It waits until the start is over; its status is that of "degraded" too.
	state, _ := exec.CommandContext(t.Context(), "systemctl", "is-system-running", "--wait").Output()
	if strings.TrimSpace(string(state)) != "running" {
		t.Errorf("the system is %s\n%s", state, run(t, "systemctl", "--failed", "--no-legend"))
	}
}

// TestSystemZooKeeper: the distribution's ZooKeeper runs as its unit, and says
// which version it is.
func TestSystemZooKeeper(t *testing.T) {
	if state := strings.TrimSpace(run(t, "systemctl", "is-active", "zookeeper")); state != "active" {
		t.Errorf("the unit zookeeper is %s", state)
	}
	group := run(t, "systemctl", "show", "-P", "ControlGroup", "zookeeper")
	pids := strings.Fields(contentOf(t, "/sys/fs/cgroup"+strings.TrimSpace(group)+"/cgroup.procs"))
	if len(pids) != 1 || contentOf(t, "/proc/"+pids[0]+"/comm") != "java" {
		t.Errorf("the unit zookeeper (%s) has the processes %q, want one java", group, pids)
	}
	packaged := run(t, "dpkg-query", "-W", "-f", "${source:Upstream-Version}", "zookeeper")
	if told := run(t, "rstwhy", "zk", "127.0.0.1:10245"); !strings.Contains(told, packaged) {
		t.Errorf("the package is ZooKeeper %s, and the server tells:\n%s", packaged, told)
	}
}
