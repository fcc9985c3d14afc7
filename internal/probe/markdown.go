package probe

import (
	"fmt"
	"io"
	"strings"
)

// WriteHooks renders the table of hooks as Markdown (docs/reference/hooks.md).
func WriteHooks(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Hooks\n\nGenerated from internal/probe/hooks.go; do not edit.\n\n" +
		"rstwhy attaches these and no others; all as BPF links, none on send, receive or accept.\n\n" +
		"| hook | what it tells | required | first kernel | programs, best first | without it |\n|---|---|---|---|---|---|\n")
	for _, h := range Hooks {
		need := "no"
		if h.Required {
			need = "yes"
		}
		var progs []string
		for _, c := range h.Candidates {
			p := "`" + c.Kind + "/" + c.Target + "`"
			if c.Args > 0 {
				p += fmt.Sprintf(" with %d arguments", c.Args)
			}
			progs = append(progs, strings.Replace(p, "/`", "`", 1))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", h.Name, h.Purpose, need, h.Since, strings.Join(progs, ", "), h.Without)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
