package report

import (
	"fmt"
	"io"
	"strings"
)

// Markdown writes the report as GitHub-flavoured Markdown that reads well as
// plain text too.
func (s *Session) Markdown(w io.Writer, opt Options) error {
	p, err := s.page(opt)
	if err != nil {
		return err
	}
	m := &markdown{}
	m.document(p)
	if _, err := io.WriteString(w, m.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

type markdown struct{ strings.Builder }

func (m *markdown) block(format string, args ...any) { fmt.Fprintf(m, format+"\n\n", args...) }

func (m *markdown) document(p *page) {
	m.block("# %s", text(p.Title))
	m.block("%s", text(p.Period))
	m.block("**%s**", text(p.Answer))
	m.block("%s", text(p.Totals))
	if len(p.Work) > 0 {
		m.block("## What to do, in this order")
		for i, f := range p.Work {
			m.finding(fmt.Sprintf("%d. ", i+1), f)
		}
	}
	if len(p.Calm) > 0 {
		m.block("## Harmless: nothing to do")
		for i, f := range p.Calm {
			m.finding(fmt.Sprintf("%d. ", i+1), f)
		}
	}
	if len(p.Timeline.Bars) > 0 {
		m.block("## Timeline")
		m.block("%s", text(p.Timeline.Words))
		m.table(p.Timeline.Busiest)
	}
	if len(p.Pairs.Rows) > 0 {
		m.block("## Who resets whom")
		m.table(p.Pairs)
	}
	if len(p.ZK) > 0 {
		m.block("## ZooKeeper")
		for _, t := range p.ZK {
			m.table(t)
		}
	}
	m.block("## Counts")
	for _, t := range p.Tables {
		m.table(t)
	}
	m.block("## Is this all?")
	m.block("%s", text(strings.Join(p.Account, " ")))
	m.table(p.Balance)
	m.table(p.Checks)
	m.table(p.Gaps)
	if len(p.Warnings) > 0 {
		m.block("Warnings:")
		for _, w := range p.Warnings {
			fmt.Fprintf(m, "- %s\n", text(w))
		}
		m.WriteString("\n")
	}
	made := "Made by rstwhy"
	if p.Version != "" {
		made += " " + text(p.Version)
	}
	if len(p.Sources) > 0 {
		var names []string
		for _, s := range p.Sources {
			names = append(names, code(s, false))
		}
		made += " from " + strings.Join(names, ", ")
	}
	m.WriteString(made + ".\n")
}

func (m *markdown) finding(mark string, f finding) {
	pad := strings.Repeat(" ", len(mark))
	fmt.Fprintf(m, "%s**%s**: %s (%s; %s)\n", mark, text(f.Title), f.Resets, text(f.Certainty), code("rstwhy explain "+f.Rule, false))
	m.list(pad, "Between:", "- ", f.Who)
	m.list(pad, "Because:", "- ", f.Because)
	m.list(pad, "Do:", "", f.Do)
	m.list(pad, "To be surer:", "- ", f.Raise)
	if f.About != "" {
		fmt.Fprintf(m, "\n%s(%s)\n", pad, text(f.About))
	}
	m.WriteString("\n")
}

// list writes items with a mark, or numbered where there is none.
func (m *markdown) list(pad, title, mark string, items []string) {
	if len(items) == 0 {
		return
	}
	fmt.Fprintf(m, "\n%s%s\n\n", pad, title)
	for i, s := range items {
		number := mark
		if number == "" {
			number = fmt.Sprintf("%d. ", i+1)
		}
		fmt.Fprintf(m, "%s%s%s\n", pad, number, text(s))
	}
}

func (m *markdown) table(t table) {
	if len(t.Rows) > 0 {
		m.block("### %s", text(t.Caption))
		rule := "|"
		for _, h := range t.Head {
			m.WriteString("| " + text(h.Name) + " ")
			if h.Number {
				rule += "---:|"
			} else {
				rule += "---|"
			}
		}
		m.WriteString("|\n" + rule + "\n")
		for _, row := range t.Rows {
			for _, c := range row {
				m.WriteString("| " + cellText(c) + " ")
			}
			m.WriteString("|\n")
		}
		m.WriteString("\n")
	}
	if t.Note != "" {
		m.block("%s", text(t.Note))
	}
}

func cellText(c cell) string {
	var parts []string
	if c.Code != "" {
		parts = append(parts, code(c.Code, true))
	}
	for _, s := range []string{c.Text, c.Small} {
		if s != "" {
			parts = append(parts, strings.ReplaceAll(text(s), "|", `\|`))
		}
	}
	return strings.Join(parts, ": ")
}

// special are the characters that Markdown gives a meaning within a line, and
// those that begin HTML. A backslash takes it away from any of them.
const special = "\\`*[]<>&~"

// text makes words safe in Markdown: they format nothing, and what looks like
// an address is no link. They have no line ends (sink.Escape). What needs no
// backslash has none: the document is read as plain text too.
func text(s string) string {
	s = strings.TrimSpace(s) // four spaces would begin a block of code
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case strings.IndexByte(special, c) >= 0, c == '@', strings.HasPrefix(s[i:], "://"),
			c == '_' && !(i > 0 && i+1 < len(s) && wordByte(s[i-1]) && wordByte(s[i+1])),
			c == '.' && i >= 3 && strings.EqualFold(s[i-3:i], "www"),
			i == 0 && strings.IndexByte("-+=#", c) >= 0,
			(c == '.' || c == ')') && strings.Trim(s[:i], "0123456789") == "" && (i+1 == len(s) || s[i+1] == ' '): // "1. " begins a list
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}

func wordByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// code makes a foreign string a code span, in which nothing has a meaning but
// the mark of its end and, in a table, the one of a column.
func code(s string, inTable bool) string {
	fence, run := "`", 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] == '`' {
			run++
			continue
		}
		if run >= len(fence) {
			fence = strings.Repeat("`", run+1)
		}
		run = 0
	}
	if inTable {
		s = strings.ReplaceAll(s, "|", `\|`)
	}
	// One space at each end is taken off where a backtick begins or ends it.
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return fence + s + fence
}
