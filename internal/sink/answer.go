package sink

import (
	"fmt"
	"strconv"
	"strings"

	"rstwhy/internal/event"
)

// Answer is the summary in a few sentences, escaped: what to look at first, and
// how many resets ask for nothing. It is empty where no reset has a verdict:
// then the causes are all that there is to say.
func Answer(s *event.Summary) string {
	if len(s.Verdicts) == 0 {
		return ""
	}
	var judged, harmless, split uint64
	for i := range s.Verdicts {
		v := &s.Verdicts[i]
		judged += v.Resets
		harmless += v.Harmless
		if !Harmless(v) {
			split++
		}
	}
	total := s.Sent + s.Received
	first := &WorkOrder(s.Verdicts)[0]
	var b strings.Builder
	if Harmless(first) {
		fmt.Fprintf(&b, "No verdict asks for work: %d of %s", harmless, Plural(total, "reset"))
	} else {
		fmt.Fprintf(&b, "Look first at this: %s (%s). ", VerdictTitle(first.Title), Certainty(first))
		fmt.Fprintf(&b, "%d of %s in all ask for work%s, %d", judged-harmless, Plural(total, "reset"), reasons(split), harmless)
	}
	b.WriteString(map[bool]string{true: " is harmless", false: " are harmless"}[harmless == 1])
	// Without a verdict, nothing is said of whether it matters.
	switch rest := total - min(judged, total); rest {
	case 0:
	case 1:
		b.WriteString(", and 1 has no verdict: see its cause")
	default:
		fmt.Fprintf(&b, ", and %d have no verdict: see their causes", rest)
	}
	b.WriteString(".")
	return b.String()
}

func reasons(n uint64) string {
	if n < 2 {
		return ""
	}
	return fmt.Sprintf(" for %d different reasons", n)
}

// VerdictTitle is a verdict's title, escaped, without a full stop.
func VerdictTitle(title string) string { return strings.TrimSuffix(Escape(title, maxAdvice), ".") }

// Certainty says how many of a verdict's resets are how certain.
func Certainty(v *event.VerdictTally) string {
	var parts []string
	for _, c := range []struct {
		n    uint64
		word event.Confidence
	}{{v.Proven, event.Proven}, {v.Likely, event.Likely}, {v.Possible, event.Possible}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.word))
		}
	}
	if len(parts) == 0 { // of a summary that was made without the counts
		return Plural(v.Resets, "reset") + ", " + Escape(string(v.Confidence), maxWord)
	}
	return strings.Join(parts, ", ")
}

// AboutOne says which of several pairs the steps of a verdict name; empty where
// there is only one.
func AboutOne(v *event.VerdictTally) string {
	if len(v.Pairs) < 2 {
		return ""
	}
	return "the steps name " + Escape(v.About, maxAdvice) + "; take the others in the same way"
}

// verdicts prints what to do in the reader's order of work: what asks for
// nothing comes last, and needs no steps.
func (r *report) verdicts(verdicts []event.VerdictTally) {
	order := WorkOrder(verdicts)
	harmless := false
	for i := range order {
		v := &order[i]
		switch {
		case Harmless(v) && !harmless:
			harmless = true
			r.title("Harmless: nothing to do")
		case i == 0:
			r.title("What it means, and what to do, in this order")
		}
		r.item(fmt.Sprintf("%6d  ", v.Resets), fmt.Sprintf("%s (%s; rstwhy explain %s)", VerdictTitle(v.Title), Certainty(v), Escape(v.Rule, 48)))
		r.pairs(v)
		for n, do := range v.Do {
			r.step("        "+strconv.Itoa(n+1)+". ", Escape(do, maxAdvice))
		}
	}
}

// shownPairs of a verdict are printed; the JSON summary has more.
const shownPairs = 3

func (r *report) pairs(v *event.VerdictTally) {
	for i, p := range v.Pairs {
		if i == shownPairs && len(v.Pairs) > shownPairs+1 {
			var rest uint64
			for _, p := range v.Pairs[i:] {
				rest += p.Sent + p.Received
			}
			r.item("        ", fmt.Sprintf("%d with others", rest))
			break
		}
		r.item("        ", PairWords(&p))
	}
	if about := AboutOne(v); about != "" {
		r.item("        ", "("+about+")")
	}
}

// PairWords says who resets whom, and how often, escaped.
func PairWords(p *event.Pair) string {
	who := Escape(p.Process, maxComm+maxLabel)
	if p.Remote == "" {
		return fmt.Sprintf("%d with others", p.Sent+p.Received)
	}
	remote := Escape(p.Remote, 64)
	switch {
	case p.Received == 0:
		return fmt.Sprintf("%d sent for %s to %s", p.Sent, who, remote)
	case p.Sent == 0:
		return fmt.Sprintf("%d received by %s from %s", p.Received, who, remote)
	}
	return fmt.Sprintf("%d sent and %d received between %s and %s", p.Sent, p.Received, who, remote)
}
