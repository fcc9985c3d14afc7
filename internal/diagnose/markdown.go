package diagnose

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"rstwhy/internal/event"
)

// WriteCauses writes the reference of the causes as Markdown.
func WriteCauses(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Causes\n\nThe id of a cause is the field `cause` of a reset. Ids are never renamed.\n")
	for _, c := range Causes() {
		fmt.Fprintf(&b, "\n## %s\n\n*%s (%s; actor: %s)*\n\n%s\n\nWhat to do: %s\n", c.ID, c.Title, direction(c.Direction), c.Actor, c.Meaning, c.Do)
		writeSources(&b, c.Sources)
	}
	b.WriteString("\n## How a cause is chosen\n\nThe first row that holds gives the cause; where none does it is `unknown`.\n\n| cause | condition |\n|---|---|\n")
	for _, table := range tables {
		for _, r := range table {
			fmt.Fprintf(&b, "| %s | %s |\n", r.cause, strings.ReplaceAll(r.name, "|", `\|`))
		}
	}
	b.WriteString("\n## Another actor\n\nThe field `actor.kind` is that of the cause above, but for these. A process that destroys another one's socket, or stops its listener, from outside is always a `killer`.\n\n| cause | when | actor |\n|---|---|---|\n")
	for _, x := range actorExceptions {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", x.cause, x.name, x.actor)
	}
	b.WriteString("\n## What is expected\n\n`--quiet-expected` hides these, and counts them as hidden. What is not listed is shown.\n\n| cause | expected | because |\n|---|---|---|\n")
	for _, x := range expectations {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", cmp.Or(x.Cause, "any"), x.When, x.Because)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteRules writes the reference of the rules as Markdown.
func WriteRules(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Rules\n\nThe first rule with a case whose conditions all hold gives the verdict. Words in braces stand for values of the record; a line whose value is not known is left out.\n")
	for _, r := range Rules() {
		fmt.Fprintf(&b, "\n## %s\n\n*%s*\n", r.ID, r.Title)
		if r.Harmless {
			b.WriteString("\nExpected: `--quiet-expected` hides it, unless it is no more than possible.\n")
		}
		for _, c := range r.Cases {
			fmt.Fprintf(&b, "\n%s (%s), when\n\n", c.Confidence, c.View)
			for _, w := range c.When {
				fmt.Fprintf(&b, "- %s\n", w.Name)
			}
		}
		b.WriteString("\nBecause:\n\n")
		writeLines(&b, r.Because)
		b.WriteString("\nWhat to do:\n\n")
		writeLines(&b, r.Do)
		if len(r.Raise) > 0 {
			b.WriteString("\nWhat would raise the confidence:\n\n")
			writeLines(&b, r.Raise)
		}
		writeSources(&b, r.Sources)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func direction(d event.Direction) string {
	if d == "" {
		return "sent or received"
	}
	return string(d)
}

func writeLines(b *strings.Builder, lines []Line) {
	for _, l := range lines {
		fmt.Fprintf(b, "- %s", l.Text)
		if len(l.If) > 0 {
			names := make([]string, len(l.If))
			for i, c := range l.If {
				names[i] = c.Name
			}
			fmt.Fprintf(b, " *(if %s)*", strings.Join(names, ", and "))
		}
		b.WriteByte('\n')
	}
}

func writeSources(b *strings.Builder, sources []string) {
	if len(sources) > 0 {
		fmt.Fprintf(b, "\nSources: %s\n", strings.Join(sources, "; "))
	}
}
