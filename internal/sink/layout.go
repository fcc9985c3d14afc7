package sink

import "strings"

const (
	// under is the column under which a record's further lines start: below
	// the direction, so that the times stand alone at the left.
	under = 14
	// narrowUnder is the same where the terminal is too narrow for that.
	narrowUnder = 2
	// minWhy is the least room worth starting a sentence in beside the other
	// columns; with less, it starts on its own line.
	minWhy = 40
)

// pad appends s and spaces up to the width, and the gap between two columns.
func pad(b []byte, s string, width int) []byte {
	b = append(b, s...)
	return append(b, spaces(max(width-columns(s), 0)+2)...)
}

func spaces(n int) string {
	if n <= 0 {
		return ""
	}
	return strings.Repeat(" ", n)
}

// wrap breaks an escaped sentence into lines of at most width columns, at
// spaces where there are any. Width 0 means unlimited.
func wrap(s string, width int) []string {
	if width <= 0 || columns(s) <= width {
		return []string{s}
	}
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && columns(line)+1+columns(word) <= width {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for columns(word) > width {
			head, tail := split(word, width)
			lines = append(lines, head)
			word = tail
		}
		line = word
	}
	return append(lines, line)
}

// split cuts a word after at most width columns, and after one rune at least.
func split(word string, width int) (head, tail string) {
	n := 0
	for i, r := range word {
		w := widths.RuneWidth(r)
		if n+w > width && i > 0 {
			return word[:i], word[i:]
		}
		n += w
	}
	return word, ""
}

// hang appends lines that follow one another at the same indentation; the
// first continues the line that b ends with.
func hang(b []byte, lines []string, indent int) []byte {
	for i, line := range lines {
		if i > 0 {
			b = append(b, '\n')
			b = append(b, spaces(indent)...)
		}
		b = append(b, line...)
	}
	return b
}
