package main

import (
	"fmt"
	"time"

	"rstwhy/internal/lab"
)

const startRounds = 5

// start times rstwhy from exec to ready, and to the line about a reset that is
// provoked as soon as it is ready, with few and with many sockets open.
func (b *bench) start() error {
	t := &table{}
	t.add("sockets open", "exec to ready, ms", "exec to the first event's line, ms", "ready to line, ms")
	var base float64
	for _, n := range []int{startRounds + 1, heldConnections} {
		h, err := lab.HoldConnections(b.ctx, n)
		if err != nil {
			return err
		}
		var ready, first, rest []float64
		for range startRounds {
			r, f, err := b.startOnce(h)
			if err != nil {
				h.Close()
				return err
			}
			ready, first, rest = append(ready, milli(r)), append(first, milli(f)), append(rest, milli(f-r))
		}
		h.Close()
		t.add(fmt.Sprint(2*n), spread(ready, "%.0f"), spread(first, "%.0f"), spread(rest, "%.1f"))
		if base == 0 {
			base = median(first)
			continue
		}
		t.add("ratio of the medians", "", fmt.Sprintf("%.2f", median(first)/base), "")
	}
	t.print()
	return nil
}

func milli(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (b *bench) startOnce(h *lab.Load) (ready, first time.Duration, err error) {
	tr, err := startTracer(b.ctx, b.binary, "-P", fmt.Sprint(lab.LoadPort))
	if err != nil {
		return 0, 0, err
	}
	// The filter leaves no other line than those of the one reset.
	tr.expect(`"type":"reset"`)
	if _, err := h.ResetOne(); err != nil {
		tr.kill()
		return 0, 0, err
	}
	select {
	case at := <-tr.found:
		first = at.Sub(tr.began)
	case <-time.After(5 * time.Second):
		tr.kill()
		return 0, 0, fmt.Errorf("no line about the reset within five seconds\n%s", &tr.stderr)
	}
	ready = tr.ready
	_, err = tr.stop()
	return ready, first, err
}
