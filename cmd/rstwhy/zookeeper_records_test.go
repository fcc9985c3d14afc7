package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/diagnose"
	"rstwhy/internal/event"
	"rstwhy/internal/lab"
)

// zkTable counts, for one end, the rules told by the rule expected.
type zkTable map[string]map[string]int

func zkTableOf(runs []zkCaseRun, server bool) zkTable {
	table := zkTable{}
	for _, run := range runs {
		want, records := run.zkCase.client, run.client
		if server {
			want, records = run.zkCase.server, run.server
		}
		want, _, _ = strings.Cut(want, "|")
		switch {
		case want == "":
			want = "(anything)"
		case want != zkNoReset && !zkRuleExists(want):
			want += " (no such rule yet)"
		}
		if table[want] == nil {
			table[want] = map[string]int{}
		}
		for _, told := range zkTold(records) {
			table[want][told]++
		}
	}
	return table
}

func zkRuleExists(id string) bool {
	return slices.ContainsFunc(diagnose.Rules(), func(r diagnose.Rule) bool { return r.ID == id })
}

// zkMatrix is the confusion matrix of both ends, as Markdown.
func zkMatrix(runs []zkCaseRun) string {
	var b strings.Builder
	for _, end := range []struct {
		name   string
		server bool
	}{{"server", true}, {"client", false}} {
		fmt.Fprintf(&b, "\n## At the %s's end\n\n| expected | told | connections |\n|---|---|--:|\n", end.name)
		table := zkTableOf(runs, end.server)
		for _, want := range slices.Sorted(maps.Keys(table)) {
			for _, told := range slices.Sorted(maps.Keys(table[want])) {
				fmt.Fprintf(&b, "| %s | %s | %d |\n", want, told, table[want][told])
			}
		}
	}
	return b.String()
}

// zkWriteRecords writes what each stimulus showed, for the author of a rule.
func zkWriteRecords(t *testing.T, runs []zkCaseRun, suffix string) {
	path := os.Getenv("RSTWHY_ZK_RECORDS")
	if path == "" {
		return
	}
	type end struct {
		Expected string        `json:"expected"`
		Told     []string      `json:"told"`
		Records  []event.Reset `json:"records"`
	}
	type entry struct {
		Release   string `json:"release"`
		Stimulus  string `json:"stimulus"`
		Signature string `json:"signature"`
		NearMiss  string `json:"near_miss_of"`
		Tries     int    `json:"tries"`
		Wire      int    `json:"rsts_on_the_wire"`
		Server    end    `json:"server"`
		Client    end    `json:"client"`
	}
	var out []entry
	for _, r := range runs {
		out = append(out, entry{r.release, r.name, r.sign, r.near, r.tries, r.wire,
			end{r.zkCase.server, zkTold(r.server), r.server}, end{r.zkCase.client, zkTold(r.client), r.client}})
	}
	b, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+suffix, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// zkWriteAccuracy writes docs/zookeeper-accuracy.md.
func zkWriteAccuracy(t *testing.T, runs []zkCaseRun) {
	t.Helper()
	var kernel unix.Utsname
	if err := unix.Uname(&kernel); err != nil {
		t.Fatal(err)
	}
	jdk, err := exec.Command("java", "-version").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	version, _, _ := strings.Cut(string(jdk), "\n")
	var releases []string
	for _, r := range lab.ZKReleases {
		releases = append(releases, strings.TrimSuffix(r.Version, ".")+" ("+r.Suite+")")
	}
	var b strings.Builder
	fmt.Fprintf(&b, `# Accuracy around ZooKeeper

What rstwhy concluded at both ends of resets that real ZooKeeper servers and clients
made, over a link with 5 ms of round trip. Each stimulus of a rule comes with near
misses: what differs in the one thing that matters. This page is written by the test
that measures it:

    sudo env RSTWHY_WRITE_DOCS=1 go test -run 'TestZooKeeper(Matrix|Ensemble)$' -timeout 15m ./cmd/rstwhy

%s, kernel %s; Debian's ZooKeeper %s; %s.

A row counts the first record of each connection: what follows on the same connection
answers segments that were on their way. *no verdict* is a reset for which no rule
applies, *no reset* a stimulus that left none at that end.

A *raw* stimulus is bytes of the lab's own: it stands for a client that Debian does not
carry, as the Java NIO client up to 3.4.5 with ZOOKEEPER-1702. A stall is SIGSTOP, which
stands for a pause of the garbage collector. Not tried: throttled connections, a session
that expires with requests unread, Kerberos, another JDK.

Where the packets came in another order and the verdict was not the one expected, a
stimulus was run again, at most twice: %d of %d were. A known defect that is none is
judged at once.
`, time.Now().UTC().Format(time.DateOnly), unix.ByteSliceToString(kernel.Release[:]), strings.Join(releases, ", "), version, zkRunAgain(runs), len(runs))
	b.WriteString(zkMatrix(runs))
	b.WriteString("\n## Each stimulus\n\n`S` and `C` are the signatures of the catalogue, on the server's and on the client's host.\n\n" +
		"| release | stimulus | signature | told at the server's end | told at the client's end |\n|---|---|---|---|---|\n")
	for _, r := range runs {
		sign := r.sign
		if r.near != "" {
			sign = strings.TrimSpace(sign + " near miss of " + strings.ReplaceAll(r.near, "|", ", "))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", strings.TrimSuffix(r.release, "."), r.name, sign, zkCounted(zkTold(r.server)), zkCounted(zkTold(r.client)))
	}
	if old, err := os.ReadFile(zkAccuracyPage); err == nil {
		_, section, found := strings.Cut(string(old), zkEnsembleHeading)
		if found {
			b.WriteString(zkEnsembleHeading + section)
		}
	}
	if err := os.WriteFile(zkAccuracyPage, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

var zkAccuracyPage = filepath.Join("..", "..", "docs", "zookeeper-accuracy.md")

const zkEnsembleHeading = "\n## Ensembles of three\n"

// zkEnsembleSection is what TestZooKeeperEnsemble adds to the page.
func zkEnsembleSection(runs []zkCaseRun) string {
	var b strings.Builder
	b.WriteString(zkEnsembleHeading + `
Clients at work all the time; quorum and election ports are in it. *Explained* is a
reset with a verdict, one whose cause says it all (` + "`closed-port`" + `), or one that
follows from an earlier reset of its connection. Written by TestZooKeeperEnsemble.

| release | what happened | resets told | explained | told at the server's end | told at the client's end |
|---|---|--:|--:|---|---|
`)
	for _, r := range runs {
		n := len(r.server) + len(r.client)
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %s | %s |\n", strings.TrimSuffix(r.release, "."), r.name, n, n-len(zkUnexplained(r)),
			zkCounted(zkTold(r.server)), zkCounted(zkTold(r.client)))
	}
	return b.String()
}

// zkWriteSection puts the section at the page's end.
func zkWriteSection(t *testing.T, section string) {
	t.Helper()
	if os.Getenv("RSTWHY_WRITE_DOCS") != "1" || t.Failed() {
		return
	}
	old, err := os.ReadFile(zkAccuracyPage)
	if err != nil && !errors.Is(err, os.ErrNotExist) { // TestZooKeeperMatrix writes the rest of it
		t.Fatal(err)
	}
	page, _, _ := strings.Cut(string(old), zkEnsembleHeading)
	if err := os.WriteFile(zkAccuracyPage, []byte(page+section), 0o644); err != nil {
		t.Fatal(err)
	}
}

// zkCounted writes "rule" or "3 rule".
func zkCounted(told []string) string {
	count := map[string]int{}
	for _, rule := range told {
		count[rule]++
	}
	var out []string
	for _, rule := range slices.Sorted(maps.Keys(count)) {
		if n := count[rule]; n > 1 {
			rule = fmt.Sprintf("%d %s", n, rule)
		}
		out = append(out, rule)
	}
	return strings.Join(out, ", ")
}

// zkRunAgain counts the stimuli that were run more than once for their verdict.
func zkRunAgain(runs []zkCaseRun) (n int) {
	for _, r := range runs {
		if r.again > 0 {
			n++
		}
	}
	return n
}
