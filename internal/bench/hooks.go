package main

import (
	"fmt"
	"os"
	"time"

	"rstwhy/internal/lab"
	"rstwhy/internal/probe"
)

const (
	hookRounds = 5
	hookRun    = 1500 * time.Millisecond

	stateProgram = "tp_btf__inet_sock_set_state"
	floorProgram = "empty__inet_sock_set_state"
)

var timedPrograms = []string{
	stateProgram, "tp_btf__tcp_destroy_sock",
	"tp_btf__tcp_send_reset", "shadow__tcp_send_reset", "tp_btf__tcp_receive_reset", "shadow__tcp_receive_reset",
}

// timing is what the programs did during one load.
type timing struct {
	load lab.LoadResult
	runs map[string]probe.Runs
}

func (t timing) floor() float64 { return t.runs[floorProgram].Mean() }

// hooks lets the kernel time the programs under three loads, with an empty
// program on the same tracepoint at the same time.
func (b *bench) hooks() error {
	tr, err := startTracer(b.ctx, b.binary)
	if err != nil {
		return err
	}
	defer tr.kill()
	floor, err := probe.AttachFloor()
	if err != nil {
		return err
	}
	defer floor.Close()
	timer, err := probe.TimePrograms()
	if err != nil {
		return err
	}
	defer timer.Close()
	t := &table{}
	t.add("load", "program", "ns a run", "empty program, ns", "ratio", "runs an operation", "ns an operation", "of the load's CPU")
	for _, kind := range []lab.LoadKind{lab.Churn, lab.Linger, lab.Refused} {
		var rounds []timing
		for range hookRounds {
			r, err := b.timed(tr, kind)
			if err != nil {
				return err
			}
			rounds = append(rounds, r)
		}
		for _, p := range timedPrograms {
			addProgram(t, kind, p, rounds)
		}
	}
	t.print()
	return nil
}

func (b *bench) timed(tr *tracer, kind lab.LoadKind) (t timing, err error) {
	before, err := allRuns(tr)
	if err != nil {
		return t, err
	}
	if t.load, err = lab.RunLoad(b.ctx, kind, hookRun); err != nil {
		return t, err
	}
	after, err := allRuns(tr)
	if err != nil {
		return t, err
	}
	t.runs = map[string]probe.Runs{}
	for name, r := range after {
		t.runs[name] = r.Sub(before[name])
	}
	return t, nil
}

func allRuns(tr *tracer) (map[string]probe.Runs, error) {
	runs, err := probe.RunsOf(tr.pid())
	if err != nil {
		return nil, err
	}
	own, err := probe.RunsOf(os.Getpid())
	if err != nil {
		return nil, err
	}
	if _, ok := own[floorProgram]; !ok {
		return nil, fmt.Errorf("%s is not among the programs of this process", floorProgram)
	}
	runs[floorProgram] = own[floorProgram]
	return runs, nil
}

func addProgram(t *table, kind lab.LoadKind, program string, rounds []timing) {
	var mean, floor, ratio, perOp, nsPerOp, share []float64
	for _, r := range rounds {
		runs := r.runs[program]
		n := float64(runs.Count) / float64(max(r.load.Ops, 1))
		if n < 0.1 {
			continue // others' doing
		}
		mean, floor, ratio = append(mean, runs.Mean()), append(floor, r.floor()), append(ratio, runs.Mean()/r.floor())
		ns := runs.Mean() * n
		perOp, nsPerOp = append(perOp, n), append(nsPerOp, ns)
		share = append(share, 100*ns/float64(r.load.CPUPerOp().Nanoseconds()))
	}
	if len(mean) == 0 {
		return
	}
	t.add(string(kind), program, spread(mean, "%.0f"), spread(floor, "%.0f"), spread(ratio, "%.2f"),
		fmt.Sprintf("%.1f", median(perOp)), fmt.Sprintf("%.0f", median(nsPerOp)), fmt.Sprintf("%.1f %%", median(share)))
}
