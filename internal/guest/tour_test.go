//go:build guest

package guest

import (
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rstwhy/internal/event"
)

// terminal is a shell into which the tour is pasted, and all that it shows.
type terminal struct {
	input io.Writer
	dir   string

	mu    sync.Mutex
	shown strings.Builder
}

func (m *terminal) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.shown.Write(b)
}

func (m *terminal) text() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.shown.String()
}

func openTerminal(t *testing.T) *terminal {
	t.Helper()
	m := &terminal{dir: t.TempDir()}
	shell := exec.Command("bash")
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell.Dir, shell.Stdout, shell.Stderr = m.dir, m, m
	input, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	m.input = input
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // with what the tour left running where it failed
		_ = syscall.Kill(-shell.Process.Pid, syscall.SIGKILL)
		_ = shell.Wait()
	})
	return m
}

// await waits for a text behind what was shown before, and returns all behind that.
func (m *terminal) await(t *testing.T, before int, what string, is func(string) bool) string {
	t.Helper()
	for range 3000 { // five minutes: an emulated machine is slow
		if text := m.text()[before:]; is(text) {
			return text
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("the terminal did not show %s; it shows:\n%s", what, m.text()[before:])
	return ""
}

// paste enters lines, waits until they have run, and returns what they showed
// and the last one's exit status.
func (m *terminal) paste(t *testing.T, lines string) (shown string, status int) {
	t.Helper()
	before := len(m.text())
	mark := fmt.Sprintf("pasted-%d-", before)
	if _, err := io.WriteString(m.input, lines+"echo "+mark+"$?-\n"); err != nil {
		t.Fatal(err)
	}
	ended := regexp.MustCompile(mark + `([0-9]+)-`)
	shown = m.await(t, before, "the end of "+strconv.Quote(lines), ended.MatchString)
	status, err := strconv.Atoi(ended.FindStringSubmatch(shown)[1])
	if err != nil {
		t.Fatal(err)
	}
	return shown, status
}

// TestTour does what docs/tour.md says.
func TestTour(t *testing.T) {
	m := openTerminal(t)
	var promised []string
	for _, s := range readTour(t) {
		if s.paste == "" {
			continue
		}
		before := len(m.text())
		shown, status := m.paste(t, s.paste)
		// Status 4: this emulated machine was too slow for what --prove asks.
		if status != 0 && !(status == 4 && strings.Contains(s.paste, "--prove")) {
			t.Errorf("%s: exit status %d", s.heading, status)
		}
		if strings.Contains(shown, "command not found") || strings.Contains(shown, "No such file") {
			t.Errorf("%s: something is missing here", s.heading)
		}
		if s.told != "" {
			promised = append(promised, s.told)
			words := wordsOf(shown, s.told)
			m.await(t, before, words, func(text string) bool { return strings.Contains(strings.ToLower(text), words) })
		}
		t.Log(s.heading + "\n" + brief(m.text()[before:]))
	}
	checkRecording(t, m.dir, promised)
}

// brief leaves out the middle of a table that is long where nothing is finished.
func brief(shown string) string {
	const most = 60
	lines := strings.Split(shown, "\n")
	if over := len(lines) - most; over > 0 {
		lines = slices.Replace(lines, most/2, most/2+over, fmt.Sprintf("... %d lines", over))
	}
	return strings.Join(lines, "\n")
}

// wordsOf is what a reset's line shows of a cause or, since a verdict is told by
// its title, of a rule, which the tour has let explain before.
func wordsOf(shown, id string) string {
	title := regexp.MustCompile("(?m)^" + id + ": (.*)$").FindStringSubmatch(shown)
	if title == nil || !strings.HasPrefix(id, "zookeeper-") {
		return "(" + id + ")"
	}
	return strings.ToLower(title[1]) + " (proven)"
}

// checkRecording: what the tour recorded tells the same, and for certain.
func checkRecording(t *testing.T, dir string, promised []string) {
	t.Helper()
	replay := exec.Command("rstwhy", "trace", "-o", "json", "--replay", "tour.rec")
	replay.Dir = dir
	out, err := replay.Output()
	if err != nil {
		t.Fatalf("replay the tour: %v", err)
	}
	told := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		var r event.Reset
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Type != "reset" {
			continue
		}
		told[r.Cause] = told[r.Cause] || r.Owner != nil
		if v := r.Verdict; v != nil && v.Confidence == event.Proven {
			told[v.Rule] = true
		}
	}
	for _, id := range promised {
		if !told[id] {
			t.Errorf("the recording has no %s of a process that is known", id)
		}
	}
}
