package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"rstwhy/internal/probe"
)

// What the Makefile sets at link time. The date is the commit's, not that of
// the build: two builds of one commit are the same bytes.
var (
	version    = "unknown"
	commit     = "unknown"
	commitDate = "unknown"
)

// buildInfo is what `rstwhy version` tells; a bug report begins with it.
type buildInfo struct {
	Version    string       `json:"version"`
	Commit     string       `json:"commit"`
	CommitDate string       `json:"commit_date"`
	Go         string       `json:"go"`
	OS         string       `json:"os"`
	Arch       string       `json:"arch"`
	Record     recordLayout `json:"record"`
}

// recordLayout names the layout of what the BPF programs write: recordings of the
// same one need no translation.
type recordLayout struct {
	Layout string `json:"layout"`
	Bytes  int    `json:"bytes"`
}

func thisBuild() buildInfo {
	b := buildInfo{Version: version, Commit: commit, CommitDate: commitDate, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	b.Record.Layout, b.Record.Bytes = probe.LayoutID()
	if info, ok := debug.ReadBuildInfo(); ok && b.Commit == "unknown" { // built without make
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Commit = s.Value
			case "vcs.time":
				b.CommitDate = s.Value
			}
		}
	}
	return b
}

func (b buildInfo) text() string {
	return fmt.Sprintf(`rstwhy %s
  commit    %s of %s
  built     with %s for %s/%s
  record    layout %s, %d bytes
`, b.Version, b.Commit, b.CommitDate, b.Go, b.OS, b.Arch, b.Record.Layout, b.Record.Bytes)
}

func newVersionCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version, the commit, and the layout of the kernel's records",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return writeVersion(c.OutOrStdout(), output)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "format: text or json")
	return c
}

func writeVersion(w io.Writer, output string) error {
	switch output {
	case "text":
		_, err := io.WriteString(w, thisBuild().text())
		return err
	case "json":
		return json.NewEncoder(w).Encode(thisBuild())
	}
	return usagef("--output %q is no format; use text or json", output)
}
