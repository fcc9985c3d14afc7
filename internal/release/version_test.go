package release

import (
	"os/exec"
	"strings"
	"testing"
)

// TestPackageVersion: later commits have later versions, for dpkg and for rpm.
func TestPackageVersion(t *testing.T) {
	var versions []string
	for _, tt := range []struct{ described, want string }{ // oldest first
		{"0a1b2c3", "0~20260102030405.0a1b2c3"},
		{"v0.1.0-rc.1", "0.1.0~rc.1"},
		{"v0.1.0-rc.1-3-g0a1b2c3", "0.1.0~rc.1+3.g0a1b2c3"},
		{"v0.1.0-rc.2", "0.1.0~rc.2"},
		{"v0.1.0", "0.1.0"},
		{"v0.1.0-dirty", "0.1.0+dirty"},
		{"v0.1.0-9-g0a1b2c3", "0.1.0+9.g0a1b2c3"},
		{"v0.1.0-10-gffffff0", "0.1.0+10.gffffff0"},
		{"v0.1.1", "0.1.1"},
	} {
		out, err := exec.Command("../../deploy/package-version", tt.described, "1767323045").Output()
		if got := strings.TrimSpace(string(out)); err != nil || got != tt.want {
			t.Errorf("%s: got %q (%v), want %q", tt.described, got, err, tt.want)
		}
		versions = append(versions, tt.want)
	}
	for i := 1; i < len(versions); i++ {
		older, newer := versions[i-1], versions[i]
		if strings.HasSuffix(older, "+dirty") {
			continue // a developer's build has no place in the order
		}
		if testing.Short() {
			continue // dpkg and rpm come with make test
		}
		if out, err := exec.Command("dpkg", "--compare-versions", older, "lt", newer).CombinedOutput(); err != nil {
			t.Errorf("dpkg: %s is not before %s (%v)%s", older, newer, err, out)
		}
		out, err := exec.Command("rpm", "--eval", "%{lua:print(rpm.vercmp('"+older+"', '"+newer+"'))}").CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != "-1" {
			t.Errorf("rpm: %s against %s is %s (%v), want -1", older, newer, out, err)
		}
	}
	for _, described := range []string{"unknown", "nightly", "v1", "1.2.3", "v1.2.3 x", ""} {
		out, err := exec.Command("../../deploy/package-version", described, "1767323045").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "'"+described+"'") {
			t.Errorf("%q: %q (%v), want an error that names it", described, out, err)
		}
	}
}
