package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"rstwhy/internal/pipeline"
	"rstwhy/internal/report"
	"rstwhy/internal/sink"
)

type reportFlags struct {
	output string
	html   string
	selectFlags
}

// newReportCommand is `rstwhy report RECORDING...`.
func newReportCommand() *cobra.Command {
	var f reportFlags
	c := &cobra.Command{
		Use:   "report RECORDING...",
		Short: "Turn a recording into a document: the answer, what to do, and who resets whom",
		Long: `report reads a recording that 'rstwhy trace --record' made, with all of its files
in their order, and writes a document for readers who were not there: the answer
first, what to do in the order of work, a timeline, who resets whom, the
ZooKeeper servers and clients, the counts, and whether anything was missed.

It writes Markdown to standard output, or one HTML page that needs no other file,
no network and no script. The page is made with mode 0600, as the recording is,
since it names processes; no file that exists is ever overwritten. Times are UTC.

It needs no privilege, and works on any machine. A recording that is damaged or
was cut off gives no report, exit status 1, and the place of the damage;
'rstwhy trace --replay' prints what is whole before it.

` + filterHelp,
		Example: `  rstwhy report incident.rec > incident.md
  rstwhy report --html incident.html incident.rec
  rstwhy report --zk incident.rec incident.rec.1 incident.rec.2`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("'%s' takes the files of a recording; none is given (see '%s --help')", c.CommandPath(), c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if f.html == "" && c.Flags().Changed("html") {
				return usagef("--html is given without a value")
			}
			return f.run(args, c.OutOrStdout())
		},
	}
	fs := c.Flags()
	fs.SortFlags = false
	fs.StringVarP(&f.output, "output", "o", "markdown", "format of standard output: markdown or html")
	fs.StringVar(&f.html, "html", "", "write an HTML page to this new file instead (mode 0600)")
	f.register(fs)
	f.complete(c)
	return c
}

func (f *reportFlags) run(names []string, stdout io.Writer) error {
	write, ok := map[string]func(*report.Session, io.Writer, report.Options) error{
		"markdown": (*report.Session).Markdown, "html": (*report.Session).HTML,
	}[f.output]
	if !ok {
		return usagef("--output %q is no format; use markdown or html", f.output)
	}
	selection, err := f.selection(true)
	if err != nil {
		return err
	}
	parts, done, err := openParts("report", names)
	if err != nil {
		return err
	}
	defer done()
	var session report.Session
	if err := pipeline.ReplayParts(parts, pipeline.Options{Select: selection, Sinks: []sink.Sink{&session}}); err != nil {
		if errors.Is(err, pipeline.ErrRecording) {
			return fmt.Errorf("report: %w; give whole files that 'rstwhy trace --record' made ('rstwhy trace --replay' prints what is whole before a damage)", err)
		}
		return fmt.Errorf("report: %w", err)
	}
	opt := report.Options{Version: version}
	for _, name := range names {
		opt.Sources = append(opt.Sources, filepath.Base(name))
	}
	if f.html == "" {
		return write(&session, stdout, opt)
	}
	return writePage(f.html, func(w io.Writer) error { return session.HTML(w, opt) })
}

// writePage makes a new file. A slip of the finger (--html incident.rec) costs
// no recording.
func writePage(path string, write func(io.Writer) error) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write report: %q exists, and is never overwritten: remove it or name another file", path)
	}
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := errors.Join(write(file), file.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
