package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// zkRecording is what rstwhy saw while TestZooKeeper ran: real servers, some of
// the records, with the lab's names in place of the machine's.
const zkRecording = "testdata/zookeeper.rec"

// runReport runs the verb as a user does.
func runReport(t *testing.T, bin string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := exec.Command(bin, append([]string{"report"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestReport(t *testing.T) {
	bin := buildTracer(t)
	want := []string{"TCP resets on zk-lab", "16 resets sent, 16 received.", "192.0.2.2:10245", "3.4.13-6--1, standalone", "java[13763] org.apache.zookeeper.ZooKeeperMain", "Nothing was lost. The account adds up exactly.", "zookeeper.rec"}
	markdown, stderr, status := runReport(t, bin, zkRecording)
	for _, w := range want {
		if !strings.Contains(markdown, w) {
			t.Errorf("Markdown lacks %q", w)
		}
	}
	if status != exitOK || stderr != "" || !strings.HasPrefix(markdown, "# ") {
		t.Errorf("status %d, stderr %q, begins %.40q", status, stderr, markdown)
	}
	page := filepath.Join(t.TempDir(), "a.html")
	stdout, stderr, status := runReport(t, bin, "--html", page, zkRecording)
	if status != exitOK || stdout != "" || stderr != "" {
		t.Errorf("--html: status %d, stdout %.80q, stderr %q", status, stdout, stderr)
	}
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range want {
		if !strings.Contains(string(b), w) {
			t.Errorf("the page lacks %q", w)
		}
	}
	if st, err := os.Stat(page); err != nil || st.Mode() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if piped, _, _ := runReport(t, bin, "-o", "html", zkRecording); piped != string(b) {
		t.Error("-o html prints another page than --html writes")
	}
	narrow, _, _ := runReport(t, bin, "--cause", "connect-refused", zkRecording)
	if !strings.Contains(narrow, "0 resets sent, 3 received.") {
		t.Errorf("narrowed to one cause:\n%.300s", narrow)
	}
}

func TestReportErrors(t *testing.T) {
	bin := buildTracer(t)
	dir := t.TempDir()
	whole, err := os.ReadFile(zkRecording)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cut := file("cut.rec", whole[:len(whole)-100])
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	kept := file("kept.rec", whole)
	for _, c := range []struct {
		name   string
		args   []string
		status int
		want   []string
	}{
		{"no file given", nil, exitUsage, []string{"takes the files of a recording"}},
		{"format", []string{"-o", "pdf", zkRecording}, exitUsage, []string{"markdown or html"}},
		{"rule", []string{"--verdict", "zookeeper-1703", zkRecording}, exitUsage, []string{"zookeeper-1702"}},
		{"page without a name", []string{"--html", "", zkRecording}, exitUsage, []string{"--html"}},
		{"absent", []string{filepath.Join(dir, "absent.rec")}, exitFailure, []string{"absent.rec", "no such file"}},
		{"directory", []string{dir}, exitFailure, []string{"no regular file"}},
		{"cut off", []string{cut}, exitFailure, []string{"cut.rec", "cut off", "trace --replay"}},
		{"damaged", []string{file("flipped.rec", flipped)}, exitFailure, []string{"flipped.rec", "check sum", "trace --replay"}},
		{"another file", []string{file("syslog", []byte("Nov 24 09:00:00 h kernel: x\n"))}, exitFailure, []string{"syslog", "trace --record"}},
		{"empty", []string{file("empty.rec", nil)}, exitFailure, []string{"empty.rec", "it is empty"}},
		{"twice", []string{zkRecording, kept}, exitFailure, []string{"kept.rec", "each once"}},
		{"over a recording", []string{"--html", kept, zkRecording}, exitFailure, []string{"kept.rec", "exists"}},
		{"nowhere", []string{"--html", filepath.Join(dir, "none", "a.html"), zkRecording}, exitFailure, []string{"no such file"}},
	} {
		stdout, stderr, status := runReport(t, bin, c.args...)
		if status != c.status || stdout != "" || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d, want %d; stdout %.80q; stderr %q", c.name, status, c.status, stdout, stderr)
		}
		for _, w := range c.want {
			if !strings.Contains(stderr, w) {
				t.Errorf("%s: stderr %q lacks %q", c.name, stderr, w)
			}
		}
	}
	if now, err := os.ReadFile(kept); err != nil || !bytes.Equal(now, whole) {
		t.Errorf("a recording was overwritten: %v", err)
	}
}

// TestReportFullDisk leaves no half of a page.
func TestReportFullDisk(t *testing.T) {
	bin := buildTracer(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here: ", err)
	}
	defer full.Close()
	cmd := exec.Command(bin, "report", zkRecording)
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = full, &stderr
	if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != exitFailure || !strings.Contains(stderr.String(), "no space left") {
		t.Errorf("%v, stderr %q", err, &stderr)
	}
	path := filepath.Join(t.TempDir(), "a.html")
	failure := os.ErrDeadlineExceeded
	if err := writePage(path, func(io.Writer) error { return failure }); err == nil {
		t.Error("no error")
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("a page that could not be written stays")
	}
}
