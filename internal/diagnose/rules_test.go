package diagnose

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"rstwhy/internal/event"
)

// fixture is one record and the verdict that is true for it. A miss lies in
// the folder of the rule that must not claim it.
type fixture struct {
	Note       string
	Want       string // rule, empty for no verdict
	Confidence event.Confidence
	Reset      event.Reset
}

func fixtures(t *testing.T) map[string]fixture {
	t.Helper()
	paths, err := filepath.Glob("testdata/*/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	out := map[string]fixture{}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		var f fixture
		if err := json.Unmarshal(b, &f); err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		out[p] = f
	}
	return out
}

func TestRules(t *testing.T) {
	hits, misses := map[string]int{}, map[string]int{}
	for path, f := range fixtures(t) {
		folder, name := filepath.Base(filepath.Dir(path)), filepath.Base(path)
		if _, ok := LookupRule(folder); !ok {
			t.Errorf("%s: no rule has that name", path)
		}
		switch {
		case strings.HasPrefix(name, "hit") && f.Want == folder:
			hits[folder]++
		case strings.HasPrefix(name, "miss") && f.Want != folder:
			misses[folder]++
		default:
			t.Errorf("%s: name and wanted rule %q contradict each other", path, f.Want)
		}
		got := Judge(&f.Reset)
		if got == nil {
			got = &event.Verdict{}
		}
		if got.Rule != f.Want || got.Confidence != f.Confidence {
			t.Errorf("%s (%s): rule %q (%s), want %q (%s)", path, f.Note, got.Rule, got.Confidence, f.Want, f.Confidence)
		}
		if f.Want != "" && (len(got.Because) == 0 || len(got.Do) == 0) {
			t.Errorf("%s: a verdict without evidence or advice: %+v", path, got)
		}
		for _, line := range append(got.Because, got.Do...) {
			if strings.ContainsAny(line, "{}") && !strings.Contains(line, "${mvngit.commit.id}") {
				t.Errorf("%s: a value was not filled in: %s", path, line)
			}
		}
	}
	for _, r := range rules {
		if hits[r.ID] == 0 || misses[r.ID] == 0 {
			t.Errorf("rule %s has %d hits and %d near misses, wants one of each at least", r.ID, hits[r.ID], misses[r.ID])
		}
	}
}

// TestCases: each case of each rule is the one that decides some fixture.
func TestCases(t *testing.T) {
	used := map[string]bool{}
	for _, f := range fixtures(t) {
		v := Judge(&f.Reset)
		if v == nil {
			continue
		}
		rule, _ := LookupRule(v.Rule)
		for _, c := range rule.Cases {
			if all(c.When, &f.Reset) {
				used[rule.ID+"/"+c.View] = true
				break
			}
		}
	}
	for _, r := range rules {
		for _, c := range r.Cases {
			if !used[r.ID+"/"+c.View] {
				t.Errorf("rule %s: no fixture reaches the case %q", r.ID, c.View)
			}
		}
	}
}

// TestConditionsUsed: a condition in the table that no rule uses is dead
// knowledge.
func TestConditionsUsed(t *testing.T) {
	src, err := os.ReadFile("conditions.go")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range []string{"zookeeper.go", "zookeeper_more.go", "zookeeper_port.go", "zookeeper_session.go", "general.go"} {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	declared := regexp.MustCompile(`(?m)^\t(\w+) +=`).FindAllStringSubmatch(string(src), -1)
	if len(declared) < 20 {
		t.Fatalf("found %d conditions only: the pattern no longer fits conditions.go", len(declared))
	}
	for _, d := range declared {
		if strings.HasPrefix(d[1], "clientIs") || d[1] == "clientNotKnown" {
			continue
		}
		if !regexp.MustCompile(`\b` + d[1] + `\b`).MatchString(all.String()) {
			t.Errorf("condition %s is used by no rule", d[1])
		}
	}
}

// TestPlaceholders: a misspelt {name} would silently drop its line.
func TestPlaceholders(t *testing.T) {
	used := map[string]bool{}
	for _, r := range rules {
		for _, l := range append(append([]Line{}, r.Because...), r.Do...) {
			for _, m := range placeholder.FindAllStringSubmatch(l.Text, -1) {
				used[m[1]] = true
				if fields[m[1]] == nil {
					t.Errorf("rule %s: no field {%s}", r.ID, m[1])
				}
			}
			if rest := placeholder.ReplaceAllString(l.Text, ""); strings.ContainsAny(rest, "{}") {
				t.Errorf("rule %s: stray brace in %q", r.ID, l.Text)
			}
		}
	}
	for name := range fields {
		if !used[name] {
			t.Errorf("field {%s} is used by no rule", name)
		}
	}
}

// TestOutcomesStated: whatever came of asking the server is said.
func TestOutcomesStated(t *testing.T) {
	for _, o := range []event.Outcome{
		event.OutcomeOK, event.OutcomeNotWhitelisted, event.OutcomeNotServing, event.OutcomeTLSOnly, event.OutcomeRefused,
		event.OutcomeReset, event.OutcomeTimeout, event.OutcomeUnreachable, event.OutcomeNotZooKeeper, event.OutcomeKeeper,
		event.OutcomePending, event.OutcomeWithheld, event.OutcomeDisabled,
	} {
		f := fixtures(t)["testdata/zookeeper-network-or-server/hit-client.json"]
		f.Reset.ZooKeeper.Server.Outcome = o
		if n := len(render(outcomeLines, &f.Reset)); n != 1 {
			t.Errorf("outcome %s is stated %d times, want once", o, n)
		}
	}
}

// TestHostileVersion: a server's text reaches the verdict bounded and without
// control characters.
func TestHostileVersion(t *testing.T) {
	f := fixtures(t)["testdata/zookeeper-network-or-server/hit-client.json"]
	f.Reset.ZooKeeper.Server.Version = "3.9.3\x1b]0;owned\a\n\xff" + strings.Repeat("A", 1<<20)
	f.Reset.ZooKeeper.Client = &event.Client{Version: "\x1b[2J", Transport: "netty"}
	for _, line := range Judge(&f.Reset).Because {
		if len(line) > 300 || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0xFFFD || r == 0x7f }) {
			t.Errorf("unsafe line: %.120q", line)
		}
	}
}

// TestCatalogue: each rule about ZooKeeper is in the catalogue, once.
func TestCatalogue(t *testing.T) {
	var b strings.Builder
	if err := WriteZooKeeper(&b); err != nil {
		t.Fatal(err)
	}
	for _, r := range zookeeperRules {
		if n := strings.Count(b.String(), "\n## "+r.ID+"\n"); n != 1 {
			t.Errorf("rule %s is %d times in the catalogue", r.ID, n)
		}
	}
}

func TestMarkdown(t *testing.T) {
	var b strings.Builder
	for _, write := range []func(io.Writer) error{WriteCauses, WriteRules} {
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range causes {
		if !strings.Contains(b.String(), "\n## "+c.ID+"\n") {
			t.Errorf("cause %s is not documented", c.ID)
		}
	}
	for _, r := range rules {
		if !strings.Contains(b.String(), "\n## "+r.ID+"\n") {
			t.Errorf("rule %s is not documented", r.ID)
		}
	}
}
