package main

import (
	"fmt"
	"strconv"
	"time"

	"rstwhy/internal/lab"
)

const (
	stormRounds = 2
	stormAlone  = 2 * time.Second
	stormTraced = 4 * time.Second
)

// storm provokes resets as fast as one thread can, with nothing else watching
// and then with rstwhy writing JSON into a pipe.
func (b *bench) storm() error {
	t := &table{}
	t.add("storm", "RST sent", "events seen", "against twice the RST", "told", "counted", "lost", "events/s with, alone", "ratio", "rstwhy, of one core", "load's CPU, ratio")
	for _, s := range []struct {
		kind lab.LoadKind
		port int
		name string
	}{
		{lab.Linger, lab.LoadPort, "SO_LINGER 0 on close"},
		{lab.Refused, lab.ClosedPort, "connect to a closed port"},
	} {
		for range stormRounds {
			if err := b.stormRound(t, s.kind, s.port, s.name); err != nil {
				return err
			}
		}
	}
	t.print()
	return nil
}

func (b *bench) stormRound(t *table, kind lab.LoadKind, port int, name string) error {
	alone, err := lab.RunLoad(b.ctx, kind, stormAlone)
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
	traced, err := lab.RunLoad(b.ctx, kind, stormTraced)
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
