package privilege

import (
	"fmt"
	"io"
	"strings"
)

func splitFlags(s string) []string { return strings.Split(s, ", ") }

// WriteTable renders the table of capabilities as Markdown.
func WriteTable(w io.Writer) error {
	var b strings.Builder
	b.WriteString("| capability | what for | without it | kept by `trace` once all is attached, for | `check --prove` |\n|---|---|---|---|---|\n")
	for _, c := range Capabilities {
		name := "`" + c.Name + "`"
		if c.Essential {
			name += " (needed)"
		}
		if c.Until != "" {
			name += ", before Linux " + c.Until
		}
		for i, f := range splitFlags(c.With) {
			switch {
			case f == "":
			case i == 0:
				name += ", with `" + f + "`"
			default:
				name += " or `" + f + "`"
			}
		}
		keep := c.Keep
		if keep == "" {
			keep = "given up"
		}
		prove := c.Prove
		if c.Essential {
			prove = "the same"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", name, c.Purpose, c.Without, keep, prove)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
