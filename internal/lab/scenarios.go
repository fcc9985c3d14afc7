package lab

import "slices"

// Scenarios lists every way in which the lab makes resets. IDs are unique.
var Scenarios = scenarios()

func scenarios() (all []Scenario) {
	all = slices.Concat(specials, inbound, firewalls, multipaths, holders)
	for _, acts := range [][]act{closings, moreClosings, lateActs} {
		for _, a := range acts {
			all = append(all,
				Scenario{ID: a.id + "/accepted", Title: "the accepting process: " + a.title, Early: EarlyKnown, setup: opened((*Bench).pair, a)},
				Scenario{ID: a.id + "/connected", Title: "the connecting process: " + a.title, Early: EarlyKnown, setup: opened(func(b *Bench) *pair { return b.pair().flip() }, a)},
			)
		}
	}
	for _, m := range slices.Concat(handovers, moves) {
		for _, a := range inherited {
			all = append(all, Scenario{ID: a.id + "/" + m.id, Title: m.title + ": " + a.title, Early: EarlyKnown, setup: opened(m.open, a)})
		}
	}
	return all
}

func opened(open func(*Bench) *pair, a act) func(*Bench) func() []Truth {
	return func(b *Bench) func() []Truth {
		p := open(b)
		return func() []Truth { return a.do(p) }
	}
}
