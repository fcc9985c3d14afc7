package diagnose

import (
	"slices"

	"rstwhy/internal/event"
)

// Condition is a named, reusable test of a record.
type Condition struct {
	Name string // reads as a statement: "the server consumed exactly 4 bytes"
	Test func(*event.Reset) bool
}

// Case is one way in which a rule applies, with the confidence that its
// conditions earn.
type Case struct {
	View       string // from where it is seen: "server's host", "client's host"
	When       []Condition
	Confidence event.Confidence
}

// Line is one sentence of evidence or advice. {name} stands for a value of the
// record (fields.go); a line with a value that is not known is left out.
type Line struct {
	If   []Condition
	Text string
}

// Rule says what a reset means beyond its cause, and what to do.
type Rule struct {
	ID       string
	Title    string
	Harmless bool // nothing is wrong and nothing lost: --quiet-expected hides it
	Cases    []Case
	Because  []Line
	Do       []Line
	Raise    []Line // what would raise a confidence that is not proven
	Sources  []string
}

// Rules gives the table of rules in the order of their priority.
func Rules() []Rule { return slices.Clone(rules) }

var rules = slices.Concat(zookeeperRules, generalRules)

// LookupRule finds a rule by its id.
func LookupRule(id string) (Rule, bool) {
	for _, rule := range rules {
		if rule.ID == id {
			return rule, true
		}
	}
	return Rule{}, false
}

// Judge gives the verdict of the first rule that applies to the record, which
// must have its cause; nil where none does.
func Judge(r *event.Reset) *event.Verdict {
	for _, rule := range rules {
		for _, c := range rule.Cases {
			if all(c.When, r) {
				v := &event.Verdict{
					Rule: rule.ID, Title: rule.Title, Confidence: c.Confidence,
					Because: render(rule.Because, r), Do: render(rule.Do, r), Raise: []string{},
					Harmless: rule.harmless(c.Confidence),
				}
				if c.Confidence != event.Proven {
					v.Raise = render(rule.Raise, r)
				}
				return v
			}
		}
	}
	return nil
}

// harmless tells whether a verdict of the rule is: what is no more than possible
// may be something else.
func (r *Rule) harmless(c event.Confidence) bool { return r.Harmless && c != event.Possible }

func all(conditions []Condition, r *event.Reset) bool {
	for _, c := range conditions {
		if !c.Test(r) {
			return false
		}
	}
	return true
}

func render(lines []Line, r *event.Reset) []string {
	out := []string{}
	for _, l := range lines {
		if !all(l.If, r) {
			continue
		}
		if s, ok := fill(l.Text, r); ok {
			out = append(out, s)
		}
	}
	return out
}
