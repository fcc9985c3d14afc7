package main

import "time"

// suite is a test program that runs on every kernel.
type suite struct {
	name string
	long bool // not in the subset
	pkg  string
	run  string // tests, as -test.run takes them; empty: all
	skip []leftOut
	env  []string
}

// leftOut are tests that cannot run in a guest; the run says which, and why.
type leftOut struct{ tests, why string }

var suites = []suite{
	{name: "probe", long: true, pkg: "internal/probe"},
	{name: "netns", pkg: "internal/netns", skip: []leftOut{
		{"TestSurvivor/bound", "such questions may take 1 % of a core, and on an emulated one they take longer and are put off"},
	}},
	{name: "owner", pkg: "internal/owner"},
	{name: "lab", long: true, pkg: "internal/lab"},
	// Without --firewall the truths about rules are not expected, and these
	// kernels let rstwhy see the rules' resets without it.
	{name: "live", long: true, pkg: "cmd/rstwhy", run: "^TestLive$", env: []string{"RSTWHY_LIVE_FIREWALL=1", "RSTWHY_LIVE_CALM=1"}},
	{name: "privileges", long: true, pkg: "cmd/rstwhy",
		run: "^(TestEachCapability|TestRootGivesUp|TestProofWithoutRoot|TestHooksNeedNoMore|TestObstacles|TestNeedsNoTracefs|TestLockedMemory)$"},
	// The last: it locks the kernel down until its end.
	{name: "lockdown", pkg: "cmd/rstwhy", run: "^TestLockdown$"},
}

const (
	stepCheck     = "check"
	stepCheckJSON = "check -o json"
	stepProve     = "check --prove"
	stepStart     = "start"
	startTimes    = 3
	tries         = 3
)

// steps are what runs on each kernel, in this order.
func (m *matrix) steps(a *artefacts) []step {
	const short = 2 * time.Minute
	all := []step{
		{Name: stepCheck, Args: []string{guestBinary, "check"}, Limit: short},
		{Name: stepCheckJSON, Args: []string{guestBinary, "check", "-o", "json"}, Limit: short},
	}
	times := startTimes
	if m.subset {
		times = 1
	}
	for range times {
		ready := "/tmp/ready"
		all = append(all, step{Name: stepStart, Limit: short, Ready: ready, Args: []string{guestBinary, "trace", "--no-probe", "--ready-file", ready}})
	}
	all = append(all, step{Name: stepProve, Limit: 6 * time.Minute, Keep: []string{proveJSON}, Tries: tries,
		Args: []string{guestBinary, "check", "--prove", "--prove-time", "5m", "--prove-json", proveJSON}})
	for _, s := range suites {
		if a.tests[s.pkg] != "" && m.wants(s) {
			all = append(all, s.step())
		}
	}
	return all
}

func (s suite) step() step {
	args := []string{testProgram(s.pkg), "-test.v", "-test.count=1", "-test.timeout=14m"}
	if s.run != "" {
		args = append(args, "-test.run="+s.run)
	}
	if len(s.skip) > 0 {
		pattern := ""
		for _, l := range s.skip {
			if pattern != "" {
				pattern += "|"
			}
			pattern += l.tests
		}
		args = append(args, "-test.skip="+pattern)
	}
	return step{Name: "test " + s.name, Args: args, Dir: guestSource + "/" + s.pkg, Env: s.env, Limit: 15 * time.Minute, Tries: tries}
}
