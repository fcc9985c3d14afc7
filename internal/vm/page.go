package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The results are kept as docs/kernels/NAME.json and what rstwhy printed as
// docs/kernels/NAME.txt; docs/kernels.md is made of all that are kept, so that a
// run of some kernels replaces only theirs.

func resultFile(docs, name, ext string) string { return filepath.Join(docs, "kernels", name+ext) }

func save(docs string, results []result) error {
	if err := os.MkdirAll(filepath.Join(docs, "kernels"), 0o755); err != nil {
		return err
	}
	for _, r := range results {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", " ")
		if err := enc.Encode(r); err != nil {
			return err
		}
		if err := os.WriteFile(resultFile(docs, r.name(), ".json"), b.Bytes(), 0o644); err != nil {
			return err
		}
		if err := os.WriteFile(resultFile(docs, r.name(), ".txt"), []byte(r.text), 0o644); err != nil {
			return err
		}
	}
	return renderPage(docs)
}

func renderPage(docs string) error {
	all, err := kept(docs)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(docs, "kernels.md"), []byte(page(all)), 0o644)
}

func writePage(context.Context, []string) (int, error) { return 0, renderPage("docs") }

// kept reads the results that are kept, in the order of the table of kernels.
func kept(docs string) (all []result, err error) {
	chosen, err := choose("", "")
	if err != nil {
		return nil, err
	}
	for _, c := range chosen {
		b, err := os.ReadFile(resultFile(docs, c.String(), ".json"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var r result
		if err := json.Unmarshal(b, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", resultFile(docs, c.String(), ".json"), err)
		}
		all = append(all, r)
	}
	return all, nil
}

// compare tells where a run differs from what is kept: in causes, their outcomes
// and hooks. Versions, dates, counts and times may differ.
func compare(docs string, results []result) (differ []error) {
	all, err := kept(docs)
	if err != nil {
		return []error{err}
	}
	for _, r := range results {
		i := slices.IndexFunc(all, func(k result) bool { return k.name() == r.name() })
		if i < 0 {
			differ = append(differ, fmt.Errorf("%s: docs/kernels.md does not have it: make test-vm ARGS=-write, and commit it", r.name()))
			continue
		}
		was, is := all[i].facts(), r.facts()
		for _, what := range sortedKeys(was, is) {
			if was[what] != is[what] {
				differ = append(differ, fmt.Errorf("%s: %s: docs/kernels.md says %q, this run %q: if the run is right, make test-vm ARGS=-write, and commit it", r.name(), what, orAbsent(was[what]), orAbsent(is[what])))
			}
		}
	}
	return differ
}

func orAbsent(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// facts are what must be the same each time.
func (r *result) facts() map[string]string {
	f := map[string]string{}
	for _, c := range r.Causes {
		f[c.Direction+" "+c.Cause] = c.Outcome
	}
	for _, h := range r.Hooks {
		f["hook "+h.Name] = h.state()
		for _, l := range h.Limits {
			f["hook "+h.Name+", limit "+l.ID] = "named"
		}
	}
	return f
}

func (h hook) state() string {
	switch {
	case h.Attached && len(h.Limits) > 0:
		return "limited"
	case h.Attached:
		return "attached"
	case h.Needless:
		return "needless"
	case h.Flag != "":
		return "off"
	}
	return "missing"
}

func sortedKeys(maps ...map[string]string) (keys []string) {
	for _, m := range maps {
		for k := range m {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// grid is a table of something by kernel; the kernels' order is kept, and that
// of the rows is alphabetical.
func grid(results []result, cell func(*result) map[string]string) (rows [][]string) {
	var all []map[string]string
	header := []string{""}
	for i := range results {
		all = append(all, cell(&results[i]))
		header = append(header, results[i].name())
	}
	rows = append(rows, header)
	for _, key := range sortedKeys(all...) {
		row := []string{key}
		for _, m := range all {
			row = append(row, m[key])
		}
		rows = append(rows, row)
	}
	return rows
}

func causes(r *result) map[string]string {
	m := map[string]string{}
	for _, c := range r.Causes {
		m[c.Direction+" "+c.Cause] = c.Outcome
	}
	return m
}

func hooks(r *result) map[string]string {
	m := map[string]string{}
	for _, h := range r.Hooks {
		m[h.Name] = h.state()
	}
	return m
}

// table is what a run prints at its end.
func table(results []result) string {
	var b strings.Builder
	write := func(rows [][]string) {
		for _, row := range rows {
			fmt.Fprintf(&b, "%-36s", row[0])
			for _, cell := range row[1:] {
				fmt.Fprintf(&b, " %-12s", cell)
			}
			b.WriteByte('\n')
		}
	}
	write(grid(results, causes))
	for _, r := range results {
		fmt.Fprintf(&b, "%-12s Linux %s, %s: %s; ready %d ms after its start\n", r.name(), r.Release, r.Date, r.sum(), r.StartMS)
	}
	return b.String()
}

// sum counts the resets that were made by their cause's outcome.
func (r *result) sum() string {
	resets, by := 0, map[string]int{}
	for _, c := range r.Causes {
		resets += c.Made
		by[c.Outcome]++
	}
	s := fmt.Sprintf("%d resets of %d causes: %d right, %d wrong, %d lost, %d invisible, %d cannot", resets, len(r.Causes), by[outcomeRight], by[outcomeWrong], by[outcomeLost], by[outcomeInvisible], by[outcomeCannot])
	if n := by[outcomeUnfinished]; n > 0 {
		s += fmt.Sprintf(", %d not finished", n)
	}
	return s
}
