package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"rstwhy/internal/lab"
)

// systemRun is one run of make test-guest: a Debian system with its own kernel,
// the packaged rstwhy, and the tests that need such a system.
type systemRun struct {
	suite string
	store store
	deb   string
	build string // directory of what is built
	only  string // steps whose name contains this
	limit time.Duration
	log   func(format string, args ...any)
}

func runSystem(ctx context.Context, args []string) (int, error) {
	f, cache := newFlags("system")
	s := systemRun{log: func(format string, args ...any) { fmt.Printf(format+"\n", args...) }}
	f.StringVar(&s.suite, "suite", systems[0].suite, "the Debian release")
	f.StringVar(&s.deb, "deb", "", "the package of rstwhy (make release)")
	f.StringVar(&s.build, "build", "bin/vm-guest", "`directory` for what is built")
	f.StringVar(&s.only, "steps", "", "only steps whose name contains this; provision runs in any case")
	f.DurationVar(&s.limit, "timeout", 30*time.Minute, "end the guest after this time")
	series := f.String("kernel", "", "another kernel than the release's own, such as 6.12")
	if err := f.Parse(args); err != nil {
		return 2, err
	}
	if f.NArg() > 0 {
		return 2, fmt.Errorf("vm system takes no argument %q", f.Arg(0))
	}
	if s.deb == "" {
		return 2, errors.New("vm system needs -deb, the package to install (make release makes dist/*.deb)")
	}
	c, err := s.kernel(*series)
	if err != nil {
		return 2, err
	}
	s.store = store{*cache, os.Stderr}
	return s.run(ctx, c)
}

// kernel is the release's own, or the one that was asked for.
func (s *systemRun) kernel(series string) (choice, error) {
	known := []string{}
	for _, r := range systems {
		known = append(known, r.suite)
		if r.suite == s.suite && series == "" {
			series = r.series
		}
	}
	if series == "" {
		return choice{}, fmt.Errorf("-suite %q: use one of %s", s.suite, strings.Join(known, ", "))
	}
	chosen, err := choose(series, runtime.GOARCH)
	if err != nil {
		return choice{}, err
	}
	return chosen[0], nil
}

func (s *systemRun) run(ctx context.Context, c choice) (int, error) {
	began := time.Now()
	files, err := s.files(ctx)
	if err != nil {
		return 1, err
	}
	k, err := s.store.fetch(ctx, c.series, c.suites, c.arch)
	if err != nil {
		return 1, err
	}
	image, err := s.store.root(ctx, s.suite, c.arch)
	if err != nil {
		return 1, err
	}
	s.log("Debian %s on Linux %s (package version %s), %s, ready after %.0f s", s.suite, k.release, k.version, filepath.Base(s.deb), time.Since(began).Seconds())
	began = time.Now()
	output, guest := io.Pipe()
	b := boot{
		kernel: k, files: files, dir: "/", args: []string{"/vm/init", "steps"}, memory: "3G", root: image, limit: s.limit,
		env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb", "LANG=C.UTF-8", "CI=true", "RSTWHY_ROOT=1",
			"RSTWHY_BINARY=/usr/bin/rstwhy", "XDG_CACHE_HOME=" + systemCache},
		console: filepath.Join(s.build, "console-"+s.suite+".txt"), output: guest, log: os.Stderr,
	}
	told := make(chan error, 1)
	go func() { told <- s.tell(output) }()
	_, err = b.run(ctx)
	guest.Close()
	if err = errors.Join(err, <-told); err != nil {
		return 1, err
	}
	s.log("Debian %s on Linux %s: all passed, %.0f s", s.suite, k.release, time.Since(began).Seconds())
	return 0, nil
}

const (
	systemSource = "/vm/src"
	systemCache  = "/vm/cache"
	systemDeb    = "/vm/rstwhy.deb"
)

// steps are what runs in the system, in this order.
func (s *systemRun) steps() (all []step) {
	test := func(name, program, dir, run string, limit time.Duration) step {
		return step{Name: name, Dir: systemSource + "/" + dir, Limit: limit + time.Minute,
			Args: []string{"/vm/test/" + program, "-test.v", "-test.count=1", "-test.timeout=" + limit.String(), "-test.run=" + run}}
	}
	for _, st := range []step{
		{Name: "provision", Args: []string{systemSource + "/" + provisionScript, "all", systemDeb}, Limit: 5 * time.Minute},
		test("system", "guest", "internal/guest", "^TestSystem", 5*time.Minute),
		test("service", "guest", "internal/guest", "^TestService", 5*time.Minute),
		test("tour", "guest", "internal/guest", "^TestTour", 10*time.Minute),
		test("zookeeper", "rstwhy", "cmd/rstwhy", zookeeperTests, 20*time.Minute),
	} {
		if st.Name == "provision" || strings.Contains(st.Name, s.only) {
			all = append(all, st)
		}
	}
	return all
}

// zookeeperTests are the end-to-end tests with real servers. The one that
// measures hundreds of resets, TestZooKeeperMatrix, is make test's.
const zookeeperTests = "^(TestZooKeeper|TestZooKeeperDiscovery)$"

// files are what the guest gets beside its root.
func (s *systemRun) files(ctx context.Context) ([]placed, error) {
	if err := os.MkdirAll(s.build, 0o755); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	steps, err := json.Marshal(s.steps())
	if err != nil {
		return nil, err
	}
	list := filepath.Join(s.build, "steps-"+s.suite+".json")
	if err := os.WriteFile(list, steps, 0o644); err != nil {
		return nil, err
	}
	all := []placed{{self, "/vm/init"}, {list, stepsFile}, {s.deb, systemDeb}}
	for name, pkg := range map[string]string{"guest": "./internal/guest", "rstwhy": "./cmd/rstwhy"} {
		program := filepath.Join(s.build, name+".test")
		if err := goBuild(ctx, runtime.GOARCH, "test", "-c", "-tags", "guest", "-trimpath", "-o", program, pkg); err != nil {
			return nil, err
		}
		all = append(all, placed{program, "/vm/test/" + name})
	}
	source, err := tracked(ctx, systemSource)
	if err != nil {
		return nil, err
	}
	servers, err := zookeepers(ctx)
	return append(append(all, source...), servers...), err
}

// zookeepers are the servers and clients that the tests would fetch, and the
// guest has no network.
func zookeepers(ctx context.Context) (all []placed, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	cache = filepath.Join(cache, "rstwhy")
	for _, r := range lab.ZKReleases {
		if _, err := r.Fetch(ctx, cache); err != nil {
			return nil, err
		}
		for _, name := range []string{"root", "complete"} {
			below := filepath.Join("zookeeper-"+r.Suite, name)
			all = append(all, placed{filepath.Join(cache, below), filepath.Join(systemCache, "rstwhy", below)})
		}
	}
	return all, nil
}

// tell prints what became of each step as it comes, and what failed.
func (s *systemRun) tell(r io.Reader) error {
	var failures []error
	dec := json.NewDecoder(r)
	for _, st := range s.steps() {
		var o outcome
		if err := dec.Decode(&o); err != nil {
			rest, _ := io.ReadAll(io.MultiReader(dec.Buffered(), r))
			failures = append(failures, fmt.Errorf("the guest ended before the step %q: %w: %.2000q", st.Name, err, rest))
			break
		}
		verdict := "ok"
		if o.Status != 0 || o.Error != "" {
			verdict = fmt.Sprintf("FAILED, exit status %d %s", o.Status, o.Error)
			failures = append(failures, fmt.Errorf("%s: exit status %d %s", o.Name, o.Status, o.Error))
		}
		s.log("===== %s: %s, %.0f s\n%s", o.Name, verdict, o.Took.Seconds(), "    "+strings.ReplaceAll(strings.TrimSpace(o.Output), "\n", "\n    "))
	}
	_, _ = io.Copy(io.Discard, r) // else the guest could not write on
	return errors.Join(failures...)
}
