package sink

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"rstwhy/internal/event"
)

// totals is the head of a summary: how many, and whether that is all.
func (r *report) totals(s *event.Summary) {
	r.line("")
	over := Span(s.DurationNS)
	if s.Scope == event.ScopeInterval {
		over = "interval of " + over
	}
	r.prose(fmt.Sprintf("%s: %s sent, %d received; %d lost, %s unknown", over,
		Plural(s.Sent, "reset"), s.Received, s.Account.Lost, Plural(s.OwnersUnknown, "owner")), 0)
	if s.Hidden > 0 {
		r.prose(fmt.Sprintf("not printed, because expected (--quiet-expected): %d of these", s.Hidden), 2)
	}
	a := s.Account
	// An empty account is that of a source without hooks.
	if a == (event.Account{}) {
		return
	}
	end := "exactly"
	if !a.Balanced() {
		end = "which does NOT add up: please report this"
	}
	whose := ""
	if s.Scope == event.ScopeInterval {
		whose = ", since the session began"
	}
	r.prose(fmt.Sprintf("hits of the kernel's reset hooks%s: %d seen = %d filtered + %d joined + %d delivered + %d aggregated + %d lost, %s",
		whose, a.Seen, a.Filtered, a.Joined, a.Delivered, a.Aggregated, a.Lost, end), 2)
	if a.Lost > 0 {
		r.prose(fmt.Sprintf("lost: %d buffer full, %d skipped by the kernel (recursion), %d unreadable; the counts below are too low",
			a.LostRing, a.LostRecursion, a.LostDecode), 2)
	}
}

// checks says where the kernel's own counters tell another story; that they
// tell the same one, or that none could be compared, needs one line.
func (r *report) checks(s *event.Summary) {
	var differ, apart []event.CounterCheck
	spaces, compared := map[uint32]bool{}, 0
	for _, c := range s.Checks {
		if c.Agree == nil {
			apart = append(apart, c)
			continue
		}
		spaces[c.NetNS] = true
		compared++
		if !*c.Agree {
			differ = append(differ, c)
		}
	}
	switch {
	case len(s.Checks) == 0 && s.Account == (event.Account{}):
		return // a source without hooks, or nothing happened
	case compared == 0:
		r.line("")
		r.prose("No counter of the kernel could be compared: "+whyNot(apart)+".", 0)
		return
	case len(differ) == 0:
		r.line("")
		r.prose(fmt.Sprintf("The kernel's counters agree: %d compared in %s.",
			compared, Plural(uint64(len(spaces)), "network namespace")), 0)
		return
	}
	r.title("The kernel's counters do not agree")
	for i, c := range differ {
		if i == topRows {
			r.line(fmt.Sprintf("  ... and %d more", len(differ)-i))
			return
		}
		text := fmt.Sprintf("%s in network namespace %d grew by %d, and the resets seen make %d", Escape(c.Counter, maxWord), c.NetNS, c.Kernel, c.Seen)
		if c.Explanation != "" {
			text += ": " + Escape(c.Explanation, maxAdvice)
		}
		r.item("- ", text)
	}
}

// whyNot is the reason why none of these was compared. That of OutRsts says
// most: it is the one that each reset sent has to be counted in.
func whyNot(apart []event.CounterCheck) string {
	if len(apart) == 0 {
		return "none had grown at the last reading"
	}
	c := apart[max(0, slices.IndexFunc(apart, func(c event.CounterCheck) bool { return c.Counter == "OutRsts" }))]
	why := strings.TrimPrefix(Escape(c.Explanation, maxAdvice), "not compared: ")
	text := Escape(c.Counter, maxWord)
	if c.NetNS != 0 {
		text += fmt.Sprintf(" in network namespace %d", c.NetNS)
	}
	text += ": " + why
	if n := len(apart) - 1; n > 0 {
		text += fmt.Sprintf(", and %d more", n)
	}
	return text
}

// gaps says what could not be seen, and for how long. A hook that went and
// came back often is one line.
func (r *report) gaps(gaps []event.Gap) {
	if len(gaps) == 0 {
		return
	}
	type what struct{ hook, without, why string }
	type sum struct {
		n     int
		ns    int64
		first time.Time
	}
	sums := map[what]*sum{}
	var order []what
	for _, g := range gaps {
		k := what{g.Hook, g.Without, g.Why}
		if sums[k] == nil {
			sums[k] = &sum{first: g.From}
			order = append(order, k)
		}
		sums[k].n++
		sums[k].ns += g.DurationNS
	}
	r.title("Not watched")
	for i, k := range order {
		if i == topRows {
			r.line(fmt.Sprintf("  ... and %d more", len(order)-i))
			return
		}
		s := sums[k]
		text := Escape(k.without, maxAdvice)
		if text == "" {
			text = "what the hook " + Escape(k.hook, maxWord) + " shows"
		}
		text += " for " + Span(s.ns)
		if s.n > 1 {
			text += fmt.Sprintf(" in %d gaps", s.n)
		}
		r.item("- ", fmt.Sprintf("%s, from %s: %s", text, s.first.UTC().Format("15:04:05 UTC"), Escape(k.why, maxAdvice)))
	}
}
