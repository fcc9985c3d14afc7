package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"rstwhy/internal/diagnose"
	"rstwhy/internal/pipeline"
)

func parseSelection(replay bool, args ...string) (pipeline.Select, error) {
	var f selectFlags
	fs := pflag.NewFlagSet("trace", pflag.ContinueOnError)
	f.register(fs)
	if err := fs.Parse(args); err != nil {
		return pipeline.Select{}, err
	}
	return f.selection(replay)
}

func TestSelection(t *testing.T) {
	self := ownNetNS(t)
	pid := fmt.Sprint(os.Getpid())
	id := strings.Repeat("0123456789ABCDEF", 4)
	got, err := parseSelection(false, "--pid", "1,!2", "-p", "3", "--comm", "nginx", "--comm", "!sh", "--container", id, "--container", "!web",
		"--pod", "shop/web-0", "--unit", "!ssh", "--cause", "closed-port,!late-data", "--verdict", "!zookeeper-1702", "--quiet-expected", "--zk",
		"--netns", "pid:"+pid, "--netns", "!4026531840", "--netns", "net:[17]", "--netns", "/proc/"+pid+"/ns/net")
	want := pipeline.Select{
		PIDs: []uint32{1, 3}, NotPIDs: []uint32{2}, Comms: []string{"nginx"}, NotComms: []string{"sh"}, ZK: true, QuietExpected: true,
		Containers: pipeline.Terms[string]{Any: []string{strings.ToLower(id)}, None: []string{"web"}},
		Pods:       pipeline.Terms[string]{Any: []string{"shop/web-0"}},
		Units:      pipeline.Terms[string]{None: []string{"ssh"}},
		NetNS:      pipeline.Terms[uint32]{Any: []uint32{self, 17, self}, None: []uint32{4026531840}},
		Causes:     pipeline.Terms[string]{Any: []string{"closed-port"}, None: []string{"late-data"}},
		Verdicts:   pipeline.Terms[string]{None: []string{"zookeeper-1702"}},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got, err := parseSelection(false); err != nil || !reflect.ValueOf(got).IsZero() {
		t.Errorf("no flags: %+v, %v", got, err)
	}
}

func ownNetNS(t *testing.T) uint32 {
	t.Helper()
	st, err := os.Stat("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return uint32(st.Sys().(*syscall.Stat_t).Ino)
}

func TestSelectionRefuses(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	hostile := "\x1b[2J\n" + strings.Repeat("x", 1<<20)
	for _, tt := range []struct {
		replay     bool
		flag, want string
	}{
		{false, "--cause=closed-prot", "did you mean closed-port?"},
		{false, "--cause=!closed-prot", "did you mean closed-port?"},
		{false, "--cause=closedport", "did you mean closed-port"},
		{false, "--cause=linger", "linger-zero"},
		{false, "--cause=xyzzy", `"xyzzy" is no cause: run 'rstwhy explain'`},
		{false, "--cause=zookeeper-1702", `is no cause: `},
		{false, "--verdict=zookeeper1702", "did you mean zookeeper-1702"},
		{false, "--verdict=late-data", `"late-data" is no rule: `},
		{false, "--cause=" + hostile, "is no cause"},
		{false, "--verdict=" + hostile, "is no rule"},
		{false, "--netns=" + hostile, "is no network namespace"},
		{false, "--netns=/" + hostile, "network namespace"},
		{false, "--pid=0", "is no process id"},
		{false, "--pid=!-1", "is no process id"},
		{false, "--pid=nginx", "is no process id"},
		{false, "--pid=4194305", "is no process id"},
		{false, "--pod=!", "--pod is given an empty value"},
		{false, "--container=web,", "--container is given an empty value"},
		{false, "--netns=0", "is no network namespace"},
		{false, "--netns=web", "give its inode number"},
		{false, "--netns=pid:x", "is no process id"},
		{false, "--netns=pid:4194304", "cannot find network namespace"},
		{false, "--netns=/proc/self/ns/uts", "not of the network"},
		{false, "--netns=" + fifo, "is no network namespace"},
		{false, "--netns=/etc/passwd", "is no network namespace"},
		{true, "--netns=pid:1", "give the inode number"},
		{true, "--netns=/proc/self/ns/net", "give the inode number"},
	} {
		_, err := parseSelection(tt.replay, tt.flag)
		short := tt.flag[:min(len(tt.flag), 40)]
		if err == nil || !errors.As(err, new(usageError)) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want %q in it", short, err, tt.want)
			continue
		}
		if s := err.Error(); len(s) > 1000 || strings.ContainsAny(s, "\x1b\n") {
			t.Errorf("%q: the error repeats what was given: %.200q, %d bytes", short, s, len(s))
		}
	}
	if _, err := parseSelection(true, "--netns=17"); err != nil {
		t.Errorf("a number on a replay: %v", err)
	}
}

func TestNear(t *testing.T) {
	for _, id := range append(causeIDs(), ruleIDs()...) {
		list := causeIDs()
		if _, ok := diagnose.LookupRule(id); ok {
			list = ruleIDs()
		}
		if got := near(id[1:], list); !slices.Contains(got, id) {
			t.Errorf("%s without its first letter is near %q", id, got)
		}
		if got := near("qqqqqqqqqqqqqqqqqqqqqq", list); len(got) > 0 {
			t.Errorf("nothing is near %q", got)
		}
	}
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"abc", "abc", 0}, {"closed-prot", "closed-port", 2}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("from %q to %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
