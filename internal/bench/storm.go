package main

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"rstwhy/internal/lab"
)

const (
	stormRounds = 2
	stormAlone  = 2 * time.Second
	stormTraced = 4 * time.Second
)

// storm provokes resets as fast as one thread can, and as both CPUs can, with nothing else watching
// and then with rstwhy writing JSON into a pipe.
func (b *bench) storm() error {
	t := &table{}
	t.add("storm", "RST sent", "events seen", "against twice the RST", "told", "counted", "lost", "events/s with, alone", "ratio", "rstwhy, of one core", "load's CPU, ratio")
	for _, s := range []struct {
		kind   lab.LoadKind
		atOnce int
		port   int
		name   string
	}{
		{lab.Linger, 1, lab.LoadPort, "SO_LINGER 0 on close"},
		{lab.Linger, 2, lab.LoadPort, "the same by two processes at once"},
		{lab.Refused, 1, lab.ClosedPort, "connect to a closed port"},
		{lab.Spread, 1, lab.ClosedPort, "the same at 1,000 addresses"},
		{lab.Spread, 2, lab.ClosedPort, "the same by two processes at once"},
	} {
		for range stormRounds {
			if err := b.stormRound(t, s.kind, s.atOnce, s.port, s.name); err != nil {
				return err
			}
		}
	}
	t.print()
	return nil
}

func (b *bench) stormRound(t *table, kind lab.LoadKind, atOnce, port int, name string) error {
	alone, err := b.together(kind, atOnce, stormAlone)
	if err != nil {
		return err
	}
	// The filter keeps what others do on the host out of the account.
	tr, err := startTracer(b.ctx, b.binary, "-P", strconv.Itoa(port))
	if err != nil {
		return err
	}
	if err := b.remember(tr, "idle, hooks attached"); err != nil {
		return err
	}
	traced, err := b.together(kind, atOnce, stormTraced)
	if err != nil {
		tr.kill()
		return err
	}
	if err := b.remember(tr, "after a storm ("+name+")"); err != nil {
		return err
	}
	o, err := tr.stop()
	if err != nil {
		return err
	}
	a := o.Account
	seen := a.Seen - a.Filtered
	// Each RST is sent and, since both ends are here, received. A difference is
	// shown, not judged: see docs/benchmarks.md.
	rate := func(r lab.LoadResult) float64 { return 2 * float64(r.Resets) / r.Wall.Seconds() }
	t.add(name, fmt.Sprint(traced.Resets), fmt.Sprint(seen), fmt.Sprintf("%+d", int64(seen)-int64(2*traced.Resets)), fmt.Sprint(a.Delivered), fmt.Sprint(a.Aggregated), fmt.Sprint(a.Lost),
		fmt.Sprintf("%.0f, %.0f", rate(traced), rate(alone)), fmt.Sprintf("%.2f", rate(traced)/rate(alone)),
		fmt.Sprintf("%.1f %%", 100*o.cpu.Seconds()/traced.Wall.Seconds()),
		fmt.Sprintf("%.2f", float64(traced.CPUPerOp())/float64(alone.CPUPerOp())))
	return nil
}

// together runs n loads of a kind at once and adds up what they did.
func (b *bench) together(kind lab.LoadKind, n int, d time.Duration) (sum lab.LoadResult, err error) {
	var list []*lab.Load
	defer func() {
		for _, l := range list {
			l.Close()
		}
	}()
	for range n {
		l, err := lab.PrepareLoad(b.ctx, kind, d)
		if err != nil {
			return sum, err
		}
		list = append(list, l)
	}
	type done struct {
		r   lab.LoadResult
		err error
	}
	results := make(chan done, n)
	for _, l := range list {
		go func() {
			r, err := l.Run()
			results <- done{r, err}
		}()
	}
	for range list {
		x := <-results
		err = errors.Join(err, x.err)
		sum.Ops, sum.Resets, sum.CPU, sum.Wall = sum.Ops+x.r.Ops, sum.Resets+x.r.Resets, sum.CPU+x.r.CPU, max(sum.Wall, x.r.Wall)
	}
	return sum, err
}

// synthetic runs the benchmark of user space alone, which no kernel on a small
// machine can feed: BenchmarkStormSecond in internal/pipeline.
func (b *bench) synthetic() error {
	var core []float64
	for range hookRounds {
		out, err := exec.CommandContext(b.ctx, b.storms, "-test.run=^$", "-test.bench=^BenchmarkStormSecond$", "-test.benchtime=20x").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w (make bench builds it)\n%s", b.storms, err, out)
		}
		v, err := metric(string(out), "core-%")
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", b.storms, err, out)
		}
		core = append(core, v)
	}
	t := &table{}
	t.add("resets a second", "pairs of owner and remote", "told one by one", "counted", "user space, of one core")
	t.add("200000", "1000", "2000", "198000", spread(core, "%.1f")+" %")
	t.print()
	return nil
}

// metric finds a figure by its unit in what go test -bench prints.
func metric(out, unit string) (float64, error) {
	f := strings.Fields(out)
	for i := 1; i < len(f); i++ {
		if f[i] == unit {
			return strconv.ParseFloat(f[i-1], 64)
		}
	}
	return 0, fmt.Errorf("no figure in %s", unit)
}
