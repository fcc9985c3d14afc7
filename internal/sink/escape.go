package sink

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// widths measures runes as a terminal in a UTF-8 locale does. Ambiguous runes
// are narrow whatever the environment says, so that output depends on the
// record alone.
var widths = &runewidth.Condition{}

const (
	ellipsis = "…"
	// maxMarks combining marks may follow a letter; more of them would paint
	// over the neighbouring lines, and have no width that could bound them.
	maxMarks = 2
)

// Escape makes a foreign string safe to print on a terminal, in at most max
// columns; what is cut is replaced by "…". Bytes that are not UTF-8 and ASCII
// control characters become \xNN; other runes that are invisible or steer the
// terminal (C1 controls, bidirectional overrides as in CVE-2021-42574, format
// characters, odd spaces, private use) become \u{N}. Backslashes stay, so that
// escaping twice changes nothing.
func Escape(s string, max int) string {
	if max <= 0 {
		return ""
	}
	if plain(s) && len(s) <= max {
		return s
	}
	var b strings.Builder
	used, cut := 0, 0 // columns so far; bytes that still leave room for the ellipsis
	marks := maxMarks // none may come first
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		piece, w := s[:size], 0
		switch {
		case r == utf8.RuneError && size == 1:
			piece = fmt.Sprintf(`\x%02x`, s[0])
			w, marks = len(piece), maxMarks
		case unicode.In(r, unicode.Mn, unicode.Me) && marks < maxMarks && widths.RuneWidth(r) == 0:
			marks++
		case visible(r):
			w, marks = widths.RuneWidth(r), 0
		default:
			piece = escaped(r)
			w, marks = len(piece), maxMarks
		}
		if used+w > max {
			return b.String()[:cut] + ellipsis
		}
		b.WriteString(piece)
		if used += w; used < max {
			cut = b.Len()
		}
		s = s[size:]
	}
	return b.String()
}

// plain tells whether s is printable ASCII, as nearly every string is.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// visible tells whether r shows itself and occupies columns. The four that
// unicode calls letters or symbols and that print as nothing are left out.
func visible(r rune) bool {
	switch r {
	case 0x115f, 0x1160, 0x2800, 0x3164, 0xffa0:
		return false
	}
	return unicode.IsPrint(r) && widths.RuneWidth(r) > 0
}

func escaped(r rune) string {
	if r < utf8.RuneSelf {
		return fmt.Sprintf(`\x%02x`, r)
	}
	return fmt.Sprintf(`\u{%x}`, r)
}

// columns is the display width of an escaped string.
func columns(s string) int {
	if plain(s) {
		return len(s)
	}
	n := 0
	for _, r := range s {
		n += widths.RuneWidth(r)
	}
	return n
}

// steers tells whether r does something to a terminal, or to the order of the
// text, instead of showing itself.
func steers(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}
