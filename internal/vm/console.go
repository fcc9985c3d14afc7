package main

import (
	"fmt"
	"regexp"
	"strings"
)

// trouble is what no healthy kernel writes to its console. It is searched in the
// whole console, whatever the program's exit status is.
var trouble = []*regexp.Regexp{
	regexp.MustCompile(`WARNING: `),              // WARN_ON, lockdep
	regexp.MustCompile(`\bBUG[: ]`),              // page faults, soft lockups, KASAN, slab (BUG NAME)
	regexp.MustCompile(`kernel BUG at `),         // BUG_ON
	regexp.MustCompile(`\bOops\b`),               // both architectures
	regexp.MustCompile(`Internal error: `),       // arm64
	regexp.MustCompile(`Unable to handle `),      // arm64
	regexp.MustCompile(`general protection`),     // amd64
	regexp.MustCompile(`\bRIP: `),                // registers of any report on amd64
	regexp.MustCompile(`Call [Tt]race:`),         // whatever prints a stack
	regexp.MustCompile(`Kernel panic`),           // all
	regexp.MustCompile(`blocked for more than `), // hung tasks
	regexp.MustCompile(`rcu.*(stall|starved)`),   // RCU
	regexp.MustCompile(`refcount_t: `),           // saturated, use after free
	regexp.MustCompile(`UBSAN: |KASAN: |KFENCE: `),
	regexp.MustCompile(`Out of memory: `),               // the guest is too small: the run says nothing
	regexp.MustCompile(`[Cc]orrupt`),                    // slab, lists, stacks
	regexp.MustCompile(`unregister_netdevice: waiting`), // a leaked reference
}

// harmless are the lines that trouble would match, or that a reader would take
// for trouble, and why they are none.
var harmless = []struct {
	line   *regexp.Regexp
	reason string
}{
	{regexp.MustCompile(`clocksource: `), "the emulated TSC is compared with a timer that the emulator serves late: the kernel changes to the other clock"},
	{regexp.MustCompile(`sched_clock: Marking unstable`), "as above, the scheduler's clock"},
	{regexp.MustCompile(`TSC (synchronization|found unstable|unstable|doesn't count)|tsc: Marking TSC unstable|unchecked TSC`), "as above, between the emulated CPUs"},
	{regexp.MustCompile(`hrtimer: interrupt took \d+ ns`), "the emulator was not given the CPU in time"},
	{regexp.MustCompile(`perf: interrupt took too long`), "as above"},
	{regexp.MustCompile(`WARNING: (Spectre|Unprivileged eBPF).*(vulnerable|attacks)`), "the command line turns mitigations off: the guest is a test"},
}

// judgeConsole names the lines of a kernel's console that are trouble.
func judgeConsole(console string) error {
	var bad []string
	for _, line := range withoutLabOOM(strings.Split(console, "\n")) {
		line = strings.TrimSpace(line)
		if isTrouble(line) {
			bad = append(bad, line)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	const most = 5
	more := ""
	if len(bad) > most {
		more = fmt.Sprintf("\n  and %d more lines", len(bad)-most)
		bad = bad[:most]
	}
	return fmt.Errorf("the kernel's console tells of trouble:\n  %s%s", strings.Join(bad, "\n  "), more)
}

var (
	oomBegins = regexp.MustCompile(`\] \S+ invoked oom-killer: `)
	oomEnds   = regexp.MustCompile(`Memory cgroup out of memory: Killed process \d+ \(lab-`)
)

// withoutLabOOM leaves out the report, stack included, of the out-of-memory killer
// where it killed what the lab made to be killed, in a memory cgroup of the lab's.
func withoutLabOOM(lines []string) (rest []string) {
	begin := -1
	for _, line := range lines {
		if oomBegins.MatchString(line) {
			begin = len(rest)
		}
		rest = append(rest, line)
		if begin >= 0 && oomEnds.MatchString(line) {
			rest, begin = rest[:begin], -1
		}
	}
	return rest
}

func isTrouble(line string) bool {
	for _, h := range harmless {
		if h.line.MatchString(line) {
			return false
		}
	}
	for _, t := range trouble {
		if t.MatchString(line) {
			return true
		}
	}
	return false
}
