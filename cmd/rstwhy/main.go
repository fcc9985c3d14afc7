// Command rstwhy tells who reset a TCP connection, and why.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"rstwhy/internal/lab"
	"rstwhy/internal/probe"
)

// Exit statuses.
const (
	exitOK         = 0
	exitFailure    = 1 // something failed; what was asked was not done
	exitUsage      = 2 // the command line is wrong
	exitHook       = 3 // a required hook could not be attached
	exitUnfinished = 4 // check --prove had no time for everything, and what it had time for is right
)

// errUnfinished says that time was over.
var errUnfinished = errors.New("not finished in time")

// usageError marks errors of the command line.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func main() {
	lab.Main() // returns unless this process is a worker of the lab
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	root := newRootCommand()
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return exitOK
	}
	if err.Error() != "" {
		fmt.Fprintf(os.Stderr, "rstwhy: %v\n", err)
	}
	return exitStatus(err)
}

func exitStatus(err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, new(usageError)), isCobraUsage(err):
		return exitUsage
	case errors.Is(err, probe.ErrRequiredHook):
		return exitHook
	case errors.Is(err, errUnfinished):
		return exitUnfinished
	}
	return exitFailure
}

// isCobraUsage recognises the errors that cobra makes without a type.
func isCobraUsage(err error) bool {
	return strings.HasPrefix(err.Error(), "unknown command")
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "rstwhy",
		Short: "Who reset this TCP connection, and why",
		Long: `rstwhy sees every TCP reset (RST) that this host sends or receives, names the
process that owns the connection, and says in plain words why it happened.

Exit status: 0 success (also after SIGINT or SIGTERM), 1 failure, 2 wrong
command line, 3 a required kernel hook could not be attached, 4 the host was too
slow for a proof (check --prove).`,
		Version:           version,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usagef("%w (see '%s --help')", err, c.CommandPath())
	})
	root.AddCommand(newTraceCommand(), newCheckCommand(), newZKCommand(), newReportCommand(), newExplainCommand(), newVersionCommand(), newManCommand())
	cobra.AddTemplateFunc("build", func() string { return thisBuild().text() }) // called by --version alone: it parses BTF
	root.SetVersionTemplate("{{build}}")
	return root
}
