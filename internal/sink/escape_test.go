package sink

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	for _, c := range []struct {
		name, in string
		max      int
		want     string
	}{
		{"plain", "kafka.Kafka", 20, "kafka.Kafka"},
		{"exact fit", "abcde", 5, "abcde"},
		{"cut", "abcdef", 5, "abcd…"},
		{"nothing fits", "ab", 1, "…"},
		{"no room", "ab", 0, ""},
		{"newline and tab", "a\nb\tc", 20, `a\x0ab\x09c`},
		{"escape sequence", "\x1b[31mred", 20, `\x1b[31mred`},
		{"DEL", "a\x7f", 20, `a\x7f`},
		{"C1 as UTF-8", "\u009b2J", 20, `\u{9b}2J`},
		{"C1 as a byte", "\x9b2J", 20, `\x9b2J`},
		{"bidirectional override", "\u202egnp.exe", 20, `\u{202e}gnp.exe`},
		{"bidirectional isolate", "\u2066x\u2069", 20, `\u{2066}x\u{2069}`},
		{"line separator", "a\u2028b", 20, `a\u{2028}b`},
		{"zero width", "a\u200bb\ufeff", 30, `a\u{200b}b\u{feff}`},
		{"odd space", "a\u00a0b", 20, `a\u{a0}b`},
		{"blank letter", "\u3164", 20, `\u{3164}`},
		{"truncated UTF-8", "a\xe2\x80", 20, `a\xe2\x80`},
		{"replacement rune itself", "\ufffd", 20, "\ufffd"},
		{"letters", "héllo", 20, "héllo"},
		{"wide", "日本語", 6, "日本語"},
		{"wide cut", "日本語", 5, "日本…"},
		{"wide cut leaves a column", "日本語", 4, "日…"},
		{"escape not cut in two", "abc\x1b", 6, "abc…"},
		{"accent", "e\u0301", 5, "e\u0301"},
		{"accent first", "\u0301e", 10, `\u{301}e`},
		{"stack of accents", "e\u0301\u0301\u0301", 20, "e\u0301\u0301" + `\u{301}`},
	} {
		if got := Escape(c.in, c.max); got != c.want {
			t.Errorf("%s: Escape(%q, %d) = %q, want %q", c.name, c.in, c.max, got, c.want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add(evil, 30)
	f.Add(strings.Repeat("e\u0301", 100), 7)
	f.Add("\xed\xa0\x80\xf4\x90\x80\x80", 100)
	f.Fuzz(func(t *testing.T, s string, max int) {
		max %= 2000
		got := Escape(s, max)
		if n := columns(got); n > 0 && n > max {
			t.Errorf("Escape(%q, %d) = %q has %d columns", s, max, got, n)
		}
		checkVisible(t, got)
		if again := Escape(got, max); again != got {
			t.Errorf("Escape(%q, %d) is not idempotent: %q, then %q", s, max, got, again)
		}
	})
}

// checkVisible fails on anything in a printed string that a terminal obeys
// instead of showing it.
func checkVisible(t *testing.T, s string) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Errorf("invalid UTF-8: %q", s)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			t.Errorf("rune %U in %q", r, s)
			return
		}
	}
}

func TestEscapeHuge(t *testing.T) {
	for _, s := range []string{strings.Repeat("x", 1<<20), strings.Repeat("\x1b", 1<<20), "e" + strings.Repeat("\u0301", 1<<19)} {
		if got := Escape(s, 40); columns(got) > 40 || len(got) > 200 || !strings.HasSuffix(got, "…") {
			t.Errorf("a string of %d bytes became %d columns, %d bytes", len(s), columns(got), len(got))
		}
	}
}
