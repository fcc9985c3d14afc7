package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"rstwhy/internal/lab"
)

// aptState is an apt of its own for one suite and architecture: the machine's
// lists and packages are not touched.
type aptState struct {
	dir, suite, arch string
}

// openApt writes the state's configuration and reads the suite's newest lists.
func openApt(ctx context.Context, dir, suite, arch string) (*aptState, error) {
	if _, err := os.Stat(lab.Keyring); err != nil {
		return nil, fmt.Errorf("%w (install debian-archive-keyring)", err)
	}
	m, err := lab.DebianMirrors()
	if err != nil {
		return nil, err
	}
	a := &aptState{dir: filepath.Join(dir, suite+"-"+arch), suite: suite, arch: arch}
	for _, d := range []string{"lists/partial", "cache/archives/partial", "etc/preferences.d"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	for name, content := range map[string]string{"status": "", "etc/sources.list": sources(m, suite, arch)} {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(content), 0o644); err != nil {
			return nil, err
		}
	}
	if _, err := a.run(ctx, "", "apt-get", "update", "-qq"); err != nil {
		return nil, fmt.Errorf("read the lists of Debian %s (%s): %w", suite, arch, err)
	}
	return a, nil
}

func (a *aptState) run(ctx context.Context, dir, name string, args ...string) (string, error) {
	all := lab.AptOptions(a.dir, a.arch)
	all = append(all, "-o", "Acquire::Languages=none")
	all = append(all, "-o", "APT::Update::Error-Mode=any") // lists that could not be read are an error, not a warning
	return command(ctx, dir, name, append(all, args...)...)
}

// command runs a program and gives what it wrote to its standard output.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var errs strings.Builder
	cmd.Dir, cmd.Env, cmd.Stderr = dir, append(os.Environ(), "LC_ALL=C"), &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(errs.String()))
	}
	return string(out), nil
}

// sources is the content of a sources.list(5). A suite's newest kernels are in
// its security archive; sid, backports and the like have none.
func sources(m lab.Mirrors, suite, arch string) string {
	line := func(uri, suite string) string {
		return fmt.Sprintf("deb [signed-by=%s arch=%s] %s %s main\n", lab.Keyring, arch, uri, suite)
	}
	s := line(m.Main, suite)
	if m.Security != "" && suite != "sid" && !strings.Contains(suite, "-") {
		s += line(m.Security, suite+"-security")
	}
	return s
}
