package guest

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// section is one of docs/tour.md: a heading, and what it asks the reader to paste.
type section struct {
	heading string
	told    string // the cause or the rule that a numbered heading promises
	paste   string
}

var (
	fenced   = regexp.MustCompile("(?s)```bash\n(.*?)```")
	numbered = regexp.MustCompile("^[0-9]+\\. .*: `([a-z0-9-]+)`$")
)

func readTour(t *testing.T) (all []section) {
	t.Helper()
	page, err := os.ReadFile("../../docs/tour.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(page), "\n## ")[1:] {
		heading, body, _ := strings.Cut(part, "\n")
		s := section{heading: heading}
		if m := numbered.FindStringSubmatch(heading); m != nil {
			s.told = m[1]
		}
		for _, m := range fenced.FindAllStringSubmatch(body, -1) {
			s.paste += m[1]
		}
		all = append(all, s)
	}
	return all
}

// TestTourPage: the page promises six resets, each of another kind, one of them
// ZooKeeper's, and lets each be explained. That they come is TestTour's, in the guest.
func TestTourPage(t *testing.T) {
	var told []string
	for _, s := range readTour(t) {
		if s.told == "" {
			continue
		}
		told = append(told, s.told)
		if !strings.Contains(s.paste, "\nrstwhy explain "+s.told+"\n") {
			t.Errorf("%q lets nobody read what %s means: %q", s.heading, s.told, s.paste)
		}
	}
	if len(told) != 6 || len(slices.Compact(slices.Sorted(slices.Values(told)))) != 6 {
		t.Errorf("the tour promises %q, want six different ones", told)
	}
	if !slices.ContainsFunc(told, func(id string) bool { return strings.HasPrefix(id, "zookeeper-") }) {
		t.Errorf("the tour promises %q, and none is ZooKeeper's", told)
	}
}
