package probe

import (
	"fmt"
	"io"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// WriteHooks renders the table of hooks as Markdown (docs/reference/hooks.md).
func WriteHooks(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Hooks\n\nGenerated from internal/probe/hooks.go; do not edit.\n\n" +
		"rstwhy attaches these and no others; all as BPF links, none on send, receive or accept but the one that you must ask for.\n\n" +
		"| hook | what it tells | required | first kernel | programs, best first | without it |\n|---|---|---|---|---|---|\n")
	for _, h := range Hooks {
		need := "no"
		switch {
		case h.Required:
			need = "yes"
		case h.OnRequest != "":
			need = "only with `" + h.OnRequest + "`"
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

// WriteWire renders struct reset_event, as bpf/event.h documents it, with the
// layout of the embedded object (docs/reference/wire.md).
func WriteWire(w io.Writer) error {
	spec, err := loadKernel()
	if err != nil {
		return fmt.Errorf("read embedded object: %w", err)
	}
	var s *btf.Struct
	if err := spec.Types.TypeByName("reset_event", &s); err != nil {
		return fmt.Errorf("find struct reset_event: %w", err)
	}
	var b strings.Builder
	b.WriteString("# The raw record\n\nGenerated from bpf/event.h; do not edit.\n\n" +
		"What a program hands to user space for each reset, and what a recording keeps: little-endian, fixed size. " +
		"A recording carries this table itself, so that later versions read it.\n\n" +
		"| offset | bytes | field | meaning |\n|---|---|---|---|\n")
	err = eachMember(s, "", 0, func(f Field, m btf.Member) error {
		doc := ""
		for _, t := range m.Tags {
			doc += strings.TrimPrefix(t, "doc:")
		}
		if doc == "" {
			return fmt.Errorf("bpf/event.h: field %s has no DOC", f.Name)
		}
		fmt.Fprintf(&b, "| %d | %d | `%s` | %s |\n", f.Offset, f.Size, f.Name, strings.ReplaceAll(doc, "|", "\\|"))
		return nil
	})
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, b.String())
	return err
}
