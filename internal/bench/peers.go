package main

import (
	"fmt"
	"os"
	"time"

	"rstwhy/internal/event"
	"rstwhy/internal/lab"
)

const (
	peerRounds = 3
	peerRun    = 1200 * time.Millisecond
)

// peer is another way to watch resets.
type peer struct {
	name string
	args []string
	// settle is how long it needs to attach; neither says when it has.
	settle time.Duration
	// inside: it sees packets of one network namespace only, so it is started in
	// that of the load.
	inside bool
	// ends is how often it sees a RST whose both ends are here: libpcap leaves
	// out what leaves by lo, since it comes back (pcap-linux.c).
	ends uint64
	// seen counts the events in what it wrote.
	seen func(*peerOutput) (uint64, error)
}

// peers are what people use today: the filter that every runbook has, and the
// tracepoints with the current process's name.
var peers = []peer{
	{name: "nothing", ends: 2},
	{"tcpdump, RST filter", []string{"tcpdump", "-i", "any", "-n", "-w", "/dev/null", "tcp[tcpflags] & (tcp-rst) != 0"}, 800 * time.Millisecond, true, 1, captured},
	{"bpftrace, naive", []string{"bpftrace", "-e", `tracepoint:tcp:tcp_send_reset,tracepoint:tcp:tcp_receive_reset { printf("%d %s\n", pid, comm); }`}, 2500 * time.Millisecond, false, 2, printed},
	{name: "rstwhy", ends: 2},
}

var peerLoads = []lab.LoadKind{lab.Churn, lab.PingPong, lab.Bulk, lab.Linger, lab.Refused}

// peerSample is one run of a load beside one of them.
type peerSample struct {
	perOp float64 // the load's CPU an operation, ns
	core  float64 // the tracer's share of one core
	rss   float64
	made  uint64 // events: each RST, as often as this tracer can see it
	seen  uint64
}

// peers runs each load beside each of them in turn, several times, and holds
// the load's CPU against that of the run with nothing in the same round.
func (b *bench) peers() error {
	all := make([][][]peerSample, len(peers)) // by peer, by load, by round
	for i := range all {
		all[i] = make([][]peerSample, len(peerLoads))
	}
	absent := map[int]bool{}
	for round := range peerRounds {
		for k, kind := range peerLoads {
			for n := range peers {
				i := n
				if round%2 == 1 { // what the host does meanwhile falls on none of them
					i = len(peers) - 1 - n
				}
				if absent[i] {
					continue
				}
				s, err := b.beside(&peers[i], kind)
				if err != nil && peers[i].args == nil {
					return fmt.Errorf("%s beside %s: %w", kind, peers[i].name, err)
				}
				if err != nil {
					fmt.Fprintf(os.Stderr, "bench: %s: %v\n", peers[i].name, err)
					absent[i] = true
					continue
				}
				all[i][k] = append(all[i][k], s)
			}
		}
	}
	printPeers(all)
	return nil
}

func printPeers(all [][][]peerSample) {
	t := &table{}
	t.add("load", "tracer", "load's CPU an operation, of that with nothing", "tracer, of one core", "events seen of those made", "resident")
	for k, kind := range peerLoads {
		for i, p := range peers {
			list := all[i][k]
			if len(list) < peerRounds {
				t.add(string(kind), p.name, "not run: see stderr", "", "", "")
				continue
			}
			var ratio, core []float64
			var rss float64
			var made, seen uint64
			for round, s := range list {
				ratio, core, rss = append(ratio, s.perOp/all[0][k][round].perOp), append(core, 100*s.core), max(rss, s.rss)
				made, seen = made+s.made, seen+s.seen
			}
			if i == 0 {
				continue
			}
			share := "none made"
			if made > 0 {
				share = fmt.Sprintf("%d of %d (%.1f %%)", seen, made, 100*float64(seen)/float64(made))
			}
			t.add(string(kind), p.name, spread(ratio, "%.2f"), spread(core, "%.0f")+" %", share, fmt.Sprintf("%.0f MiB", rss/(1<<20)))
		}
	}
	t.print()
}

// watcher is a tracer at work.
type watcher struct {
	pid  int
	stop func() (seen uint64, err error)
}

func (b *bench) beside(p *peer, kind lab.LoadKind) (s peerSample, err error) {
	l, err := lab.PrepareLoad(b.ctx, kind, peerRun)
	if err != nil {
		return s, err
	}
	defer l.Close()
	w, err := b.watch(p, l.PID())
	if err != nil {
		return s, err
	}
	s, err = w.during(l)
	s.made *= p.ends
	seen, stopErr := w.stop()
	if err == nil {
		err = stopErr
	}
	s.seen = seen
	return s, err
}

func (w *watcher) during(l *lab.Load) (s peerSample, err error) {
	var before, after time.Duration
	if w.pid > 0 {
		if before, err = cpuOf(w.pid); err != nil {
			return s, err
		}
	}
	r, err := l.Run()
	if err != nil {
		return s, err
	}
	s.perOp, s.made = float64(r.CPUPerOp().Nanoseconds()), r.Resets
	if w.pid == 0 {
		return s, nil
	}
	time.Sleep(300 * time.Millisecond) // what it has queued is its work too
	if after, err = cpuOf(w.pid); err != nil {
		return s, err
	}
	s.core = (after - before).Seconds() / r.Wall.Seconds()
	s.rss, err = field(fmt.Sprintf("/proc/%d/status", w.pid), "VmRSS")
	return s, err
}

func (b *bench) watch(p *peer, pid int) (*watcher, error) {
	switch {
	case p.name == "rstwhy":
		tr, err := startTracer(b.ctx, b.binary)
		if err != nil {
			return nil, err
		}
		return &watcher{tr.pid(), func() (uint64, error) {
			o, err := tr.stop()
			return told(&o.Account), err
		}}, nil
	case p.args == nil:
		return &watcher{0, func() (uint64, error) { return 0, nil }}, nil
	}
	return startPeer(b.ctx, p, pid)
}

// told is what rstwhy's lines add up to.
func told(a *event.Account) uint64 { return a.Delivered + a.Aggregated }
