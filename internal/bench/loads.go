package main

import (
	"fmt"
	"time"

	"rstwhy/internal/lab"
)

// loads runs the same load without and with rstwhy in turn: each pair is its
// own comparison, so that what else the host does meanwhile cancels.
func (b *bench) loads() error {
	t := &table{}
	t.add("load", "pairs", "CPU an operation, alone", "with rstwhy", "ratio, pair by pair", "operations/s, ratio", "the ratios")
	for _, l := range []struct {
		kind  lab.LoadKind
		pairs int
		time  time.Duration
		name  string
	}{
		{lab.Churn, 7, 2 * time.Second, "connect, 64 bytes each way, close"},
		{lab.PingPong, 3, time.Second, "64 bytes each way on one connection"},
		{lab.Bulk, 3, time.Second, "1 MiB on one connection"},
	} {
		var alone, with, cpu, rate []float64
		list := ""
		for range l.pairs {
			x, y, err := b.pair(l.kind, l.time)
			if err != nil {
				return err
			}
			alone, with = append(alone, micro(x.CPUPerOp())), append(with, micro(y.CPUPerOp()))
			cpu = append(cpu, float64(y.CPUPerOp())/float64(x.CPUPerOp()))
			rate = append(rate, float64(y.Ops)/y.Wall.Seconds()/(float64(x.Ops)/x.Wall.Seconds()))
			list += fmt.Sprintf("%.3f ", cpu[len(cpu)-1])
		}
		t.add(l.name, fmt.Sprint(l.pairs), spread(alone, "%.2f")+" µs", spread(with, "%.2f")+" µs",
			spread(cpu, "%.3f"), spread(rate, "%.3f"), list)
	}
	t.print()
	return nil
}

func micro(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

func (b *bench) pair(kind lab.LoadKind, d time.Duration) (alone, with lab.LoadResult, err error) {
	if alone, err = lab.RunLoad(b.ctx, kind, d); err != nil {
		return alone, with, err
	}
	tr, err := startTracer(b.ctx, b.binary)
	if err != nil {
		return alone, with, err
	}
	if with, err = lab.RunLoad(b.ctx, kind, d); err != nil {
		tr.kill()
		return alone, with, err
	}
	_, err = tr.stop()
	return alone, with, err
}
