package owner

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func mkfifo(t *testing.T, path string) {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestMissing(t *testing.T) {
	name := func(lines []string) (names []string) {
		for _, l := range lines {
			n, lost, ok := strings.Cut(l, ": ")
			if !ok || lost == "" {
				t.Errorf("%q does not say what is lost", l)
			}
			names = append(names, n)
		}
		return names
	}
	all := []string{"CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH"}
	if got := name(missing(0)); !cmp.Equal(got, all) {
		t.Errorf("with none: %q", got)
	}
	if got := missing(1<<41 - 1); len(got) != 0 {
		t.Errorf("with all: %q", got)
	}
	// CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON.
	if got := name(missing(1 << capSysAdmin)); !cmp.Equal(got, []string{"CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"}) {
		t.Errorf("with CAP_SYS_ADMIN: %q", got)
	}
	if v, err := parseCapEff("Name:\tx\nCapPrm:\t0\nCapEff:\t000001ffffffffff\n"); err != nil || v != 1<<41-1 {
		t.Errorf("got %x, %v", v, err)
	}
	for _, bad := range []string{"", "CapEff:\tzz\n"} {
		if _, err := parseCapEff(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// asNobody, set in the environment, makes the test binary print Missing.
const asNobody = "RSTWHY_TEST_MISSING"

func TestMain(m *testing.M) {
	if os.Getenv(asNobody) != "" {
		os.Stdout.WriteString(strings.Join(Missing(), "\n"))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestMissingAsNobody(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to become nobody")
	}
	// Through a link that nobody may follow, unlike the directory of the test.
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	cmd := exec.Command("/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{self}
	cmd.Dir = "/"
	cmd.Env = []string{asNobody + "=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(out), "CAP_"); n < 5 || !strings.HasPrefix(string(out), "CAP_BPF: ") {
		t.Errorf("nobody lacks:\n%s", out)
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
