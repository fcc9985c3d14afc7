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
	dropFloor    = "empty__kfree_skb"
	dropProgram  = "tp_btf__kfree_skb"
)

var timedPrograms = []string{
	stateProgram, "shadow__inet_sock_set_state", "tp_btf__tcp_destroy_sock", dropProgram,
	"tp_btf__tcp_send_reset", "shadow__tcp_send_reset", "tp_btf__tcp_receive_reset", "shadow__tcp_receive_reset",
}

// timing is what the programs did during one load.
type timing struct {
	load lab.LoadResult
	runs map[string]probe.Runs
}

func (t timing) floor() float64 { return t.runs[floorProgram].Mean() }

// hooks lets the kernel time the programs under four loads, with an empty
// program on the same tracepoint at the same time. The last two loads are taken
// twice: with each reset told, and with what is too much only counted.
func (b *bench) hooks() error {
	t := &table{}
	t.add("load", "program", "ns a run", "empty program, ns", "ratio", "runs an operation", "ns an operation", "of the load's CPU")
	err := b.watched(func(tr *tracer) error { return b.timeLoads(t, tr, "", lab.Churn, lab.Tight, lab.Linger, lab.Refused) })
	if err == nil {
		err = b.watched(func(tr *tracer) error { return b.timeLoads(t, tr, ", each told", lab.Linger, lab.Refused) }, "--max-rate", "0")
	}
	t.print()
	return err
}

// watched runs f beside a tracer and the empty programs, while the kernel times
// every program.
func (b *bench) watched(f func(*tracer) error, args ...string) error {
	tr, err := startTracer(b.ctx, b.binary, args...)
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
	return f(tr)
}

func (b *bench) timeLoads(t *table, tr *tracer, how string, kinds ...lab.LoadKind) error {
	for _, kind := range kinds {
		var rounds []timing
		for range hookRounds {
			r, err := b.timed(tr, kind, hookRun)
			if err != nil {
				return err
			}
			rounds = append(rounds, r)
		}
		for _, p := range timedPrograms {
			addProgram(t, kind, how, p, rounds)
		}
		addAll(t, kind, how, rounds)
	}
	return nil
}

// addAll sums up what all programs cost one operation.
func addAll(t *table, kind lab.LoadKind, how string, rounds []timing) {
	var perOp, nsPerOp, share []float64
	for _, r := range rounds {
		count, ns := 0.0, 0.0
		for _, p := range timedPrograms {
			count += float64(r.runs[p].Count)
			ns += float64(r.runs[p].Time.Nanoseconds())
		}
		ops := float64(max(r.load.Ops, 1))
		perOp, nsPerOp = append(perOp, count/ops), append(nsPerOp, ns/ops)
		share = append(share, 100*ns/ops/float64(r.load.CPUPerOp().Nanoseconds()))
	}
	t.add(string(kind)+how, "all", "", "", "", fmt.Sprintf("%.1f", median(perOp)), fmt.Sprintf("%.0f", median(nsPerOp)), spread(share, "%.2f")+" %")
}

// timed runs a load beside the tracer and says what the programs did meanwhile.
func (b *bench) timed(tr *tracer, kind lab.LoadKind, d time.Duration) (t timing, err error) {
	before, err := allRuns(tr)
	if err != nil {
		return t, err
	}
	if t.load, err = lab.RunLoad(b.ctx, kind, d); err != nil {
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
	for _, name := range []string{floorProgram, dropFloor} {
		if _, ok := own[name]; !ok {
			return nil, fmt.Errorf("%s is not among the programs of this process", name)
		}
		runs[name] = own[name]
	}
	return runs, nil
}

func addProgram(t *table, kind lab.LoadKind, how, program string, rounds []timing) {
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
	t.add(string(kind)+how, program, spread(mean, "%.0f"), spread(floor, "%.0f"), spread(ratio, "%.2f"),
		fmt.Sprintf("%.1f", median(perOp)), fmt.Sprintf("%.0f", median(nsPerOp)), fmt.Sprintf("%.1f %%", median(share)))
}
