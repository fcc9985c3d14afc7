package netns

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTroubleIsOneLine: why a namespace was not entered is printed as a warning
// or in an explanation, in one line.
func TestTroubleIsOneLine(t *testing.T) {
	const nobody = 1 << 22 // no pid is that high
	s := NewSpaces()
	s.Note(7, nobody)
	entered := s.Enter(7, func() error { return nil })
	s.Note(7, nobody)
	var v values
	_, read := s.read(7, &v)
	for _, err := range []error{entered, read} {
		if !errors.Is(err, ErrEnter) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "; ") {
			t.Errorf("%q, want two reasons in one line", err)
		}
	}
	if !errors.Is(entered, unix.ENOENT) || !strings.Contains(entered.Error(), fmt.Sprint(nobody)) {
		t.Errorf("%q does not tell which way was tried", entered)
	}
	if err := s.Enter(8, func() error { return nil }); err == nil || strings.Contains(err.Error(), ";") {
		t.Errorf("no way to try: %q", err)
	}
	if also(nil, nil) != nil {
		t.Error("an error out of nothing")
	}
}
