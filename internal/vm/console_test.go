package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The panics and the harmless consoles below testdata are those of guests of this
// runner (sysrq-trigger c, and runs that passed); the others have the kernel's form
// of lib/bug.c, arch/x86/mm/fault.c, arch/arm64/mm/fault.c, mm/slub.c and
// kernel/rcu/tree_stall.h.
func TestJudgeConsole(t *testing.T) {
	for kind, want := range map[string]bool{"trouble": true, "harmless": false} {
		files, err := filepath.Glob(filepath.Join("testdata", kind, "*.txt"))
		if err != nil || len(files) < 4 {
			t.Fatalf("%d samples of %s, %v", len(files), kind, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := judgeConsole(string(text)); (err != nil) != want {
				t.Errorf("%s: trouble %v, want %t", file, err, want)
			}
		}
	}
}

// TestEachTrouble: every line of a sample that begins a report is found alone,
// also between harmless ones.
func TestEachTrouble(t *testing.T) {
	for _, line := range []string{
		"WARNING: CPU: 0 PID: 412 at net/core/stream.c:208 sk_stream_kill_queues+0xf4/0x110",
		"BUG: kernel NULL pointer dereference, address: 0000000000000070",
		"BUG: sleeping function called from invalid context at mm/slab.h:500",
		"watchdog: BUG: soft lockup - CPU#1 stuck for 134s! [probe.test:402]",
		"BUG TCP (Not tainted): Freelist Pointer check fails",
		"kernel BUG at mm/slub.c:440!",
		"Oops: 0000 [#1] PREEMPT SMP NOPTI",
		"general protection fault, probably for non-canonical address 0xdead000000000122: 0000 [#1] SMP",
		"Unable to handle kernel paging request at virtual address dead000000000108",
		"Kernel panic - not syncing: Fatal exception",
		"INFO: task lab-srv-3:512 blocked for more than 120 seconds.",
		"rcu: INFO: rcu_sched self-detected stall on CPU",
		"refcount_t: underflow; use-after-free.",
		"list_del corruption. prev->next should be ffff8880045e1a48, but was 0000000000000000",
		"unregister_netdevice: waiting for veth0 to become free. Usage count = 2",
		"Out of memory: Killed process 402 (probe.test)",
	} {
		console := "[    1.0] mtrr: your CPUs had inconsistent fixed MTRR settings\n[    2.0] " + line + "\n[    3.0] hrtimer: interrupt took 31804496 ns\n"
		err := judgeConsole(console)
		if err == nil || !strings.Contains(err.Error(), line) {
			t.Errorf("%q is not found: %v", line, err)
		}
	}
}
