package release

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestRPM compares the package with the deb: the same files with the same
// modes, but for the two places where the distributions differ.
func TestRPM(t *testing.T) {
	needRoot(t)
	d := release(t)
	for arch, machine := range architectures {
		head := output(t, "rpm", "-qp", "--qf", "%{NAME} %{VERSION} %{RELEASE} %{ARCH} %{LICENSE} %{BUILDHOST}", d.rpm(arch))
		if want := "rstwhy " + pkgVersion + " 1 " + machine + " Apache-2.0 rstwhy"; head != want {
			t.Errorf("%s: got %q, want %q", arch, head, want)
		}
		want := map[string]bool{}
		deb := d.dist("rstwhy_" + pkgVersion + "-1_" + arch + ".deb")
		for line := range strings.Lines(output(t, "dpkg-deb", "--contents", deb)) {
			f := strings.Fields(line)
			if strings.HasPrefix(f[0], "d") {
				continue
			}
			path := strings.TrimPrefix(f[5], ".")
			path = strings.Replace(path, "/zsh/vendor-completions/", "/zsh/site-functions/", 1)
			path = strings.Replace(path, "/etc/default/", "/etc/sysconfig/", 1)
			want[f[0]+" "+f[1]+" "+path] = true
		}
		got := map[string]bool{}
		for line := range strings.Lines(output(t, "rpm", "-qp", "--qf", "[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES}\n]", d.rpm(arch))) {
			if !strings.HasPrefix(line, "d") {
				got[strings.TrimSpace(line)] = true
			}
		}
		for f := range want {
			if !got[f] {
				t.Errorf("%s: the rpm has no %q", arch, f)
			}
		}
		if len(got) != len(want) || len(got) < 20 {
			t.Errorf("%s: the rpm has %d files, the deb %d", arch, len(got), len(want))
		}
		if config := output(t, "rpm", "-qp", "--configfiles", d.rpm(arch)); config != "/etc/sysconfig/rstwhy\n" {
			t.Errorf("%s: configuration files of the rpm: %q", arch, config)
		}
	}
}

// TestRPMComesAndGoes runs the rpm's scripts, in a clean root; that it is
// Debian's matters to none of them.
func TestRPMComesAndGoes(t *testing.T) {
	needRoot(t)
	d, root := release(t), cleanRoot(t)
	rpm := func(args ...string) {
		t.Helper()
		output(t, "rpm", append([]string{"--root", root, "--dbpath", "/rpmdb"}, args...)...)
	}
	before := snapshot(t, root)
	pkg := d.rpm(runtime.GOARCH)
	rpm("--install", "--nodeps", pkg)
	checkFiles(t, d, root, "/usr/share/zsh/site-functions/_rstwhy", "/etc/sysconfig/rstwhy")
	checkOff(t, root)
	outputOf(t, inside(root, "systemctl", "enable", "rstwhy.service"))
	// An upgrade removes the old version after it has installed the new one, and
	// must leave alone what the administrator chose.
	rpm("--upgrade", "--nodeps", "--force", pkg)
	link := filepath.Join(root, "etc/systemd/system/multi-user.target.wants/rstwhy.service")
	if _, err := os.Lstat(link); err != nil {
		t.Errorf("after an upgrade the unit is no longer enabled: %v", err)
	}
	rpm("--erase", "rstwhy")
	// /etc/sysconfig is of the package filesystem, which Debian lacks.
	for _, c := range changes(before, snapshot(t, root), "/rpmdb", "/etc/sysconfig") {
		t.Errorf("left over after rpm --erase: %s", c)
	}
}
