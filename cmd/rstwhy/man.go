package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newManCommand writes the man pages; packages call it at build time. With
// --markdown it makes docs/reference/cli from the same texts.
func newManCommand() *cobra.Command {
	markdown := false
	c := &cobra.Command{
		Use:    "man DIRECTORY",
		Short:  "Write the man pages to a directory",
		Args:   exactArgs(1, "a directory"),
		Hidden: true,
		RunE: func(c *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("create %q: %w", args[0], err)
			}
			c.Root().DisableAutoGenTag = true
			if markdown {
				if err := doc.GenMarkdownTree(c.Root(), args[0]); err != nil {
					return fmt.Errorf("write pages: %w", err)
				}
				return nil
			}
			head := &doc.GenManHeader{Title: "RSTWHY", Section: "8", Source: "rstwhy", Manual: "System administration"}
			if err := doc.GenManTree(c.Root(), head, args[0]); err != nil {
				return fmt.Errorf("write man pages: %w", err)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&markdown, "markdown", false, "write Markdown instead")
	return c
}

func exactArgs(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef("'%s' takes %s; %d arguments are given (see '%s --help')", c.CommandPath(), what, len(args), c.CommandPath())
		}
		return nil
	}
}

func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("'%s' takes no arguments, %q is given (see '%s --help')", c.CommandPath(), args[0], c.CommandPath())
	}
	return nil
}
