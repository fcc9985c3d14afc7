package main

import (
	"testing"

	"rstwhy/internal/event"
)

// zkExplained tells whether a reset is explained: by a verdict, by a cause that
// says it all (nobody listens), or by a verdict on its connection's first
// record, which later ones follow from.
func zkExplained(r event.Reset, first map[[2]event.Endpoint]event.Reset) bool {
	if r.Verdict != nil || r.Cause == "closed-port" {
		return true
	}
	for _, c := range [][2]event.Endpoint{{r.Local, r.Peer}, {r.Peer, r.Local}} {
		if f, ok := first[c]; ok && f.ID != r.ID && f.Verdict != nil {
			return true
		}
	}
	return false
}

// zkUnexplained gives the resets of a run that nothing explains.
func zkUnexplained(run zkCaseRun) (out []event.Reset) {
	records := append(append([]event.Reset{}, run.server...), run.client...)
	first := map[[2]event.Endpoint]event.Reset{}
	for _, r := range records {
		c := [2]event.Endpoint{r.Local, r.Peer}
		if _, ok := first[c]; !ok {
			first[c] = r
		}
	}
	for _, r := range records {
		if !zkExplained(r, first) {
			out = append(out, r)
		}
	}
	return out
}

// zkCheckExplained fails where a reset is not explained, as soon as there is a
// rule for restarted servers.
func zkCheckExplained(t *testing.T, runs []zkCaseRun) {
	t.Helper()
	complain := t.Logf
	if zkRuleExists("zookeeper-server-restarted") {
		complain = t.Errorf
	}
	for _, run := range runs {
		if open := zkUnexplained(run); len(open) > 0 {
			complain("%s, %s: %d of %d resets are not explained:\n%s", run.release, run.name, len(open),
				len(run.server)+len(run.client), zkDescribe(open))
		}
	}
}
