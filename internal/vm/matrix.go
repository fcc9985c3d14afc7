package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// subset is what continuous integration boots, within about five minutes: the
// oldest kernel, the newest, one between them, and the other architecture.
var subset = []string{"5.10-amd64", "6.1-amd64", "7-amd64", "6.12-arm64"}

// matrix is one run of make test-vm.
type matrix struct {
	store   store
	chosen  []choice
	build   string // directory of what is built
	docs    string // directory of the results that are kept
	ldflags string
	only    string // part of the suites' names
	limit   time.Duration
	subset  bool
	log     func(format string, args ...any)
}

func runMatrix(ctx context.Context, args []string) (int, error) {
	f, cache := newFlags("matrix")
	m := matrix{docs: "docs", log: func(format string, args ...any) { fmt.Printf(format+"\n", args...) }}
	names := f.String("kernels", "", "only these, such as 5.10,6.12-arm64")
	f.BoolVar(&m.subset, "subset", false, "only what fits in about five minutes, for continuous integration; it says what it leaves out")
	write := f.Bool("write", false, "write docs/kernels.md and docs/kernels from what was seen, instead of comparing")
	f.StringVar(&m.build, "build", "bin/vm-guest", "`directory` for what is built")
	f.StringVar(&m.ldflags, "ldflags", "-s -w", "for rstwhy")
	f.StringVar(&m.only, "suites", "", "only the test suites whose `name` contains this; - is in none")
	f.DurationVar(&m.limit, "timeout", 25*time.Minute, "end a guest after this time")
	if err := f.Parse(args); err != nil {
		return 2, err
	}
	if f.NArg() > 0 {
		return 2, fmt.Errorf("vm matrix takes no argument %q: use -kernels", f.Arg(0))
	}
	all, err := choose("", "")
	if err != nil {
		return 2, err
	}
	if m.subset && *names == "" {
		*names = strings.Join(subset, ",")
	}
	if m.chosen, err = choose(*names, ""); err != nil {
		return 2, err
	}
	m.store = store{*cache, os.Stderr}
	for _, c := range all {
		if !slices.ContainsFunc(m.chosen, func(x choice) bool { return x.String() == c.String() }) {
			m.log("left out: kernel %s (make test-vm boots all)", c)
		}
	}
	for _, s := range suites {
		if !m.wants(s) {
			m.log("left out: the tests %s (make test-vm runs all)", s.name)
		}
	}
	return m.run(ctx, *write)
}

// run boots the kernels one after the other and judges them together.
func (m *matrix) run(ctx context.Context, write bool) (int, error) {
	var results []result
	var failures []error
	built := map[string]*artefacts{}
	for _, c := range m.chosen {
		if built[c.arch] == nil {
			a, err := m.make(ctx, c.arch)
			if err != nil {
				return 1, err
			}
			built[c.arch] = a
		}
		k, err := m.store.fetch(ctx, c.series, c.suites, c.arch)
		if err != nil {
			return 1, err
		}
		r, err := m.boot(ctx, k, built[c.arch])
		if ctx.Err() != nil {
			return 1, ctx.Err()
		}
		if err != nil {
			failures = append(failures, err)
			m.log("FAILED %v", err)
			if trouble, ok := errors.AsType[*guestError](err); ok {
				m.log("the kernel's console, all of it:\n%s", trouble.console)
			}
		}
		if r == nil {
			continue
		}
		results = append(results, *r)
		failures = append(failures, r.failures()...)
	}
	m.log("\n%s", table(results))
	if write {
		if err := save(m.docs, results); err != nil {
			return 1, err
		}
	} else {
		failures = append(failures, compare(m.docs, results)...)
	}
	if len(failures) > 0 {
		return 1, fmt.Errorf("the kernels differ from what must be:\n%w", errors.Join(failures...))
	}
	m.log("All %d kernels passed.", len(results))
	return 0, nil
}

// artefacts are what is built for one architecture.
type artefacts struct {
	rstwhy string
	size   int64
	tests  map[string]string // package: program
}

// make builds rstwhy and the tests, as static programs.
func (m *matrix) make(ctx context.Context, arch string) (*artefacts, error) {
	m.log("building for %s", arch)
	dir := filepath.Join(m.build, arch)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	a := &artefacts{rstwhy: filepath.Join(dir, "rstwhy"), tests: map[string]string{}}
	if err := goBuild(ctx, arch, "build", "-trimpath", "-ldflags", m.ldflags, "-o", a.rstwhy, "./cmd/rstwhy"); err != nil {
		return nil, err
	}
	st, err := os.Stat(a.rstwhy)
	if err != nil {
		return nil, err
	}
	a.size = st.Size()
	for _, s := range suites {
		if !m.wants(s) || a.tests[s.pkg] != "" {
			continue
		}
		a.tests[s.pkg] = filepath.Join(dir, filepath.Base(s.pkg)+".test")
		if err := goBuild(ctx, arch, "test", "-c", "-tags", "guest", "-trimpath", "-o", a.tests[s.pkg], "./"+s.pkg); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (m *matrix) wants(s suite) bool {
	return strings.Contains(s.name, m.only) && !(m.subset && s.long)
}

func goBuild(ctx context.Context, arch string, args ...string) error {
	c := exec.CommandContext(ctx, "go", args...)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

const (
	guestBinary = "/bin/rstwhy"
	guestSource = "/src" // tests read their packages' testdata, and pages of docs
	proveJSON   = "/tmp/prove.json"
)

// boot runs all steps on one kernel.
func (m *matrix) boot(ctx context.Context, k kernel, a *artefacts) (*result, error) {
	began := time.Now()
	m.log("%s: Linux %s, package version %s", k, k.release, k.version)
	steps := m.steps(a)
	text, err := json.Marshal(steps)
	if err != nil {
		return nil, err
	}
	stepsHost := filepath.Join(m.build, "steps-"+k.String()+".json")
	if err := os.WriteFile(stepsHost, text, 0o644); err != nil {
		return nil, err
	}
	files, err := m.files(ctx, k, a)
	if err != nil {
		return nil, err
	}
	var output bytes.Buffer
	b := boot{
		kernel: k, dir: "/", args: []string{"/init", "steps"}, memory: "1G", limit: m.limit,
		files:   append(files, placed{stepsHost, stepsFile}),
		env:     []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb", "CI=true", "RSTWHY_ROOT=1", "RSTWHY_BINARY=" + guestBinary},
		console: filepath.Join(m.build, "console-"+k.String()+".txt"), output: &output, log: os.Stderr,
	}
	_, bootErr := b.run(ctx)
	if err := os.WriteFile(filepath.Join(m.build, "output-"+k.String()+".json"), output.Bytes(), 0o644); err != nil {
		return nil, err
	}
	r, err := readResult(k, a.size, steps, output.Bytes())
	if err = errors.Join(bootErr, err); err != nil {
		return r, err
	}
	m.log("%s: %d programs, %.0f s\n%s", k, len(steps), time.Since(began).Seconds(), r.tests())
	return r, nil
}

// files are what every guest gets: the programs, and the tracked files, which
// tests read.
func (m *matrix) files(ctx context.Context, k kernel, a *artefacts) ([]placed, error) {
	dir, err := m.store.programs(ctx, k.arch)
	if err != nil {
		return nil, err
	}
	all := append(placeAll(dir), placed{a.rstwhy, guestBinary})
	for pkg, program := range a.tests {
		all = append(all, placed{program, testProgram(pkg)})
	}
	source, err := tracked(ctx, guestSource)
	return append(all, source...), err
}

// tracked are the files of the work tree that git knows, below a directory of the
// guest's.
func tracked(ctx context.Context, to string) (all []placed, err error) {
	names, err := command(ctx, "", "git", "ls-files", "-z", "cmd", "internal", "docs", "bpf", "deploy", "go.mod", "README.md", "CHANGELOG.md")
	if err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(strings.TrimRight(names, "\x00"), "\x00") {
		if _, err := os.Lstat(name); err == nil { // not removed in the work tree
			all = append(all, placed{name, filepath.Join(to, name)})
		}
	}
	return all, nil
}

func testProgram(pkg string) string { return "/test/" + filepath.Base(pkg) + ".test" }
