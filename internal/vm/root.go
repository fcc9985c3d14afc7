package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"rstwhy/internal/lab"
)

// systems are the Debian releases that can be booted whole, each with its own
// kernel: machines that people run.
var systems = []struct{ suite, series string }{
	{"bookworm", "6.1"},
	{"trixie", "6.12"},
}

const provisionScript = "deploy/provision"

// rootPackages are what a machine has beside what the provisioning script
// installs: an init, and for the tests of make test-guest a Java compiler.
var rootPackages = []string{"systemd", "systemd-sysv", "udev", "dbus", "default-jdk-headless", "python3"}

// root makes sure that the image of a Debian system is there, prepared by the
// provisioning script. It is kept by what it was made of: the versions of its
// packages, and the script.
func (s store) root(ctx context.Context, suite, arch string) (image string, err error) {
	release, err := s.lock(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	a, err := openApt(ctx, filepath.Join(s.dir, "apt"), suite, arch)
	if err != nil {
		return "", err
	}
	key, err := rootKey(ctx, a)
	if err != nil {
		return "", err
	}
	above := filepath.Join(s.dir, "roots", suite+"-"+arch)
	image = filepath.Join(above, key+".squashfs")
	if _, err := os.Stat(image); err == nil {
		return image, nil
	}
	if err := os.MkdirAll(above, 0o755); err != nil {
		return "", err
	}
	old, _ := filepath.Glob(filepath.Join(above, "*"))
	fmt.Fprintf(s.log, "vm: making a root of Debian %s, about three minutes; it is kept in %s\n", suite, above)
	part := image + ".part"
	if err := a.makeRoot(ctx, part); err != nil {
		return "", errors.Join(err, os.RemoveAll(part))
	}
	for _, f := range old {
		if err := os.RemoveAll(f); err != nil {
			return "", err
		}
	}
	return image, os.Rename(part, image)
}

// rootKey names what apt would install, and how it is prepared.
func rootKey(ctx context.Context, a *aptState) (string, error) {
	packages, err := provisioned(ctx)
	if err != nil {
		return "", err
	}
	script, err := os.ReadFile(provisionScript)
	if err != nil {
		return "", err
	}
	install := append([]string{"install", "--simulate", "-qq", "--no-install-recommends"}, packages...)
	plan, err := a.run(ctx, "", "apt-get", install...)
	if err != nil {
		return "", err
	}
	var versions []string
	for line := range strings.Lines(plan) {
		if strings.HasPrefix(line, "Inst ") {
			versions = append(versions, line)
		}
	}
	if len(versions) == 0 {
		return "", fmt.Errorf("apt would install nothing in a root of Debian %s: %q", a.suite, plan)
	}
	slices.Sort(versions)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s", versions, script))
	return fmt.Sprintf("%x", sum[:8]), nil
}

// provisioned are the packages of the root.
func provisioned(ctx context.Context) ([]string, error) {
	list, err := command(ctx, "", provisionScript, "packages")
	if err != nil {
		return nil, err
	}
	return append(slices.Clone(rootPackages), strings.Fields(list)...), nil
}

// makeRoot writes the image: mmdebstrap's archive goes straight into it.
func (a *aptState) makeRoot(ctx context.Context, image string) error {
	packages, err := provisioned(ctx)
	if err != nil {
		return err
	}
	m, err := lab.DebianMirrors()
	if err != nil {
		return err
	}
	list := filepath.Join(a.dir, "root.list")
	if err := os.WriteFile(list, []byte(sources(m, a.suite, a.arch)), 0o644); err != nil {
		return err
	}
	// sqfstar knows no POSIX ACLs, and the system makes the journal's anew.
	pipe := `set -o pipefail
mmdebstrap --quiet --architectures="$1" --variant=minbase --include="$2" \
	--customize-hook='install -D -m 755 "` + provisionScript + `" "$1/usr/local/sbin/rstwhy-provision"' \
	--customize-hook='chroot "$1" rstwhy-provision system' \
	"$3" - "$4" | sqfstar -comp zstd -quiet -no-progress -no-xattrs "$5"`
	out, err := exec.CommandContext(ctx, "bash", "-c", pipe, "makeRoot",
		a.arch, strings.Join(packages, ","), a.suite, list, image).CombinedOutput()
	if err != nil {
		return fmt.Errorf("make a root of Debian %s (needs mmdebstrap and squashfs-tools): %w\n%s", a.suite, err, out)
	}
	return nil
}
