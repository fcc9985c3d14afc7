package zk

import (
	"bytes"
	"strconv"
	"strings"
)

// line is the first line of the text, bounded, without its line end.
func line(text []byte) string {
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		text = text[:i]
	}
	return string(bytes.TrimRight(text[:min(len(text), maxLine)], "\r"))
}

// printable escapes everything that a terminal could obey (control characters,
// bidirectional marks, invalid UTF-8) and bounds the result to n bytes.
func printable(s string, n int) string {
	cut := len(s) > n
	if cut {
		s = s[:n]
	}
	q := strconv.Quote(s)
	q = strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
	if cut || len(q) > n {
		const more = "..."
		q = strings.ToValidUTF8(q[:min(len(q), n-len(more))], "") + more
	}
	return q
}

// quoted is the first line of an answer as a quoted, bounded string.
func quoted(text []byte) string {
	return `"` + printable(line(text), maxDetail-64) + `"`
}
