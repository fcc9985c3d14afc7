package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"rstwhy/internal/diagnose"
)

// newExplainCommand is `rstwhy explain [CAUSE|RULE]`.
func newExplainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain [CAUSE|RULE]",
		Short: "Explain a cause or a rule, or list them",
		Long: "Explain what a cause or a verdict's rule means, what to do about it, and the\n" +
			"sources behind it. Without an argument, list all of them.",
		Example: "  rstwhy explain\n  rstwhy explain unread-data\n  rstwhy explain zookeeper-1702",
		Args:    cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return explainable(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return listExplainable(cmd.OutOrStdout())
			}
			if c, ok := diagnose.LookupCause(args[0]); ok {
				return explainCause(cmd.OutOrStdout(), c)
			}
			if r, ok := diagnose.LookupRule(args[0]); ok {
				return explainRule(cmd.OutOrStdout(), r)
			}
			return usagef("unknown cause or rule %.64q: run 'rstwhy explain' to list them", args[0])
		},
	}
}

// explainable gives the completions: id and title of everything.
func explainable() []string {
	var out []string
	for _, c := range diagnose.Causes() {
		out = append(out, c.ID+"\t"+c.Title)
	}
	for _, r := range diagnose.Rules() {
		out = append(out, r.ID+"\t"+r.Title)
	}
	return out
}

func listExplainable(w io.Writer) error {
	var b strings.Builder
	b.WriteString("Causes\n")
	for _, c := range diagnose.Causes() {
		d := string(c.Direction)
		if d == "" {
			d = "either"
		}
		fmt.Fprintf(&b, "  %-26s %-9s %s\n", c.ID, d, c.Title)
	}
	b.WriteString("\nRules\n")
	for _, r := range diagnose.Rules() {
		fmt.Fprintf(&b, "  %-36s %s\n", r.ID, r.Title)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func explainCause(w io.Writer, c diagnose.Cause) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\n%s\n\nWhat to do: %s\n", c.ID, c.Title, c.Meaning, c.Do)
	for _, x := range diagnose.Expectations() {
		if x.Cause == c.ID {
			fmt.Fprintf(&b, "\nExpected (--quiet-expected hides it): %s, because %s\n", x.When, x.Because)
		}
	}
	list(&b, "Sources", c.Sources)
	_, err := io.WriteString(w, b.String())
	return err
}

func explainRule(w io.Writer, r diagnose.Rule) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", r.ID, r.Title)
	if r.Harmless {
		b.WriteString("\nExpected (--quiet-expected hides it): yes, because nothing is wrong and nothing is lost\n")
	}
	for _, c := range r.Cases {
		var names []string
		for _, condition := range c.When {
			names = append(names, condition.Name)
		}
		list(&b, fmt.Sprintf("%s (%s) when", c.Confidence, c.View), names)
	}
	list(&b, "Because (values in braces come from the record)", texts(r.Because))
	list(&b, "What to do", texts(r.Do))
	list(&b, "What would raise the confidence", texts(r.Raise))
	list(&b, "Sources", r.Sources)
	_, err := io.WriteString(w, b.String())
	return err
}

func texts(lines []diagnose.Line) []string {
	var out []string
	for _, l := range lines {
		out = append(out, l.Text)
	}
	return out
}

func list(b *strings.Builder, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s:\n", title)
	for _, l := range lines {
		fmt.Fprintf(b, "  - %s\n", l)
	}
}
