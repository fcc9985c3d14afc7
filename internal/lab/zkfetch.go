package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// ZKRelease is a release of ZooKeeper as a Debian suite carries it.
type ZKRelease struct {
	Suite   string   // Debian's name of the suite
	Version string   // what the version text of its server begins with
	debs    []string // packages that hold the jars
	jars    []string // class path, below usr/share/java
}

// ZKReleases are the releases that Debian carries, oldest first. The packages
// are the least with which the servers (NIO and Netty) and the clients (Java,
// C and Python) start, found by experiment: no dependency is followed, since
// Debian's pull in half a desktop of Java (Jetty serves only the AdminServer,
// which the lab turns off).
var ZKReleases = []ZKRelease{
	{
		Suite: "bullseye", Version: "3.4.13",
		debs: append([]string{"libzookeeper-java", "liblog4j1.2-java", "libslf4j-java"}, zkOtherClients...),
		jars: []string{"zookeeper.jar", "slf4j-api.jar", "slf4j-log4j12.jar", "log4j-1.2.jar"},
	},
	{Suite: "bookworm", Version: "3.8.0", debs: zkNettyDebs, jars: zkNettyJars},
	{Suite: "trixie", Version: "3.9.", debs: zkNettyDebs, jars: zkNettyJars},
}

// zkOtherClients are the C library with its shell and the Python library.
var zkOtherClients = []string{"libzookeeper-mt2", "zookeeper-bin", "python3-kazoo", "python3-six"}

// zkNettyDebs and zkNettyJars are those of a release that can speak through
// Netty, and hence TLS.
var (
	zkNettyDebs = append([]string{"libzookeeper-java", "liblog4j1.2-java", "libslf4j-java", "libsnappy-java",
		"libnetty-java", "libdropwizard-metrics-java", "libcommons-cli-java", "libcommons-io-java"}, zkOtherClients...)
	zkNettyJars = []string{"zookeeper.jar", "zookeeper-jute.jar", "slf4j-api.jar", "slf4j-log4j12.jar", "log4j-1.2.jar",
		"netty-all.jar", "netty-buffer.jar", "netty-codec.jar", "netty-common.jar", "netty-handler.jar",
		"netty-resolver.jar", "netty-transport.jar", "netty-transport-native-epoll.jar",
		"netty-transport-native-unix-common.jar", "metrics-core.jar", "snappy-java.jar", "commons-cli.jar",
		"commons-io.jar"}
)

// Keyring holds the keys of Debian's archives.
const Keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Fetch makes sure that the release's packages are unpacked below cache and
// returns the directory of their jars. It reads the suite from the mirror that
// this machine uses, through an apt state of its own: the machine's apt lists
// and installed packages are not touched. A second call uses what is there.
func (r ZKRelease) Fetch(ctx context.Context, cache string) (string, error) {
	dir := filepath.Join(cache, "zookeeper-"+r.Suite)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the cache of ZooKeeper packages: %w", err)
	}
	unlock, err := zkLock(filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()

	jars := filepath.Join(dir, "root", "usr", "share", "java")
	complete := filepath.Join(dir, "complete")
	want := strings.Join(r.debs, "\n")
	if have, err := os.ReadFile(complete); err == nil && string(have) == want {
		return jars, nil
	}
	mirrors, err := DebianMirrors()
	if err != nil {
		return "", err
	}
	if err := r.download(ctx, dir, mirrors.Main); err != nil {
		return "", fmt.Errorf("fetch ZooKeeper of Debian %s: %w", r.Suite, err)
	}
	for _, jar := range r.jars {
		if _, err := os.Stat(filepath.Join(jars, jar)); err != nil {
			return "", fmt.Errorf("fetch ZooKeeper of Debian %s: a package changed: %w", r.Suite, err)
		}
	}
	return jars, os.WriteFile(complete, []byte(want), 0o644)
}

func (r ZKRelease) download(ctx context.Context, dir, mirror string) error {
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w (ZooKeeper comes from Debian's packages: run on Debian or Ubuntu)", err)
		}
	}
	if _, err := os.Stat(Keyring); err != nil {
		return fmt.Errorf("%w (install debian-archive-keyring)", err)
	}
	for _, d := range []string{"etc/preferences.d", "lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	debs := filepath.Join(dir, "debs")
	if err := os.RemoveAll(debs); err != nil {
		return err
	}
	if err := os.Mkdir(debs, 0o755); err != nil {
		return err
	}
	source := fmt.Sprintf("deb [signed-by=%s arch=%s] %s %s main\n", Keyring, runtime.GOARCH, mirror, r.Suite)
	if err := os.WriteFile(filepath.Join(dir, "etc", "sources.list"), []byte(source), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "status"), nil, 0o644); err != nil {
		return err
	}
	options := AptOptions(dir, runtime.GOARCH)
	if err := zkRun(ctx, debs, "apt-get", append(options, "update", "-qq")...); err != nil {
		return err
	}
	if err := zkRun(ctx, debs, "apt-get", append(append(options, "download"), r.debs...)...); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := zkRun(ctx, debs, "dpkg-deb", "-x", f, filepath.Join(dir, "root")); err != nil {
			return err
		}
	}
	return nil
}

// AptOptions points apt at a state of its own in dir, for packages of an
// architecture (Debian's names of those that rstwhy runs on are Go's): the machine's
// lists and packages are not touched.
func AptOptions(dir, arch string) []string {
	var o []string
	for _, s := range []string{
		"Dir::Etc=" + filepath.Join(dir, "etc"),
		"Dir::Etc::sourcelist=" + filepath.Join(dir, "etc", "sources.list"),
		"Dir::State=" + dir,
		"Dir::State::lists=" + filepath.Join(dir, "lists"),
		"Dir::State::status=" + filepath.Join(dir, "status"),
		"Dir::Cache=" + filepath.Join(dir, "cache"),
		"APT::Architecture=" + arch,
		"APT::Architectures::=" + arch,
		"APT::Sandbox::User=root", // the cache is not readable to apt's own user
		"Acquire::Retries=3",
	} {
		o = append(o, "-o", s)
	}
	return o
}

func zkRun(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// zkLock serialises tests that run at the same time.
func zkLock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the cache of ZooKeeper packages: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// MirrorEnv names a Debian mirror where the machine's own sources have none, as on
// Ubuntu.
const MirrorEnv = "RSTWHY_DEBIAN_MIRROR"

// Mirrors are where the machine's own apt sources get Debian from.
type Mirrors struct {
	Main     string
	Security string // the archive of security updates; may be empty
}

// DebianMirrors reads apt's sources, in the deb822 form (sources.list(5)) and in
// the one-line form.
func DebianMirrors() (m Mirrors, err error) {
	named := os.Getenv(MirrorEnv)
	paths, _ := filepath.Glob("/etc/apt/sources.list.d/*.sources")
	lists, _ := filepath.Glob("/etc/apt/sources.list.d/*.list")
	for _, p := range append(append(paths, "/etc/apt/sources.list"), lists...) {
		text, err := os.ReadFile(p)
		if err != nil && !errors.Is(err, os.ErrNotExist) && named == "" {
			return m, fmt.Errorf("read apt's sources: %w", err)
		}
		m.Read(string(text))
	}
	if named != "" {
		m.Main = named
	}
	if m.Main == "" {
		return m, errors.New("no Debian mirror in /etc/apt: tests take ZooKeeper, kernels and clean systems from there; name a mirror in the environment variable " + MirrorEnv)
	}
	return m, nil
}

// Read takes the first mirror of Debian itself and of its security archive that a
// sources file names: vendors' and Ubuntu's archives do not carry the suites.
func (m *Mirrors) Read(text string) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "URIs:" && fields[0] != "deb" {
			continue
		}
		for _, f := range fields[1:] {
			switch path := strings.TrimRight(f, "/"); {
			case strings.HasSuffix(path, "/debian") && m.Main == "":
				m.Main = f
			case strings.HasSuffix(path, "/debian-security") && m.Security == "":
				m.Security = f
			}
		}
	}
}
