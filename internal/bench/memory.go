package main

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"rstwhy/internal/lab"
)

const (
	heldConnections = 5000 // of two sockets each
	slabRounds      = 3

	// include/uapi/linux/bpf.h
	typeLRUHash   = 9
	typeSkStorage = 24
	typeRingBuf   = 27
)

// memo is the memory of a tracer at one moment.
type memo struct {
	when      string
	rss, peak float64
}

// remember takes it once the tracer had a moment to come to rest.
func (b *bench) remember(tr *tracer, when string) error {
	time.Sleep(time.Second)
	m := memo{when: when}
	var err error
	status := fmt.Sprintf("/proc/%d/status", tr.pid())
	if m.rss, err = field(status, "VmRSS"); err != nil {
		return err
	}
	if m.peak, err = field(status, "VmHWM"); err != nil {
		return err
	}
	if !slices.ContainsFunc(b.memos, func(o memo) bool { return o.when == when }) {
		b.memos = append(b.memos, m)
	}
	return nil
}

func (b *bench) memory() error {
	tr, err := startTracer(b.ctx, b.binary)
	if err != nil {
		return err
	}
	if err := b.remember(tr, "idle, hooks attached"); err != nil {
		return err
	}
	maps, err := mapsOf(tr.pid())
	if err != nil {
		return err
	}
	if _, err := tr.stop(); err != nil {
		return err
	}
	t := &table{}
	t.add("rstwhy, resident", "now", "peak")
	for _, m := range b.memos {
		t.add(m.when, mib(m.rss), mib(m.peak))
	}
	t.print()
	fmt.Println()
	printMaps(maps)
	fmt.Println()
	return b.storage(maps)
}

func printMaps(maps map[uint64]bpfMap) {
	sum := map[string]float64{}
	for _, m := range maps {
		name := "other maps"
		switch m.kind {
		case typeLRUHash:
			name = "hash of " + strconv.FormatUint(m.entries, 10) + " entries, " + strconv.FormatUint(m.key+m.value, 10) + " bytes each"
		case typeRingBuf:
			name = "ring buffer"
		}
		sum[name] += float64(m.memory)
		sum["all"] += float64(m.memory)
	}
	names := make([]string, 0, len(sum))
	for n := range sum {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int { return int(sum[b] - sum[a]) })
	t := &table{}
	t.add("kernel memory: maps", "size")
	for _, n := range names {
		t.add(n, mib(sum[n]))
	}
	t.print()
}

// storage opens the same sockets without and with rstwhy and compares how the
// kernel's slabs grow. Others on the host move them too: hence the rounds.
func (b *bench) storage(maps map[uint64]bpfMap) error {
	var alone, with, extra []float64
	for range slabRounds {
		a, err := b.slabGrowth()
		if err != nil {
			return err
		}
		tr, err := startTracer(b.ctx, b.binary)
		if err != nil {
			return err
		}
		w, err := b.slabGrowth()
		if err != nil {
			tr.kill()
			return err
		}
		if _, err := tr.stop(); err != nil {
			return err
		}
		alone, with, extra = append(alone, a), append(with, w), append(extra, w-a)
	}
	value := uint64(0)
	for _, m := range maps {
		if m.kind == typeSkStorage {
			value = m.value
		}
	}
	t := &table{}
	t.add("kernel memory: a socket", "bytes")
	t.add("without rstwhy", spread(alone, "%.0f"))
	t.add("with rstwhy", spread(with, "%.0f"))
	t.add("difference, round by round", spread(extra, "%.0f"))
	t.add("of which rstwhy's own value", fmt.Sprint(value))
	t.print()
	return nil
}

// slabGrowth gives what one open socket adds to the slabs.
func (b *bench) slabGrowth() (float64, error) {
	time.Sleep(500 * time.Millisecond) // what was freed comes back by RCU
	before, err := field("/proc/meminfo", "Slab")
	if err != nil {
		return 0, err
	}
	h, err := lab.HoldConnections(b.ctx, heldConnections)
	if err != nil {
		return 0, err
	}
	defer h.Close()
	after, err := field("/proc/meminfo", "Slab")
	return (after - before) / (2 * heldConnections), err
}
