package main

import (
	"fmt"
	"time"

	"rstwhy/internal/lab"
)

// soak watches rstwhy's memory while connections and resets come and go.
func (b *bench) soak() error {
	t := &table{}
	t.add("after", "resident", "operations so far")
	tr, err := startTracer(b.ctx, b.binary)
	if err != nil {
		return err
	}
	defer tr.kill()
	began, ops, next := time.Now(), uint64(0), time.Duration(0)
	step := max(time.Duration(b.minutes)*time.Minute/10, 5*time.Second)
	for end := time.Duration(b.minutes) * time.Minute; ; {
		if past := time.Since(began); past >= next {
			rss, err := field(fmt.Sprintf("/proc/%d/status", tr.pid()), "VmRSS")
			if err != nil {
				return err
			}
			t.add(past.Round(time.Second).String(), fmt.Sprintf("%.1f MiB", rss/(1<<20)), fmt.Sprint(ops))
			if next += step; past >= end {
				break
			}
		}
		for _, kind := range []lab.LoadKind{lab.Churn, lab.Linger, lab.Refused} {
			r, err := lab.RunLoad(b.ctx, kind, time.Second)
			if err != nil {
				return err
			}
			ops += r.Ops
		}
	}
	t.print()
	return nil
}
