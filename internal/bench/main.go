// Bench measures rstwhy beside nothing: the same load with and without it, its
// programs beside an empty one. It prints Markdown tables; docs/benchmarks.md
// keeps a run, and says what each figure is worth. Timing decides nothing: the
// exit status says only whether everything could be measured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/lab"
)

// whole bounds the run; what is started after it fails at once.
const whole = 10 * time.Minute

func main() {
	lab.Main() // returns unless this process is a load
	binary := flag.String("rstwhy", "bin/rstwhy", "the program to measure")
	storms := flag.String("storms", "bin/pipeline.test", "the tests of internal/pipeline, with the benchmark of a synthetic storm")
	only := flag.String("only", "", "measure only this: "+strings.Join(names(), ", "))
	minutes := flag.Int("minutes", 1, "how long the soak lasts")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, whole+time.Duration(*minutes)*time.Minute)
	defer cancel()
	if err := run(&bench{ctx: ctx, binary: *binary, storms: *storms, minutes: *minutes}, *only); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// measure is one table.
type measure struct {
	name  string
	title string
	take  func(*bench) error
}

var measures = []measure{
	{"storm", "Events a second, from the hook to JSON", (*bench).storm},
	{"synthetic", "200,000 synthetic resets a second, in user space", (*bench).synthetic},
	{"hooks", "Time in the kernel, beside an empty program", (*bench).hooks},
	{"data", "Programs that run while data flows", (*bench).dataPath},
	{"drops", "Dropped packets", (*bench).drops},
	{"load", "The same load with and without rstwhy, run by run", (*bench).loads},
	{"memory", "Memory", (*bench).memory},
	{"start", "From start to the first event", (*bench).start},
	{"peers", "Beside other tracers", (*bench).peers},
	{"soak", "Memory over a long run", (*bench).soak},
}

func names() (all []string) {
	for _, m := range measures {
		all = append(all, m.name)
	}
	return all
}

// bench is what all measures share.
type bench struct {
	ctx     context.Context
	binary  string
	storms  string // the tests of internal/pipeline
	minutes int    // of the soak
	memos   []memo
}

func run(b *bench, only string) error {
	if os.Geteuid() != 0 {
		return errors.New("loading BPF programs and timing them needs root; run it with sudo")
	}
	began := time.Now()
	fmt.Println(machine())
	for _, m := range measures {
		if only != "" && only != m.name {
			continue
		}
		fmt.Printf("\n## %s\n\n", m.title)
		if err := m.take(b); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	fmt.Printf("\nLoad average now %s; the run took %.0f s.\n", loadAverage(), time.Since(began).Seconds())
	return nil
}

func machine() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	model := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(b), "model name"); ok {
			model, _, _ = strings.Cut(strings.TrimLeft(rest, "\t :"), "\n")
		}
	}
	return fmt.Sprintf("%s, Linux %s, %d CPUs (%s), %s, load average %s.",
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), unix.ByteSliceToString(u.Release[:]),
		runtime.NumCPU(), model, runtime.Version(), loadAverage())
}

func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:2], " and ")
}
