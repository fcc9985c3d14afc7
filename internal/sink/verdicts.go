package sink

import (
	"cmp"
	"slices"

	"rstwhy/internal/event"
)

const (
	maxPairs        = 256 // rows of by_pair and of zookeeper_clients
	maxVerdictPairs = 8   // rows of a verdict's pairs
	// verdictPairKeys bounds what is remembered to find a verdict's rows.
	verdictPairKeys = 256
)

// pairKey is who resets whom: a process here and a remote end.
type pairKey struct {
	process processKey
	remote  remoteEnd
}

// judged counts the resets with a verdict of one rule.
type judged struct {
	event.VerdictTally
	pairs counter[pairKey]
}

var confidences = map[event.Confidence]int{event.Proven: 3, event.Likely: 2, event.Possible: 1}

// addVerdict keeps the words of the strongest verdict of a rule; of equal ones
// those of the first, so that they do not change while a session goes on.
func (t *Tally) addVerdict(v *event.Verdict, pair pairKey, n counts) {
	if t.verdicts == nil {
		t.verdicts = make(map[string]*judged)
	}
	sum := t.verdicts[v.Rule]
	if sum == nil {
		if len(t.verdicts) >= MaxKeys {
			return
		}
		sum = &judged{VerdictTally: event.VerdictTally{Rule: v.Rule}, pairs: counter[pairKey]{most: verdictPairKeys}}
		t.verdicts[v.Rule] = sum
	}
	sum.Resets++
	switch v.Confidence {
	case event.Proven:
		sum.Proven++
	case event.Likely:
		sum.Likely++
	case event.Possible:
		sum.Possible++
	}
	if v.Harmless {
		sum.Harmless++
	}
	sum.pairs.add(pair, n)
	if sum.Resets == 1 || confidences[v.Confidence] > confidences[sum.Confidence] {
		sum.Title, sum.Confidence, sum.Do, sum.Because, sum.Raise = v.Title, v.Confidence, v.Do, v.Because, v.Raise
		sum.About = pair.process.String() + " and " + pair.remote.String()
	}
}

func (j *judged) row() event.VerdictTally {
	row := j.VerdictTally
	row.Pairs = pairRows(&j.pairs, maxVerdictPairs)
	return row
}

// pairRows are the pairs with the most resets, and the rest as one row.
func pairRows(c *counter[pairKey], most int) []event.Pair {
	type row struct {
		event.Pair
		key pairKey
	}
	rows := make([]row, 0, len(c.m))
	for key, n := range c.m {
		rows = append(rows, row{event.Pair{Process: key.process.String(), Remote: key.remote.String(), Sent: n.sent, Received: n.received}, key})
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(b.Sent+b.Received, a.Sent+a.Received), cmp.Compare(a.Process, b.Process),
			cmp.Compare(a.Remote, b.Remote), cmp.Compare(a.key.process.start, b.key.process.start), cmp.Compare(b.Sent, a.Sent))
	})
	rows, rest := cut(rows, most, c.others, func(r *row) counts { return counts{r.Sent, r.Received} })
	out := make([]event.Pair, 0, len(rows)+1)
	for _, r := range rows {
		out = append(out, r.Pair)
	}
	if rest != (counts{}) {
		out = append(out, event.Pair{Process: Others, Sent: rest.sent, Received: rest.received})
	}
	return out
}

// cut keeps the first rows and adds what the others count to rest.
func cut[R any](rows []R, most int, rest counts, of func(*R) counts) ([]R, counts) {
	kept := min(len(rows), most)
	for i := range rows[kept:] {
		rest.add(of(&rows[kept+i]))
	}
	return rows[:kept], rest
}

// WorkOrder sorts verdicts as a reader works: those that ask for something
// first, by how many resets they have and how certain they are (a proven one
// counts three times, a likely one twice); those that are harmless last. A rule
// that is harmless for some of its resets only is among the first.
func WorkOrder(verdicts []event.VerdictTally) []event.VerdictTally {
	out := slices.Clone(verdicts)
	weight := func(v *event.VerdictTally) uint64 { return 3*v.Proven + 2*v.Likely + v.Possible }
	slices.SortStableFunc(out, func(a, b event.VerdictTally) int {
		ha, hb := 0, 0
		if Harmless(&a) {
			ha = 1
		}
		if Harmless(&b) {
			hb = 1
		}
		return cmp.Or(cmp.Compare(ha, hb), cmp.Compare(weight(&b), weight(&a)), cmp.Compare(a.Rule, b.Rule))
	})
	return out
}

// Harmless tells whether none of a verdict's resets asks for anything.
func Harmless(v *event.VerdictTally) bool { return v.Resets > 0 && v.Harmless == v.Resets }
