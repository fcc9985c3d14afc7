package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

// checkJSON reads a report.
func checkJSON(t *testing.T, r *cliRun) checkReport {
	t.Helper()
	var rep checkReport
	d := json.NewDecoder(&r.stdout)
	d.DisallowUnknownFields()
	if err := d.Decode(&rep); err != nil {
		t.Fatalf("check -o json: %v\n%s", err, &r.stderr)
	}
	if d.More() {
		t.Error("check -o json prints more than one object")
	}
	if rep.Type != "check" || rep.Schema != 1 || len(rep.Hooks) != len(probe.Hooks) {
		t.Fatalf("report of type %q, schema %d, with %d hooks of %d", rep.Type, rep.Schema, len(rep.Hooks), len(probe.Hooks))
	}
	for i, h := range rep.Hooks {
		if h.Name != probe.Hooks[i].Name || h.Without == "" || h.Attached != (h.Why == "") || h.Attached != (h.Program != "") {
			t.Errorf("hook %+v: what is not attached must say why and what is lost", h)
		}
	}
	return rep
}

func TestCheckAsRoot(t *testing.T) {
	if testing.Short() {
		t.Skip("attaches to the kernel: left out by -short")
	}
	zkNeedRoot(t)
	bin := cliBin(t)
	r := cliCommand(bin, "check", "-o", "json")
	if status := r.run(t); status != exitOK || r.stderr.Len() > 0 {
		t.Errorf("status %d\n%s", status, &r.stderr)
	}
	rep := checkJSON(t, r)
	if !rep.OK || !rep.HostPIDNamespace || rep.Error != "" {
		t.Errorf("report %+v", rep)
	}
	attached := 0
	for _, h := range rep.Hooks {
		if h.Required && !h.Attached {
			t.Errorf("required hook %s is not attached and all is well", h.Name)
		}
		if h.Attached {
			attached++
		}
		if h.Flag != "" && h.Attached {
			t.Errorf("hook %s is attached, and nobody asked for it", h.Name)
		}
	}
	if attached < 8 {
		t.Errorf("only %d hooks are attached", attached)
	}
	r = cliCommand(bin, "check")
	if status := r.run(t); status != exitOK || strings.Count(r.stdout.String(), "ok       ") != attached {
		t.Errorf("status %d, text:\n%s", status, &r.stdout)
	}
}

// TestWithoutPrivileges: what is missing is named, in place of the kernel's
// "operation not permitted", and no file is left behind.
func TestWithoutPrivileges(t *testing.T) {
	if testing.Short() {
		t.Skip("needs to give up root: left out by -short")
	}
	zkNeedRoot(t)
	bin := cliBin(t)
	r := cliCommand(bin, "check", "-o", "json").asNobody()
	if status := r.run(t); status != exitHook {
		t.Errorf("check: status %d, want %d", status, exitHook)
	}
	rep := checkJSON(t, r)
	var names []string
	for _, c := range rep.MissingCapabilities {
		names = append(names, c.Name)
	}
	if all := strings.Join(names, " "); rep.OK || !strings.Contains(all, "CAP_BPF") || !strings.Contains(all, "CAP_PERFMON") {
		t.Errorf("ok %v, missing capabilities: %s", rep.OK, all)
	}
	for _, h := range rep.Hooks {
		if h.Attached || !strings.Contains(h.Why, "CAP_BPF") {
			t.Errorf("hook %s: attached %v, why: %q", h.Name, h.Attached, h.Why)
		}
	}
	dir := filepath.Join(filepath.Dir(bin), "open")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"check"}, {"trace"}, {"trace", "--record", filepath.Join(dir, "a.rec")}} {
		for range 3 { // the order of the maps, and with it the error, varies
			r := cliCommand(bin, args...).asNobody()
			status := r.run(t)
			all := r.stdout.String() + r.stderr.String()
			if status != exitHook || !strings.Contains(all, "CAP_BPF") || !strings.Contains(all, "CAP_PERFMON") {
				t.Errorf("%v: status %d, want %d and the capabilities:\n%s", args, status, exitHook, all)
			}
			if strings.Contains(all, "not permitted") || strings.Contains(all, "requires >=") {
				t.Errorf("%v: the library's words reach the user:\n%s", args, all)
			}
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("a trace that could not begin left %v behind", left)
	}
}

// inOwnPIDNamespace runs it as a container's first process.
func (r *cliRun) inOwnPIDNamespace() *cliRun {
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	return r
}

// TestForeignPIDNamespace: pids there are others' pids, so no process is named,
// and check says what the container needs.
func TestForeignPIDNamespace(t *testing.T) {
	if testing.Short() {
		t.Skip("attaches to the kernel: left out by -short")
	}
	zkNeedRoot(t)
	bin, addr := cliBin(t), cliAddr()
	port := closedPort(t, addr)
	r := cliCommand(bin, "check").inOwnPIDNamespace()
	status := r.run(t)
	for _, want := range []string{"--pid=host", "hostPID: true", "/sys/kernel/btf", "not named"} {
		if !strings.Contains(r.stdout.String(), want) {
			t.Errorf("status %d, no %q in:\n%s", status, want, &r.stdout)
		}
	}
	r = cliCommand(bin, "check", "-o", "json").inOwnPIDNamespace()
	status = r.run(t)
	if rep := checkJSON(t, r); rep.HostPIDNamespace || len(rep.Warnings) == 0 || (status == exitOK) != rep.OK {
		t.Errorf("status %d, report %+v", status, rep)
	}

	r = cliCommand(bin, "trace", "-o", "json", "--addr", addr).inOwnPIDNamespace()
	r.start(t)
	refuse(t, addr, port)
	abort(t, addr)
	r.stop(t, syscall.SIGTERM)
	resets, sum := r.lines(t)
	if len(resets) < 4 {
		t.Errorf("%d resets, want both ends of two", len(resets))
	}
	for _, reset := range resets {
		if reset.Owner != nil || reset.OwnerSource != event.SourceNone || reset.OwnerProven {
			t.Errorf("owner %+v by %s", reset.Owner, reset.OwnerSource)
		}
	}
	if all := strings.Join(sum.Warnings, "\n"); !strings.Contains(all, "--pid=host") {
		t.Errorf("warnings of the summary: %q", all)
	}
}

// usageCases are command lines that are wrong; each is told without privileges,
// before anything is attached.
var usageCases = []struct {
	args []string
	want string
}{
	{[]string{"frobnicate"}, `unknown command "frobnicate"`},
	{[]string{"trace", "--frobnicate"}, "unknown flag: --frobnicate"},
	{[]string{"trace", "extra"}, `"extra"`},
	{[]string{"check", "extra"}, `"extra"`},
	{[]string{"check", "-o", "xml"}, `"xml"`},
	{[]string{"trace", "-o", "xml"}, `"xml"`},
	{[]string{"trace", "-P", "0"}, "-P 0"},
	{[]string{"trace", "-L", "65536"}, "-L 65536"},
	{[]string{"trace", "-D", "-1"}, "-1"},
	{[]string{"trace", "-D", "http"}, "http"},
	{[]string{"trace", "--zk-port", "70000"}, "--zk-port 70000"},
	{[]string{"trace", "-P", "1,2,3,4,5,6,7,8,9"}, "-P is given 9 times"},
	{[]string{"trace", "--addr", "example.org"}, `"example.org"`},
	{[]string{"trace", "--addr", "10.0.0.0/33"}, "10.0.0.0/33"},
	{[]string{"trace", "--addr", "10.0.0/8"}, "10.0.0/8"},
	{[]string{"trace", "--addr", ""}, "--addr"},
	{[]string{"trace", "--comm", ""}, "--comm"},
	{[]string{"trace", "--record", ""}, "--record"},
	{[]string{"trace", "-P", ""}, "-P"},
	{[]string{"trace", "-4", "-6"}, "-4 and -6"},
	{[]string{"trace", "--sent", "--received"}, "--sent and --received"},
	{[]string{"trace", "-p", "0"}, `-p "0"`},
	{[]string{"trace", "-p", "4294967297"}, `-p "4294967297"`},
	{[]string{"trace", "--cause", "closed-prot"}, "closed-port"},
	{[]string{"trace", "--verdict", "!\x1b[2J"}, "no rule"},
	{[]string{"trace", "--container", ""}, "--container"},
	{[]string{"trace", "--netns", "web"}, "--netns"},
	{[]string{"trace", "-c", "many"}, "many"},
	{[]string{"trace", "--duration", "-1s"}, "-1s"},
	{[]string{"trace", "--replay", "x", "--record", "y"}, "--replay"},
	{[]string{"trace", "--replay", "x", "--ready-file", "y"}, "--replay"},
	{[]string{"trace", "--replay", "x", "--duration", "1s"}, "--replay"},
	{[]string{"trace", "--replay", "x", "--interval", "1s"}, "--interval"},
	{[]string{"trace", "--interval", "999ms"}, "--interval"},
	{[]string{"trace", "--interval", "-1m"}, "--interval"},
	{[]string{"trace", "--record", "x", "--record-size", "1M"}, "2M is the least"},
	{[]string{"trace", "--record", "x", "--record-size", "64MB"}, "no size"},
	{[]string{"trace", "--record", "x", "--record-size", "99999999999G"}, "no size"},
	{[]string{"trace", "--record", "x", "--record-files", "0"}, "--record-files"},
	{[]string{"zk"}, "zk"},
}

func TestUsageErrors(t *testing.T) {
	bin := cliBin(t)
	for _, tt := range usageCases {
		r := cliCommand(bin, tt.args...)
		status, msg := r.run(t), r.stderr.String()
		if status != exitUsage || !strings.Contains(msg, tt.want) || !strings.HasPrefix(msg, "rstwhy: ") || strings.Count(msg, "\n") != 1 {
			t.Errorf("%q: status %d, want %d; stderr %q, want %q in one line", tt.args, status, exitUsage, msg, tt.want)
		}
		if r.stdout.Len() != 0 {
			t.Errorf("%q: stdout %q", tt.args, &r.stdout)
		}
	}
	for _, args := range [][]string{{}, {"--help"}, {"trace", "--help"}, {"--version"}, {"version"}} {
		r := cliCommand(bin, args...)
		if status := r.run(t); status != exitOK || r.stdout.Len() == 0 || r.stderr.Len() != 0 {
			t.Errorf("%q: status %d, stdout %d bytes, stderr %q", args, status, r.stdout.Len(), &r.stderr)
		}
	}
}

// TestReplayFailures name the file and what is wrong with it.
func TestReplayFailures(t *testing.T) {
	bin, dir := cliBin(t), t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "no such file", dir: "no regular file", fifo: "no regular file",
		file("empty", nil): "empty", file("passwd", []byte("root:x:0:0::/root:/bin/sh\n")): "line 1",
		file("huge", bytes.Repeat([]byte("x"), 10<<20)): "line 1", file("gzip", []byte("\x1f\x8b\x08\x00\x00\n")): "line 1",
	} {
		r := cliCommand(bin, "trace", "--replay", path)
		status, msg := r.run(t), r.stderr.String()
		if status != exitFailure || !strings.Contains(msg, path) || !strings.Contains(msg, want) || strings.Count(msg, "\n") != 1 {
			t.Errorf("replay of %s: status %d, stderr %q, want %q in one line", filepath.Base(path), status, msg, want)
		}
	}
}
