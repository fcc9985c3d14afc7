package owner

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rstwhy/internal/event"
)

// The event carries the cgroup in which the owner was: so a process that is
// gone, and whose container is gone, still has their names.
func TestCompleteContainer(t *testing.T) {
	tree, dir, _ := liveTree(t)
	scope := filepath.Join(dir, "docker-"+idA+".scope")
	if err := os.Mkdir(scope, 0o755); err != nil {
		t.Skip("cannot make a cgroup: ", err)
	}
	t.Cleanup(func() { os.Remove(scope) })
	id, err := inode(scope)
	if err != nil {
		t.Fatal(err)
	}
	root := hostFiles(t, map[string]string{dockerContainers + "/" + idA + "/config.v2.json": `{"Name":"/web"}`})
	r, err := New(Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	cmd := startShell(t, "-c", ready)
	p := processOf(t, cmd)
	if err := os.WriteFile(filepath.Join(scope, "cgroup.procs"), fmt.Append(nil, cmd.Process.Pid), 0o600); err != nil {
		t.Skip("cannot move a process: ", err)
	}
	for range 200 { // on a busy machine the files may take longer than they are waited for
		r.Remember(p.PID, p.StartBoot)
		if s, _ := r.Lookup(p.PID, p.StartBoot); s.ContainerName != "" {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if err := os.Remove(scope); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(root, dockerContainers)); err != nil {
		t.Fatal(err)
	}
	want := event.Process{
		PID: p.PID, StartBoot: p.StartBoot, Comm: "sh", CgroupID: id, Cgroup: "/" + filepath.Base(dir) + "/docker-" + idA + ".scope",
		ContainerID: idA, ContainerRuntime: "docker", ContainerName: "web", Unit: "docker-" + idA + ".scope",
	}
	got := event.Process{PID: p.PID, StartBoot: p.StartBoot, Comm: "sh", CgroupID: id}
	r.Complete(&got)
	got.Exe, got.Cmdline = "", ""
	if got != want {
		t.Errorf("gone:\n got %+v\nwant %+v", got, want)
	}
	// Another process of that container, of which only the kernel's word is left.
	late := event.Process{PID: 1 << 30, StartBoot: 7, CgroupID: id}
	r.Complete(&late)
	if late.ContainerName != "web" || late.ContainerID != idA {
		t.Errorf("never seen alive: %+v", late)
	}
	s, ok := r.Lookup(p.PID, p.StartBoot)
	if !ok {
		t.Fatal("nothing to record")
	}
	replay := NewReplay()
	s.Pod, s.Unit = strings.Repeat("p", 1<<20), s.Unit+"\xff"
	replay.Restore(s)
	again := event.Process{PID: p.PID, StartBoot: p.StartBoot, Comm: "sh"}
	replay.Complete(&again)
	if again.ContainerName != "web" || again.ContainerRuntime != "docker" || len(again.Pod) > maxName || again.Unit != want.Unit+"\uFFFD" {
		t.Errorf("restored: %+v", again)
	}
	// Moved on to a cgroup that is no container's: nothing of it stays.
	elsewhere := event.Process{PID: p.PID, StartBoot: p.StartBoot, Comm: "sh", CgroupID: tree.id("/")}
	r.Complete(&elsewhere)
	if elsewhere.ContainerID+elsewhere.ContainerName+elsewhere.ContainerRuntime+elsewhere.Unit != "" {
		t.Errorf("in another cgroup: %+v", elsewhere)
	}
}
