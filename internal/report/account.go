package report

import (
	"fmt"

	"rstwhy/internal/event"
	"rstwhy/internal/sink"
)

// account says whether the numbers are all there is.
func account(s *event.Summary) ([]string, table) {
	a := s.Account
	t := table{ID: "account", Caption: "Hits of the kernel's reset hooks", Head: []heading{{"What became of them", false}, {"Hits", true}}}
	if a == (event.Account{}) {
		return []string{"The recording has no account of the kernel's hooks."}, t
	}
	for _, r := range []struct {
		words string
		n     uint64
	}{
		{"seen", a.Seen}, {"left out by a filter, or rstwhy's own questions", a.Filtered},
		{"further packets of a reset that is told already", a.Joined}, {"told one by one", a.Delivered},
		{"told as a count (storms)", a.Aggregated}, {"lost: buffer full", a.LostRing},
		{"lost: skipped by the kernel (recursion)", a.LostRecursion}, {"lost: unreadable", a.LostDecode},
	} {
		t.Rows = append(t.Rows, []cell{{Text: r.words}, count(r.n)})
	}
	var say []string
	if a.Lost == 0 {
		say = append(say, "Nothing was lost.")
	} else {
		say = append(say, fmt.Sprintf("%d of %d hits were lost: the counts here are too low by that.", a.Lost, a.Seen))
	}
	if a.Balanced() {
		say = append(say, "The account adds up exactly.")
	} else {
		say = append(say, "The account does NOT add up: please report this.")
	}
	return say, t
}

// checks holds the kernel's own counters against what was seen; rows are only
// where they differ.
func checks(list []event.CounterCheck) table {
	t := table{ID: "counters", Caption: "The kernel's counters do not agree", Head: []heading{{"Counter", false}, {"Kernel", true}, {"Seen", true}}}
	differ, spaces, compared := []event.CounterCheck{}, map[uint32]bool{}, 0
	for _, c := range list {
		if c.Agree == nil {
			continue
		}
		compared++
		spaces[c.NetNS] = true
		if !*c.Agree {
			differ = append(differ, c)
		}
	}
	if compared > 0 && len(differ) == 0 {
		t.Note = fmt.Sprintf("The kernel's own counters agree: %d compared in %s.", compared, sink.Plural(uint64(len(spaces)), "network namespace"))
	}
	rows(&t, differ, func(c *event.CounterCheck) []cell {
		what := cell{Code: name(c.Counter), Text: fmt.Sprintf("in network namespace %d", c.NetNS), Small: prose(c.Explanation)}
		return []cell{what, {Text: fmt.Sprint(c.Kernel), Right: true}, {Text: fmt.Sprint(c.Seen), Right: true}}
	}, func(*event.CounterCheck) uint64 { return 0 })
	if n := len(differ); n > maxRows {
		t.Note = fmt.Sprintf("%d more counters differ.", n-maxRows)
	}
	return t
}

// gaps says what could not be seen, and when.
func gaps(list []event.Gap) table {
	t := table{ID: "gaps", Caption: "Not watched", Head: headings("From (UTC)", "For", "What could not be seen")}
	for i, g := range list {
		if i == maxRows {
			t.Note = fmt.Sprintf("%d more gaps are in the output of trace --replay -o json.", len(list)-i)
			break
		}
		what := cell{Text: prose(g.Without), Small: prose(g.Why)}
		if what.Text == "" {
			what.Text = "what the hook " + name(g.Hook) + " shows"
		}
		t.Rows = append(t.Rows, []cell{{Text: g.From.UTC().Format(dayTime)}, {Text: sink.Span(g.DurationNS)}, what})
	}
	return t
}
