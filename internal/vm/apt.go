package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
	// mirrorVariable names a Debian mirror where the machine's own sources have
	// none, as on Ubuntu; the ZooKeeper tests use it too.
	mirrorVariable = "RSTWHY_DEBIAN_MIRROR"
)

// aptState is an apt of its own for one suite and architecture: the machine's
// lists and packages are not touched.
type aptState struct {
	dir, suite, arch string
}

// openApt writes the state's configuration and reads the suite's newest lists.
func openApt(ctx context.Context, dir, suite, arch string) (*aptState, error) {
	if _, err := os.Stat(keyring); err != nil {
		return nil, fmt.Errorf("%w (install debian-archive-keyring)", err)
	}
	m, err := machineMirrors()
	if err != nil {
		return nil, err
	}
	a := &aptState{dir: filepath.Join(dir, suite+"-"+arch), suite: suite, arch: arch}
	for _, d := range []string{"lists/partial", "cache/archives/partial", "etc/preferences.d"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	for name, content := range map[string]string{"status": "", "etc/sources.list": m.sources(suite, arch)} {
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
	var all []string
	for _, s := range []string{
		"Dir::Etc=" + a.dir + "/etc",
		"Dir::Etc::sourcelist=" + a.dir + "/etc/sources.list",
		"Dir::State=" + a.dir,
		"Dir::State::lists=" + a.dir + "/lists",
		"Dir::State::status=" + a.dir + "/status",
		"Dir::Cache=" + a.dir + "/cache",
		"APT::Architecture=" + a.arch,
		"APT::Architectures::=" + a.arch,
		"APT::Sandbox::User=root", // the cache is not readable to apt's own user
		"Acquire::Languages=none",
		"Acquire::Retries=3",
		"APT::Update::Error-Mode=any", // lists that could not be read are an error, not a warning
	} {
		all = append(all, "-o", s)
	}
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

// mirrors are where the machine's own apt sources get Debian from.
type mirrors struct {
	main, security string // security may be empty
}

// sources is the content of a sources.list(5). A suite's newest kernels are in
// its security archive; sid, backports and the like have none.
func (m mirrors) sources(suite, arch string) string {
	line := func(uri, suite string) string {
		return fmt.Sprintf("deb [signed-by=%s arch=%s] %s %s main\n", keyring, arch, uri, suite)
	}
	s := line(m.main, suite)
	if m.security != "" && suite != "sid" && !strings.Contains(suite, "-") {
		s += line(m.security, suite+"-security")
	}
	return s
}

// machineMirrors reads apt's sources, in the deb822 and in the one-line form.
func machineMirrors() (m mirrors, err error) {
	paths, _ := filepath.Glob("/etc/apt/sources.list.d/*.sources")
	lists, _ := filepath.Glob("/etc/apt/sources.list.d/*.list")
	for _, p := range append(append(paths, "/etc/apt/sources.list"), lists...) {
		text, err := os.ReadFile(p)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return m, fmt.Errorf("read apt's sources: %w", err)
		}
		m.read(string(text))
	}
	if uri := os.Getenv(mirrorVariable); uri != "" {
		m.main = uri
	}
	if m.main == "" {
		return m, errors.New("no Debian mirror in /etc/apt, and the kernels come from Debian's packages: name a mirror in the environment variable " + mirrorVariable)
	}
	return m, nil
}

// read takes the first mirror of Debian itself and of its security archive: vendors'
// and Ubuntu's archives do not carry the suites.
func (m *mirrors) read(text string) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "URIs:" && fields[0] != "deb" {
			continue
		}
		for _, f := range fields[1:] {
			switch path := strings.TrimRight(f, "/"); {
			case strings.HasSuffix(path, "/debian") && m.main == "":
				m.main = f
			case strings.HasSuffix(path, "/debian-security") && m.security == "":
				m.security = f
			}
		}
	}
}
