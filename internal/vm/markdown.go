package main

import (
	"fmt"
	"slices"
	"strings"
)

// page is docs/kernels.md.
func page(results []result) string {
	var b strings.Builder
	b.WriteString(`# Kernels

What rstwhy does on Debian's kernels, seen by booting each of them in QEMU
(internal/vm) and running in it ` + "`rstwhy check`, `rstwhy check --prove`" + ` and the compiled
tests. This page is written by the run, and every run is compared with it:

    make test-vm                  # all kernels, compare
    make test-vm ARGS=-write      # all kernels, write this page anew

Which kernel is newest is looked up each time. What the commands printed is in
[kernels/](kernels/). Times are those of an emulated CPU (no KVM), good for comparing rows only.

| kernel | Linux | package | seen on | binary | ready after | resets made | right | wrong | lost | invisible | cannot | tests passed |
|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|
`)
	for _, r := range results {
		made, by, tests := 0, map[string]int{}, 0
		for _, c := range r.Causes {
			made += c.Made
			by[c.Outcome]++
		}
		for _, t := range r.Tests {
			tests += t.Passed
		}
		fmt.Fprintf(&b, "| [%s](kernels/%s.txt) | %s | %s | %s | %.1f MB | %d ms | %d | %d | %d | %d | %d | %d | %d |\n", r.name(), r.name(), r.Release, r.Package, r.Date,
			float64(r.Size)/1e6, r.StartMS, made, by[outcomeRight], by[outcomeWrong], by[outcomeLost], by[outcomeInvisible], by[outcomeCannot], tests)
	}
	b.WriteString(`
## Causes
*right*: each reset that was made was told with the right cause, process, actor and effect.
*wrong*: told, and something of it was not so. *lost*: not told. *invisible*: this kernel
shows nothing of it, and ` + "`rstwhy check`" + ` says so. *cannot*: not provoked in the guest. The
reasons are below.

`)
	writeGrid(&b, grid(results, causes))
	writeReasons(&b, results)
	b.WriteString(`
## Run again
What fails is run again, twice at most: an emulated machine misses deadlines, of the
scenarios' and of rstwhy's. What a kernel makes wrong is wrong each time. These failed
once and did not later.

`)
	writeAgain(&b, results)
	b.WriteString(`
## Hooks
*off*: only with a flag of ` + "`rstwhy trace`" + `. *needless*: others tell the same on this kernel.
*limited*: attached, and this kernel does not tell it everything. What is lost with a
hook that is limited or missing is below.

`)
	writeGrid(&b, grid(results, hooks))
	writeMissing(&b, results)
	b.WriteString("\n## Tests\nThe numbers of passed tests; of those that were skipped, the test's own words.\n\n")
	writeGrid(&b, grid(results, suitesPassed))
	writeSkipped(&b, results)
	return b.String()
}

func writeGrid(b *strings.Builder, rows [][]string) {
	for i, row := range rows {
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
}

// notes says each thing once, with the kernels that it is about.
type notes struct {
	order   []string
	kernels map[string][]string
}

func (n *notes) add(note, kernel string) {
	if n.kernels == nil {
		n.kernels = map[string][]string{}
	}
	if n.kernels[note] == nil {
		n.order = append(n.order, note)
	}
	if !slices.Contains(n.kernels[note], kernel) {
		n.kernels[note] = append(n.kernels[note], kernel)
	}
}

func (n *notes) write(b *strings.Builder, all int) {
	if len(n.order) > 0 {
		b.WriteByte('\n')
	}
	for _, note := range n.order {
		where := strings.Join(n.kernels[note], ", ")
		if len(n.kernels[note]) == all {
			where = "all kernels"
		}
		fmt.Fprintf(b, "- %s: %s\n", where, note)
	}
}

func writeReasons(b *strings.Builder, results []result) {
	var n notes
	for _, r := range results {
		for _, c := range r.Causes {
			if c.Outcome != outcomeRight {
				n.add(fmt.Sprintf("%s %s is *%s*: %s", c.Direction, c.Cause, c.Outcome, plain(strings.Join(c.Why, "; "))), r.name())
			}
		}
	}
	n.write(b, len(results))
}

func writeAgain(b *strings.Builder, results []result) {
	found := false
	for _, r := range results {
		for _, a := range r.Again {
			found = true
			fmt.Fprintf(b, "- %s: %s\n", r.name(), plain(a))
		}
	}
	if !found {
		b.WriteString("Nothing.\n")
	}
}

func writeMissing(b *strings.Builder, results []result) {
	var n notes
	for _, r := range results {
		for _, h := range r.Hooks {
			for _, l := range h.Limits {
				n.add(fmt.Sprintf("%s is *limited*: %s", h.Name, plain(l.Lost)), r.name())
			}
			if h.state() == "missing" {
				n.add(fmt.Sprintf("%s is *missing*; lost: %s. %s", h.Name, plain(h.Without), plain(h.Why)), r.name())
			}
		}
	}
	n.write(b, len(results))
}

func suitesPassed(r *result) map[string]string {
	m := map[string]string{}
	for _, t := range r.Tests {
		m[t.Name] = fmt.Sprint(t.Passed)
		if len(t.Failed) > 0 {
			m[t.Name] += fmt.Sprintf(", %d failed", len(t.Failed))
		}
	}
	return m
}

func writeSkipped(b *strings.Builder, results []result) {
	var n notes
	for _, s := range suites {
		for _, l := range s.skip {
			for _, r := range results {
				n.add(fmt.Sprintf("%s: %s is not run: %s", s.name, plain(l.tests), l.why), r.name())
			}
		}
	}
	for _, r := range results {
		for _, t := range r.Tests {
			for _, s := range t.Skipped {
				n.add(fmt.Sprintf("%s: skipped %s", t.Name, plain(s)), r.name())
			}
		}
	}
	n.write(b, len(results))
}

// plain is a text for a line of Markdown: bounded, on one line, no markup.
func plain(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 400 {
		s = strings.ToValidUTF8(s[:400], "") + "..."
	}
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`, "_", `\_`).Replace(s)
}
