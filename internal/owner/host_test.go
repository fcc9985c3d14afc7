package owner

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"
)

func mkfifo(t *testing.T, path string) {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestPIDNamespace(t *testing.T) {
	if _, err := InHostPIDNamespace(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for target, want := range map[string]bool{"pid:[4026531836]": true, "pid:[4026532100]": false} {
		link := filepath.Join(dir, target)
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		if got, err := isInitPIDNamespace(link); err != nil || got != want {
			t.Errorf("%s: got %v, %v", target, got, err)
		}
	}
	bad := filepath.Join(dir, "bad")
	if err := os.Symlink("rubbish", bad); err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{bad, filepath.Join(dir, "none")} {
		if _, err := isInitPIDNamespace(link); err == nil {
			t.Errorf("%s is accepted", link)
		}
	}
}

func TestClean(t *testing.T) {
	for _, c := range []struct {
		in    string
		limit int
		want  string
	}{
		{"", 5, ""}, {"abcde", 5, "abcde"}, {"abcdef", 5, "ab…"}, {"aäöü", 6, "aä…"},
		{"\xffa", 9, "\uFFFDa"}, {"\x1b[0m", 9, "\x1b[0m"}, {strings.Repeat("\xff", 99), 3, "\uFFFD"},
	} {
		got := clean(c.in, c.limit)
		if got != c.want || len(got) > c.limit || !utf8.ValidString(got) {
			t.Errorf("%q to %d bytes: got %q, want %q", c.in, c.limit, got, c.want)
		}
	}
}
