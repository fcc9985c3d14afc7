package release

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// dpkgBooks change with each package that comes and goes.
var dpkgBooks = []string{"/var/lib/dpkg/status", "/var/lib/dpkg/status-old", "/var/lib/dpkg/lock", "/var/lib/dpkg/lock-frontend",
	"/var/lib/dpkg/available", "/var/lib/dpkg/triggers", "/var/lib/dpkg/diversions", "/var/lib/dpkg/info/format", "/var/log/dpkg.log",
	"/run"} // a running system has it in memory

// TestDeb installs the package into a clean Debian, uses what it brought, and
// takes it away again.
func TestDeb(t *testing.T) {
	needRoot(t)
	d, root := release(t), cleanRoot(t)
	before := snapshot(t, root)
	output(t, "cp", d.deb(), filepath.Join(root, "rstwhy.deb"))
	outputOf(t, inside(root, "dpkg", "--install", "/rstwhy.deb"))
	if err := os.Remove(filepath.Join(root, "rstwhy.deb")); err != nil {
		t.Fatal(err)
	}
	checkFiles(t, d, root, "/usr/share/zsh/vendor-completions/_rstwhy", "/etc/default/rstwhy")
	checkOff(t, root)

	if got := outputOf(t, inside(root, "rstwhy", "version")); !strings.HasPrefix(got, "rstwhy "+tag+"\n") {
		t.Errorf("rstwhy version in the clean root: %q", got)
	}
	if got := outputOf(t, inside(root, "rstwhy", "check")); !strings.Contains(got, "resets that this host sends") {
		t.Errorf("rstwhy check in the clean root:\n%s", got)
	}
	traceRefused(t, root)
	checkUnit(t, root)

	// Whoever enabled it and has recordings must get rid of both.
	outputOf(t, inside(root, "systemctl", "enable", "rstwhy.service"))
	recording := filepath.Join(root, "var/lib/rstwhy/1.rec")
	if err := os.MkdirAll(filepath.Dir(recording), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(recording, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	outputOf(t, inside(root, "dpkg", "--remove", "rstwhy"))
	for path, kept := range map[string]bool{"usr/bin/rstwhy": false, "etc/default/rstwhy": true, "var/lib/rstwhy/1.rec": true,
		"etc/systemd/system/multi-user.target.wants/rstwhy.service": false} {
		if _, err := os.Lstat(filepath.Join(root, path)); (err == nil) != kept {
			t.Errorf("after dpkg --remove: %s: %v, want it kept: %v", path, err, kept)
		}
	}
	outputOf(t, inside(root, "dpkg", "--purge", "rstwhy"))
	for _, c := range changes(before, snapshot(t, root), dpkgBooks...) {
		t.Errorf("left over after dpkg --purge: %s", c)
	}
}

// checkFiles compares what was installed with dist.
func checkFiles(t *testing.T, d tree, root, zsh, options string) {
	t.Helper()
	for path, from := range map[string]string{
		"/usr/lib/systemd/system/rstwhy.service":           d.dist("rstwhy.service"),
		"/usr/share/bash-completion/completions/rstwhy":    d.dist("completions", "rstwhy.bash"),
		"/usr/share/fish/vendor_completions.d/rstwhy.fish": d.dist("completions", "rstwhy.fish"),
		zsh:     d.dist("completions", "_rstwhy"),
		options: filepath.Join(string(d), "deploy", "rstwhy.default"),
	} {
		want, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(root, path))
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is not %s (%v)", path, from, err)
		}
	}
	pages, err := os.ReadDir(d.dist("man"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pages {
		want, err := os.ReadFile(d.dist("man", p.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if got := output(t, "zcat", filepath.Join(root, "usr/share/man/man8", p.Name()+".gz")); got != string(want) {
			t.Errorf("the installed %s differs from that of dist", p.Name())
		}
	}
}

// checkOff: the unit is there, and neither enabled nor preset to be.
func checkOff(t *testing.T, root string) {
	t.Helper()
	out, err := inside(root, "systemctl", "is-enabled", "rstwhy.service").Output()
	if got := strings.TrimSpace(string(out)); got != "disabled" {
		t.Errorf("systemctl is-enabled: %q (%v), want disabled", got, err)
	}
	links, err := filepath.Glob(filepath.Join(root, "etc/systemd/system/*/rstwhy.service"))
	if err != nil || len(links) > 0 {
		t.Errorf("links to the unit: %v (%v), want none", links, err)
	}
}

// traceRefused lets the installed tracer see a connection of this test refused.
func traceRefused(t *testing.T, root string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.78:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	l.Close()
	c := inside(root, "rstwhy", "trace", "-o", "json", "--no-probe", "--received", "-P", port, "-c", "1", "--duration", "60s")
	var log strings.Builder
	c.Stderr = &log
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // until it is ready, and sees one
		for {
			select {
			case <-done:
				return
			case <-time.After(100 * time.Millisecond):
				if conn, err := net.Dial("tcp4", addr); err == nil {
					conn.Close()
				}
			}
		}
	}()
	var reset struct {
		Type, Cause string
		Owner       *struct{ PID int }
	}
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if reset.Type == "" {
			if err := json.Unmarshal(lines.Bytes(), &reset); err != nil {
				t.Errorf("%q: %v", lines.Bytes(), err)
			}
		}
	}
	close(done)
	if err := c.Wait(); err != nil {
		t.Fatalf("rstwhy trace in the clean root: %v\n%s", err, &log)
	}
	if reset.Type != "reset" || reset.Cause != "connect-refused" || reset.Owner == nil || reset.Owner.PID != os.Getpid() {
		t.Errorf("the first line of rstwhy trace is %+v, want a connect-refused of pid %d\n%s", reset, os.Getpid(), &log)
	}
}

// checkUnit asks the system's own systemd: is the unit right, and how exposed.
func checkUnit(t *testing.T, root string) {
	t.Helper()
	const unit = "/usr/lib/systemd/system/rstwhy.service"
	if out, err := inside(root, "systemd-analyze", "verify", "--man=no", unit).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// In tenths, of systemd's scale from 0 (not exposed) to 10. SYS_ADMIN, root,
	// the host's network and /proc/kallsyms are what it cannot do without.
	if out, err := inside(root, "systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=45", unit).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
	checkCalls(t, root)
}

// checkCalls traces the tracer: each system call that it makes must be one that
// the unit allows.
func checkCalls(t *testing.T, root string) {
	t.Helper()
	allowed := allowedCalls(t, root)
	dir := t.TempDir()
	log, ready := filepath.Join(dir, "calls"), filepath.Join(dir, "ready")
	c := exec.Command("strace", "-f", "-qq", "-o", log, filepath.Join(root, "usr/bin/rstwhy"), "trace", "-o", "json",
		"--duration", "60s", "--record", filepath.Join(dir, "recording"), "--ready-file", ready)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(ready); err == nil {
			break
		}
		if time.Now().After(until) {
			t.Fatal("rstwhy trace below strace is not ready after 60 s")
		}
	}
	for _, addr := range []string{"127.0.0.78:1", "[::1]:1"} {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
		}
	}
	time.Sleep(time.Second) // for what follows a reset; none of it is waited for
	output(t, "pkill", "-TERM", "-P", fmt.Sprint(c.Process.Pid))
	if err := c.Wait(); err != nil {
		t.Fatalf("rstwhy trace below strace: %v", err)
	}
	made := callsIn(t, log)
	for _, name := range []string{"bpf", "epoll_pwait", "openat", "socket"} {
		if !slices.Contains(made, name) {
			t.Errorf("strace saw no %s, so it saw too little: %v", name, made)
		}
	}
	// The last ones come in another namespace, or where a process is gone: not in
	// each run.
	for _, name := range append(made, "open_by_handle_at", "openat2", "perf_event_open", "setns") {
		if !allowed[name] {
			t.Errorf("rstwhy trace calls %s, which the unit's SystemCallFilter= forbids", name)
		}
	}
}

// callsIn reads the names in a log of strace: "PID name(arguments) = result".
func callsIn(t *testing.T, log string) []string {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		_, rest, _ := strings.Cut(line, " ")
		name, _, ok := strings.Cut(strings.TrimSpace(rest), "(")
		if ok && name != "" && !strings.ContainsAny(name, " <+-") && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// allowedCalls are those of the unit's SystemCallFilter=, sets resolved by the
// system's systemd.
func allowedCalls(t *testing.T, root string) map[string]bool {
	t.Helper()
	unit, err := os.ReadFile(filepath.Join(root, "usr/lib/systemd/system/rstwhy.service"))
	if err != nil {
		t.Fatal(err)
	}
	sets, current := map[string][]string{}, ""
	for line := range strings.Lines(outputOf(t, inside(root, "systemd-analyze", "--no-pager", "syscall-filter"))) {
		switch word := strings.TrimSpace(line); {
		case strings.HasPrefix(line, "@"):
			current = word
		case word != "" && !strings.HasPrefix(word, "#"):
			sets[current] = append(sets[current], word)
		}
	}
	out := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		if !strings.HasPrefix(name, "@") {
			out[name] = true
			return
		}
		if len(sets[name]) == 0 {
			t.Fatalf("systemd-analyze syscall-filter knows no set %s", name)
		}
		for _, n := range sets[name] {
			add(n)
		}
	}
	for line := range strings.Lines(string(unit)) {
		if list, ok := strings.CutPrefix(line, "SystemCallFilter="); ok {
			for _, name := range strings.Fields(list) {
				if strings.HasPrefix(name, "~") {
					t.Fatalf("this test reads lists of what is allowed, not %s", line)
				}
				add(name)
			}
		}
	}
	if !out["bpf"] || out["init_module"] {
		t.Errorf("the unit allows bpf: %v, init_module: %v; want the first only", out["bpf"], out["init_module"])
	}
	return out
}
