package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"rstwhy/internal/lab"
)

// dataPath counts the runs of every program while data flows on an open
// connection, and while the same connection is opened and closed without any.
// They are the same where no program runs for a segment or a system call.
func (b *bench) dataPath() error {
	t := &table{}
	t.add("load", "operations", "bytes", "runs of all programs", "without any operation", "which")
	err := b.watched(func(tr *tracer) error {
		for _, l := range []struct {
			kind  lab.LoadKind
			name  string
			bytes uint64
		}{{lab.PingPong, "64 bytes each way on one connection", 128}, {lab.Bulk, "1 MiB on one connection", 1 << 20}} {
			none, err := b.timed(tr, l.kind, 0)
			if err != nil {
				return err
			}
			r, err := b.timed(tr, l.kind, 2*hookRun)
			if err != nil {
				return err
			}
			runs, which := r.all()
			idle, _ := none.all()
			t.add(l.name, fmt.Sprint(r.load.Ops), mib(float64(r.load.Ops*l.bytes)), fmt.Sprint(runs), fmt.Sprint(idle), which)
		}
		return nil
	})
	t.print()
	return err
}

// all counts the runs of the tracer's programs, whatever they are.
func (t timing) all() (sum uint64, which string) {
	var list []string
	for name, r := range t.runs {
		if name == floorProgram || name == dropFloor || r.Count == 0 {
			continue
		}
		sum += r.Count
		list = append(list, fmt.Sprintf("%s %d", name, r.Count))
	}
	slices.Sort(list)
	return sum, strings.Join(list, ", ")
}

// drops times the hook of refused resets while packets are dropped, below the
// rate at which it detaches.
func (b *bench) drops() error {
	t := &table{}
	t.add("load", "drops a second", "ns a run", "empty program, ns", "ratio", "more, ns")
	err := b.watched(func(tr *tracer) error {
		for _, l := range []struct {
			kind lab.LoadKind
			name string
		}{{lab.Dropped, "UDP packets that nft drops"}, {lab.DropTCP, "TCP segments without RST that nft drops"}} {
			var rate, mean, floor, ratio, more []float64
			for range hookRounds {
				r, err := b.timed(tr, l.kind, time.Second)
				if err != nil {
					return err
				}
				p, f := r.runs[dropProgram], r.runs[dropFloor]
				if p.Count < r.load.Ops/2 || f.Count < r.load.Ops/2 {
					return fmt.Errorf("%d packets were dropped, and %s ran %d times: it was detached, or nft dropped nothing", r.load.Ops, dropProgram, p.Count)
				}
				rate = append(rate, float64(r.load.Ops)/r.load.Wall.Seconds())
				mean, floor, ratio = append(mean, p.Mean()), append(floor, f.Mean()), append(ratio, p.Mean()/f.Mean())
				more = append(more, p.Mean()-f.Mean())
			}
			t.add(l.name, fmt.Sprintf("%.0f", median(rate)), spread(mean, "%.0f"), spread(floor, "%.0f"), spread(ratio, "%.2f"), spread(more, "%.0f"))
		}
		return nil
	})
	t.print()
	return err
}
