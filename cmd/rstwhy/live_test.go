package main

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"rstwhy/internal/event"
	"rstwhy/internal/lab"
)

const (
	sideBySide = 6                      // scenarios that run at the same time
	floodShare = 20                     // records for each of the lab's, beyond which others make a flood
	olderCount = 24                     // connections that the tracer finds open when it starts
	startLimit = 600 * time.Millisecond // before it, rstwhy says of no RST that nobody here sent it
	holdLimit  = 2 * time.Second        // in which the last records must come
	limit      = 30 * time.Second       // for one scenario
)

func fromEnvironment(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s=%q: %v", name, s, err)
	}
	return n
}

// live is one session of the live test.
type live struct {
	t        *testing.T
	lab      *lab.Lab
	seed     uint64
	random   *rand.Rand
	firewall bool
	limits   map[string]bool // of this kernel, by id
	mu       sync.Mutex
	truths   []lab.Truth
}

// TestLive provokes every cause of a reset with processes that it knows, in
// every other round while others keep the CPUs busy, in half of the sessions with
// the softirqs of the lab's own devices steered to all CPUs (RPS), and compares
// what rstwhy told with the truth.
//
// RSTWHY_LIVE_SEED repeats an order, RSTWHY_LIVE_ROUNDS sets how often each
// scenario runs (10 make thousands of resets), RSTWHY_LIVE_ONLY (a substring)
// which ones. RSTWHY_LIVE_FIREWALL=1 runs the tracer with --firewall.
// RSTWHY_LIVE_CALM=1 leaves the CPUs and the softirqs alone: an emulated machine
// is slow enough without.
// RSTWHY_WRITE_DOCS=1 writes docs/accuracy.md.
func TestLive(t *testing.T) {
	needRoot(t)
	seed := fromEnvironment(t, "RSTWHY_LIVE_SEED", uint64(time.Now().UnixNano()))
	t.Logf("RSTWHY_LIVE_SEED=%d repeats this order", seed)
	binary := buildTracer(t)
	// Hooks see the whole host. A flood of somebody else's resets overflows the
	// ring, which the account tells; then nothing can be judged.
	const tries = 3
	for try := 1; ; try++ {
		s := &live{t: t, seed: seed, random: rand.New(rand.NewPCG(seed, uint64(try))), firewall: os.Getenv("RSTWHY_LIVE_FIREWALL") == "1"}
		s.limits = kernelLimits(t, binary)
		if s.session(binary, try < tries) {
			return
		}
		t.Logf("try %d of %d: others' resets flooded the ring buffer", try, tries)
	}
}

func (s *live) session(binary string, mayRepeat bool) bool {
	l, err := lab.Open()
	if err != nil {
		s.t.Fatal(err)
	}
	defer l.Close()
	calm := os.Getenv("RSTWHY_LIVE_CALM") == "1"
	l.Steer = s.random.IntN(2) == 0 && !calm
	s.t.Logf("softirqs of the lab's devices steered: %t", l.Steer)
	s.lab = l
	return s.run(binary, mayRepeat)
}

// run makes one session and judges it. It returns false, and judges nothing,
// where others' resets flooded the tracer and mayRepeat is set.
func (s *live) run(binary string, mayRepeat bool) bool {
	t := s.t
	older := s.prepareOlder()
	defer func() {
		for _, p := range older {
			p.Close()
		}
	}()
	recording := filepath.Join(t.TempDir(), "live.rec")
	args := []string{"--record", recording, "--max-rate", "4000"}
	if s.firewall {
		args = append(args, "--firewall")
	}
	tr := startTracer(t, binary, args...)
	time.Sleep(startLimit)
	for _, p := range older {
		p.StartedBefore()
		truths, err := p.Run()
		s.add(truths, err)
	}
	for i := range fromEnvironment(t, "RSTWHY_LIVE_ROUNDS", 1) {
		s.round(i%2 == 0 && os.Getenv("RSTWHY_LIVE_CALM") != "1")
	}
	time.Sleep(holdLimit)
	resets, summary, lines := tr.stop(t)
	if flooded := len(resets) > floodShare*len(s.truths); mayRepeat && (summary.Account.LostRing > 0 || flooded) {
		return false
	}
	s.judge(resets, tr.storms(t), &summary)
	checkAccount(t, summary, len(resets))
	if t.Failed() {
		b, err := json.Marshal(summary)
		t.Logf("rstwhy's log:\n%s\nsummary: %s %v", tr.log(t), b, err)
	}
	t.Run("replay", func(t *testing.T) { checkReplay(t, binary, recording, lines) })
	return true
}

func wanted(s *lab.Scenario) bool { return strings.Contains(s.ID, os.Getenv("RSTWHY_LIVE_ONLY")) }

func (s *live) place(sc *lab.Scenario) lab.Place {
	where := sc.Where()
	return where[s.random.IntN(len(where))]
}

// prepareOlder opens connections before the tracer starts.
func (s *live) prepareOlder() (all []*lab.Prepared) {
	for _, i := range s.random.Perm(len(lab.Scenarios)) {
		sc := &lab.Scenarios[i]
		if sc.Early == lab.EarlyNever || !wanted(sc) || len(all) == olderCount {
			continue
		}
		p, err := sc.Prepare(context.Background(), s.lab, s.place(sc))
		if err != nil {
			s.add(nil, err)
			continue
		}
		all = append(all, p)
	}
	return all
}

func (s *live) add(truths []lab.Truth, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case errors.Is(err, lab.ErrUnavailable):
		s.t.Logf("left out: %v", err)
	case err != nil:
		s.t.Error(err)
	}
	for _, t := range truths {
		if t.Firewall && !s.firewall {
			continue
		}
		s.truths = append(s.truths, t)
	}
}

// round runs every scenario once, in random order and places.
func (s *live) round(busy bool) {
	if busy {
		stop, err := lab.Hogs(runtime.NumCPU())
		if err != nil {
			s.t.Fatal(err)
		}
		defer stop()
	}
	type job struct {
		scenario *lab.Scenario
		place    lab.Place
	}
	jobs := make(chan job)
	var wg sync.WaitGroup
	for range sideBySide {
		wg.Go(func() {
			for j := range jobs {
				ctx, cancel := context.WithTimeout(context.Background(), limit)
				s.add(j.scenario.Run(ctx, s.lab, j.place))
				cancel()
			}
		})
	}
	for _, i := range s.random.Perm(len(lab.Scenarios)) {
		if sc := &lab.Scenarios[i]; wanted(sc) {
			jobs <- job{sc, s.place(sc)}
		}
	}
	close(jobs)
	wg.Wait()
}

func checkAccount(t *testing.T, s event.Summary, delivered int) {
	t.Helper()
	a := s.Account
	if !a.Balanced() || a.Lost != 0 || a.Delivered != uint64(delivered) || s.Sent+s.Received != a.Delivered+a.Aggregated {
		t.Errorf("the account of %d records does not add up, or something was lost: %+v, sent %d, received %d", delivered, a, s.Sent, s.Received)
	}
}

// checkReplay: a recording prints what live printed.
func checkReplay(t *testing.T, binary, recording string, lines []string) {
	var stderr strings.Builder
	c := exec.Command(binary, "trace", "-o", "json", "--replay", recording)
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("replay: %v\n%s", err, stderr.String())
	}
	_, _, again := parseOutput(t, out)
	if len(again) != len(lines) {
		t.Errorf("replay printed %d resets, live %d", len(again), len(lines))
	}
	if !slices.Equal(again, lines) {
		for i := range min(len(again), len(lines)) {
			if again[i] != lines[i] {
				t.Fatalf("replay differs from live at record %d:\n  live:   %s\n  replay: %s", i, lines[i], again[i])
			}
		}
	}
}
