// Package internal holds no code, only the test of who may import whom.
package internal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// importRule is the architecture of docs/architecture.md. "a, b < c" reads: c
// may import a and b, and nothing else of this module unless another line
// says so. Packages are named by their path below internal/, commands by their
// whole path. The notation is that of Go's own go/build/deps_test.go.
//
// The rule binds what is shipped: a test may import what it needs to set up
// its case, as long as Go itself allows it.
const importRule = `
	# the vocabulary
	event < probe, owner, zk, diagnose, sink, netns

	# the one way into a network namespace
	netns < zk

	# the one way to another process's files, and the readers of what they hold
	proctree < hsperf
	proctree, hsperf, jar < zk

	# what the process may do, in one table
	privilege < probe, lab, cmd/rstwhy, gen

	# siblings never import one another; the pipeline joins them
	event, probe, owner, zk, diagnose, sink, netns < pipeline

	# a document of a finished session: it words nothing that the sinks word already
	event, diagnose, sink < report

	# verbs: trace and check go through the pipeline, zk and explain ask a room
	event, probe, owner, zk, diagnose, sink, report, pipeline, lab < cmd/rstwhy

	# generators read the tables; the lab provokes resets and knows only their names
	event, probe, zk, diagnose, sink < gen
	event, probe, lab < bench
	event, lab < vm
	event < guest
	event < lab

	# tests only, which take Debian's mirror from the lab
	lab < release
`

// outsideRule says which packages may use what is not of this module, where
// not everybody may. A path covers what is below it.
const outsideRule = `
	# a tracer that runs as root starts no programs; the lab starts itself, and
	# make bench the tracer, make test-vm QEMU
	os/exec < lab, bench, vm

	# one room talks to the kernel
	github.com/cilium/ebpf < probe, gen, lab

	# flags and verbs are the command's
	github.com/spf13 < cmd/rstwhy, gen

	# so is the service manager
	github.com/coreos/go-systemd < cmd/rstwhy
`

// stdlibOnly are the packages that import neither this module nor any other.
var stdlibOnly = []string{"event"}

// bannedNames say nothing about what a package knows.
var bannedNames = []string{
	"util", "utils", "common", "helper", "helpers", "manager", "handler",
	"service", "core", "base", "types", "misc", "impl", "lib", "shared",
}

// listed is the part of `go list -json` that the rules need.
type listed struct {
	ImportPath string
	Name       string
	Imports    []string
}

func TestImportRule(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Name,Imports", "rstwhy/...").Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var packages []listed
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("decode go list: %v", err)
		}
		packages = append(packages, p)
	}
	if !slices.ContainsFunc(packages, func(p listed) bool { return p.ImportPath == "rstwhy/internal/event" }) {
		t.Fatalf("go list does not name rstwhy/internal/event, so this test saw nothing: %v", packages)
	}
	for _, p := range packages {
		for _, complaint := range complaints(p) {
			t.Error(complaint)
		}
	}
}

// TestImportRuleBites shows that each kind of offence is found, and that what
// the rule allows is let through.
func TestImportRuleBites(t *testing.T) {
	for _, tt := range []struct {
		name    string
		p       listed
		offence string // part of the complaint; empty: none
	}{
		{"pipeline joins", listed{"rstwhy/internal/pipeline", "pipeline", []string{"rstwhy/internal/zk", "rstwhy/internal/sink", "net"}}, ""},
		{"probe loads", listed{"rstwhy/internal/probe", "probe", []string{"github.com/cilium/ebpf/link", "rstwhy/internal/event"}}, ""},
		{"lab starts itself", listed{"rstwhy/internal/lab", "lab", []string{"os/exec"}}, ""},
		{"sibling", listed{"rstwhy/internal/sink", "sink", []string{"rstwhy/internal/diagnose"}}, "sink may not import diagnose"},
		{"report without the pipeline", listed{"rstwhy/internal/report", "report", []string{"rstwhy/internal/pipeline"}}, "report may not import pipeline"},
		{"report without flags", listed{"rstwhy/internal/report", "report", []string{"github.com/spf13/cobra"}}, "report may not import github.com/spf13"},
		{"upwards", listed{"rstwhy/internal/probe", "probe", []string{"rstwhy/internal/pipeline"}}, "probe may not import pipeline"},
		{"vocabulary with a dependency", listed{"rstwhy/internal/event", "event", []string{"golang.org/x/sys/unix"}}, "only the standard library"},
		{"exec", listed{"rstwhy/internal/owner", "owner", []string{"os/exec"}}, "owner may not import os/exec"},
		{"exec by the command", listed{"rstwhy/cmd/rstwhy", "main", []string{"os/exec"}}, "cmd/rstwhy may not import os/exec"},
		{"kernel by another room", listed{"rstwhy/internal/sink", "sink", []string{"github.com/cilium/ebpf/btf"}}, "sink may not import github.com/cilium/ebpf"},
		{"flags below the command", listed{"rstwhy/internal/pipeline", "pipeline", []string{"github.com/spf13/pflag"}}, "pipeline may not import github.com/spf13"},
		{"third level", listed{"rstwhy/internal/zk/parse", "parse", nil}, "third level"},
		{"banned name", listed{"rstwhy/internal/util", "util", nil}, "says nothing"},
		{"banned name under another path", listed{"rstwhy/internal/zk", "helpers", nil}, "says nothing"},
		{"unknown room", listed{"rstwhy/internal/attic", "attic", nil}, "not in importRule"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(complaints(tt.p), "\n")
			if tt.offence == "" && got != "" {
				t.Errorf("complains about what is allowed: %s", got)
			}
			if !strings.Contains(got, tt.offence) {
				t.Errorf("complaints %q, want one that says %q", got, tt.offence)
			}
		})
	}
}

// complaints tells what is wrong with one package of this module.
func complaints(p listed) []string {
	name := room(p.ImportPath)
	if name == "internal" { // this test alone
		return nil
	}
	var all []string
	complain := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }

	base := p.ImportPath[strings.LastIndexByte(p.ImportPath, '/')+1:]
	if slices.Contains(bannedNames, p.Name) || slices.Contains(bannedNames, base) {
		complain("%s: the name says nothing about what the package knows: put its content beside its caller", p.ImportPath)
	}
	if strings.Count(p.ImportPath, "/") > 2 {
		complain("%s: a third level: make it a file of its parent, or a room of its own", p.ImportPath)
	}
	allowed, restricted := parseRule(importRule), parseRule(outsideRule)
	if !slices.ContainsFunc(allowed, func(e edge) bool { return e.from == name || e.to == name }) {
		complain("%s: not in importRule: say there who may import it and what it may import", p.ImportPath)
	}
	for _, path := range p.Imports {
		if imported := room(path); imported != path {
			if !slices.Contains(allowed, edge{name, imported}) {
				complain("%s may not import %s: see importRule in internal/imports_test.go", name, imported)
			}
			continue
		}
		if first, _, _ := strings.Cut(path, "/"); slices.Contains(stdlibOnly, name) && strings.Contains(first, ".") {
			complain("%s imports %s, and may import only the standard library", name, path)
		}
		for _, outside := range restricted {
			if below(path, outside.to) && !slices.Contains(restricted, edge{name, outside.to}) {
				complain("%s may not import %s: see outsideRule in internal/imports_test.go", name, outside.to)
				break
			}
		}
	}
	return all
}

// edge says that from may import to.
type edge struct{ from, to string }

// parseRule turns "a, b < c" lines into c -> a and c -> b.
func parseRule(rule string) []edge {
	var edges []edge
	for line := range strings.Lines(rule) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		imported, importers, ok := strings.Cut(line, "<")
		if !ok {
			if line != "" {
				panic(fmt.Sprintf("import rule: no < in %q", line))
			}
			continue
		}
		for from := range strings.SplitSeq(importers, ",") {
			for to := range strings.SplitSeq(imported, ",") {
				edges = append(edges, edge{strings.TrimSpace(from), strings.TrimSpace(to)})
			}
		}
	}
	return edges
}

// room shortens a path of this module to the name that the rules use, and
// leaves others as they are.
func room(path string) string {
	short := strings.TrimPrefix(path, "rstwhy/")
	return strings.TrimPrefix(short, "internal/")
}

// below tells whether path is root or lies below it.
func below(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }
