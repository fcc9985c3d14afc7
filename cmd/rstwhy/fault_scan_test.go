package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"rstwhy/internal/event"
	"rstwhy/internal/lab"
)

// faultScan: two processes of this host scan 6,000 ports each, many times over,
// while a third ends connections with resets of its own. Each of these keeps its
// owner, told or counted, the scanners theirs, and a filter by process finds all
// of its own.
func faultScan(t *testing.T, bin string) {
	const ended = 800
	addr := cliAddr()
	all := cliTrace(t, bin, "-o", "json", "--no-probe")
	mine := cliTrace(t, bin, "-o", "json", "--no-probe", "--pid", fmt.Sprint(os.Getpid()))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var scanners sync.WaitGroup
	var pids []int
	var made [2]lab.LoadResult
	for i := range made {
		l, err := lab.PrepareLoad(ctx, lab.Scan, 3*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		pids = append(pids, l.PID())
		scanners.Go(func() {
			if made[i], err = l.Run(); err != nil {
				t.Error(err)
			}
		})
	}
	for range ended {
		abort(t, addr)
		time.Sleep(3 * time.Millisecond)
	}
	scanners.Wait()
	time.Sleep(1500 * time.Millisecond)

	status, resets, sums := all.finish(t)
	storms := stormsOf(t, all.stdout.Bytes())
	a := exact(t, resets, sums)
	if status != exitOK || a.Lost > 0 {
		t.Errorf("status %d, account %+v\n%s", status, a, &all.stderr)
	}
	told, counted := resetsOf(event.Sent, os.Getpid(), resets, storms)
	if told == 0 || told+counted != ended {
		t.Errorf("%d resets of this process told and %d counted, want %d in all, some of them told", told, counted, ended)
	}
	scanned := uint64(0)
	for i, pid := range pids {
		told, counted := resetsOf(event.Received, pid, resets, storms)
		if told+counted != made[i].Ops {
			t.Errorf("scanner %d: %d of %d refused connects have their owner", pid, told+counted, made[i].Ops)
		}
		scanned += made[i].Ops
	}
	for _, s := range storms {
		if s.Merged {
			t.Errorf("counted without owner: %+v", s)
		}
	}
	t.Logf("%d ports scanned; of %d resets %d told; account %+v", scanned, ended, told, a)

	status, resets, _ = mine.finish(t)
	told, counted = resetsOf(event.Sent, os.Getpid(), resets, stormsOf(t, mine.stdout.Bytes()))
	if status != exitOK || told == 0 || told+counted != ended {
		t.Errorf("--pid: status %d, %d told and %d counted of %d\n%s", status, told, counted, ended, &mine.stderr)
	}
}

// resetsOf counts the resets of one direction that have the process as their
// owner, told one by one and counted.
func resetsOf(d event.Direction, pid int, resets []event.Reset, storms []event.Storm) (told, counted uint64) {
	for _, r := range resets {
		if r.Direction == d && r.Owner != nil && r.Owner.PID == uint32(pid) {
			told++
		}
	}
	for _, s := range storms {
		if s.Direction == d && s.Owner != nil && s.Owner.PID == uint32(pid) {
			counted += s.Count
		}
	}
	return told, counted
}

func stormsOf(t *testing.T, out []byte) (storms []event.Storm) {
	t.Helper()
	for line := range bytes.Lines(out) {
		if !bytes.HasPrefix(line, []byte(`{"type":"storm"`)) {
			continue
		}
		storms = append(storms, event.Storm{})
		if err := json.Unmarshal(line, &storms[len(storms)-1]); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
	}
	return storms
}
