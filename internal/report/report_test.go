package report

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rstwhy/internal/event"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (make it with go test ./internal/report -update)", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

var options = Options{Version: "v1.2.3", Sources: []string{"incident.rec"}}

// forms are the two forms of the document.
var forms = map[string]func(*Session, io.Writer, Options) error{"md": (*Session).Markdown, "html": (*Session).HTML}

func made(t *testing.T, s *Session, form string) string {
	t.Helper()
	var b bytes.Buffer
	if err := forms[form](s, &b, options); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for form := range forms {
		golden(t, "incident."+form, []byte(made(t, incident(t), form)))
	}
}

func TestNothingSeen(t *testing.T) {
	for form := range forms {
		got := made(t, newRecorded().end(t, 90*time.Second, nil), form)
		if want := "No reset was seen in 1m30s."; !bytes.Contains([]byte(got), []byte(want)) {
			t.Errorf("%s: %q is missing in\n%s", form, want, got)
		}
	}
}

func TestNoSummary(t *testing.T) {
	var s Session
	if err := s.Summary(&event.Summary{Scope: event.ScopeInterval}); err != nil {
		t.Fatal(err)
	}
	for form, write := range forms {
		var b bytes.Buffer
		if err := write(&s, &b, options); !errors.Is(err, ErrNoSummary) || b.Len() != 0 {
			t.Errorf("%s: error %v after %d bytes", form, err, b.Len())
		}
	}
}

type full struct{}

var errFull = errors.New("no space left")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestWriteError(t *testing.T) {
	for form, write := range forms {
		if err := write(incident(t), full{}, options); !errors.Is(err, errFull) {
			t.Errorf("%s: error %v", form, err)
		}
	}
}
