package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// guestOutput is what a guest's steps write, with the proof's rows.
func guestOutput(t *testing.T, rows string, steps ...outcome) (all []step, text []byte) {
	t.Helper()
	steps = append([]outcome{
		{Name: stepCheck, Output: "ok sent\n"},
		{Name: stepCheckJSON, Output: `{"hooks":[{"name":"sent","attached":true,"required":true},{"name":"device","flag":"--firewall"}]}`},
		{Name: stepStart, Took: 3 * time.Second}, {Name: stepStart, Took: time.Second}, {Name: stepStart, Took: 2 * time.Second},
		{Name: stepProve, Output: "proved\n", Kept: map[string]string{proveJSON: `{"rows":[` + rows + `]}`}},
	}, steps...)
	for _, o := range steps {
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		all, text = append(all, step{Name: o.Name}), append(append(text, b...), '\n')
	}
	return all, text
}

const (
	rowRight     = `{"direction":"sent","cause":"linger-zero","expected":2,"seen":2,"right":2,"result":"pass"}`
	rowLost      = `{"direction":"sent","cause":"linger-zero","expected":2,"seen":1,"right":1,"result":"fail","why":["missing record"]}`
	rowWrong     = `{"direction":"sent","cause":"linger-zero","expected":2,"seen":2,"right":1,"result":"fail","why":["cause closed-port"]}`
	rowCannot    = `{"direction":"sent","cause":"mptcp-abort","result":"not-provable","why":["no MPTCP"]}`
	rowInvisible = `{"direction":"received","cause":"reset-challenged","result":"not-visible","why":["freed without an event"]}`
	rowLate      = `{"direction":"sent","cause":"linger-zero","expected":2,"seen":1,"right":1,"result":"not-finished","why":["cut off"]}`
	rowBroken    = `{"direction":"","cause":"scenario x/y","result":"fail","why":["no such scenario"]}`
)

func read(t *testing.T, rows string, steps ...outcome) *result {
	t.Helper()
	all, text := guestOutput(t, rows, steps...)
	r, err := readResult(kernel{series: "6.1", arch: "amd64", release: "6.1.0-1"}, 9, all, text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestResultFailures(t *testing.T) {
	passing := outcome{Name: "test netns", Output: "=== RUN   TestA\n--- PASS: TestA (0.1s)\n=== RUN   TestB\n    b_test.go:1: needs nft\n--- SKIP: TestB (0s)\nPASS\n"}
	for _, tt := range []struct {
		name  string
		rows  string
		steps []outcome
		want  string // part of the failure; empty: none
	}{
		{"all is right", rowRight + "," + rowCannot + "," + rowInvisible, []outcome{passing}, ""},
		{"lost", rowLost, nil, "6.1-amd64: sent linger-zero is lost: missing record"},
		{"wrong", rowWrong, nil, "6.1-amd64: sent linger-zero is wrong: cause closed-port"},
		{"not finished", rowLate, nil, "sent linger-zero is not finished: cut off"},
		{"a scenario that broke", rowRight + "," + rowBroken, nil, "scenario x/y"},
		{"a failed test", rowRight, []outcome{{Name: "test netns", Status: 1, Output: "--- PASS: TestB (0s)\n--- FAIL: TestA (0.1s)\nFAIL\n"}}, "TestA"},
		{"a test that hangs", rowRight, []outcome{{Name: "test netns", Error: "signal: quit", TimedOut: true, Status: -1}}, "time was over"},
		{"no test ran", rowRight, []outcome{{Name: "test netns", Output: "testing: warning: no tests to run\nPASS\n"}}, "no tests to run"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var all []string
			for _, err := range read(t, tt.rows, tt.steps...).failures() {
				all = append(all, err.Error())
			}
			got := strings.Join(all, "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("failures %q, want %q", got, tt.want)
			}
		})
	}
	r := read(t, rowRight, passing)
	if r.StartMS != 2000 || len(r.Tests) != 1 || r.Tests[0].Passed != 1 || r.Tests[0].Skipped[0] != "TestB: b_test.go:1: needs nft" {
		t.Errorf("%+v", r)
	}
	r.Hooks[0].Attached = false
	if all := r.failures(); len(all) != 1 || !strings.Contains(all[0].Error(), "required hook sent is not attached") {
		t.Errorf("without a required hook: %v", all)
	}
}

// TestRunAgain: a failure that does not come again is told, and is none; one that
// comes each time is one.
func TestRunAgain(t *testing.T) {
	proof := func(rows ...string) *outcome {
		var all []outcome
		for _, row := range rows {
			all = append(all, outcome{Name: stepProve, Kept: map[string]string{proveJSON: `{"rows":[` + row + `]}`}})
		}
		last := all[len(all)-1]
		last.Earlier = all[:len(all)-1]
		return &last
	}
	for _, tt := range []struct {
		name     string
		o        *outcome
		failures int
		again    int
	}{
		{"right at once", proof(rowRight), 0, 0},
		{"right later", proof(rowLost, rowWrong+","+rowCannot, rowRight), 0, 1},
		{"another one fails later", proof(rowWrong, rowRight+","+rowBroken), 1, 1},
		{"a scenario broke once", proof(rowRight+","+rowBroken, rowRight), 0, 1},
		{"wrong each time", proof(rowWrong, rowWrong, rowLost), 1, 0},
	} {
		var r result
		if err := r.readProofs(tt.o); err != nil {
			t.Fatal(err)
		}
		if f := r.failures(); len(f) != tt.failures || len(r.Again) != tt.again {
			t.Errorf("%s: failures %v, again %q", tt.name, f, r.Again)
		}
	}
}

func TestResultCutOff(t *testing.T) {
	steps, text := guestOutput(t, rowRight)
	if _, err := readResult(kernel{}, 0, append(steps, step{Name: "test lab"}), text); err == nil || !strings.Contains(err.Error(), `before the step "test lab"`) {
		t.Errorf("a guest that ended early: %v", err)
	}
}

func TestCompare(t *testing.T) {
	docs := t.TempDir()
	if differ := compare(docs, []result{*read(t, rowRight)}); len(differ) != 1 || !strings.Contains(differ[0].Error(), "docs/kernels.md does not have it") {
		t.Errorf("nothing kept: %v", differ)
	}
	if err := save(docs, []result{*read(t, rowRight+","+rowCannot)}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, rows, want string }{
		{"the same", rowCannot + "," + rowRight, ""},
		{"other counts", strings.ReplaceAll(rowRight, "2", "7") + "," + rowCannot, ""},
		{"another outcome", rowLost + "," + rowCannot, `6.1-amd64: sent linger-zero: docs/kernels.md says "right", this run "lost"`},
		{"a cause less", rowRight, `sent mptcp-abort: docs/kernels.md says "cannot", this run "nothing"`},
		{"a cause more", rowRight + "," + rowCannot + "," + rowInvisible, `received reset-challenged: docs/kernels.md says "nothing", this run "invisible"`},
	} {
		var all []string
		for _, err := range compare(docs, []result{*read(t, tt.rows)}) {
			all = append(all, err.Error())
		}
		got := strings.Join(all, "\n")
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	r := read(t, rowRight+","+rowCannot)
	r.Hooks[1].Attached = true
	if differ := compare(docs, []result{*r}); len(differ) != 1 || !strings.Contains(differ[0].Error(), "hook device") {
		t.Errorf("another hook: %v", differ)
	}
}

// TestKernelsPage: the page in docs is the one that its results make.
func TestKernelsPage(t *testing.T) {
	docs := filepath.Join("..", "..", "docs")
	all, err := kept(docs)
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile(filepath.Join(docs, "kernels.md"))
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != page(all) {
		t.Error("docs/kernels.md is not made of docs/kernels/*.json: run vm page, or make test-vm ARGS=-write")
	}
	for _, r := range all {
		if _, err := os.Stat(resultFile(docs, r.name(), ".txt")); err != nil {
			t.Error(err)
		}
	}
}
