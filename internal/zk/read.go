package zk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxCmdline leaves room for several arguments of the greatest length that the
// kernel allows for one (128 KiB: MAX_ARG_STRLEN, include/uapi/linux/binfmts.h);
// class paths are long, and the main class stands behind them.
const maxCmdline = 512 << 10

// ErrNoServer says that a process is no ZooKeeper server.
var ErrNoServer = errors.New("not a ZooKeeper server")

// ReadConfig finds the client ports of the server that runs as pid, as its own
// files name them: through its root directory, which need not be ours. Of the
// member lines only the server's own counts where its myid can be read; all of
// them otherwise, so that a caller should match the ports with the sockets that
// the process listens on.
func ReadConfig(pid uint32) (Config, error) {
	dir := "/proc/" + strconv.FormatUint(uint64(pid), 10)
	argv, err := cmdline(dir)
	if err != nil {
		return Config{}, err
	}
	loc, ok := ServerFromCmdline(argv)
	if !ok {
		return Config{}, fmt.Errorf("process %d: %w", pid, ErrNoServer)
	}
	if loc.Path == "" {
		var c Config
		if loc.ClientPort != 0 {
			c.Ports = []ClientPort{{Port: loc.ClientPort}}
		}
		return c, nil
	}
	t, err := openTree(dir)
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration of process %d: %w", pid, err)
	}
	defer t.close()
	c, err := t.config(loc.Path)
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration of process %d: %w", pid, err)
	}
	return c, nil
}

func (t *tree) config(name string) (Config, error) {
	text, err := t.read(name)
	if err != nil {
		return Config{}, err
	}
	c := ParseConfig(text)
	if c.Dynamic != "" {
		// The ports of the main file hold where this one cannot be read.
		if text, err := t.read(c.Dynamic); err == nil {
			c.merge(ParseConfig(text))
		}
	}
	if c.DataDir != "" {
		if text, err := t.read(c.DataDir + "/myid"); err == nil {
			c.own(string(text))
		}
	}
	for _, n := range slices.Sorted(maps.Keys(c.Members)) {
		c.add(c.Members[n])
	}
	return c, nil
}

// own keeps the member line of this server.
func (c *Config) own(myid string) {
	n, err := strconv.ParseInt(strings.TrimSpace(myid), 10, 64)
	if p, ok := c.Members[n]; err == nil && ok {
		c.Members = map[int64]ClientPort{n: p}
	}
}

func cmdline(dir string) ([]string, error) {
	f, err := os.Open(dir + "/cmdline")
	if err != nil {
		return nil, fmt.Errorf("read the command line: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCmdline))
	if err != nil {
		return nil, fmt.Errorf("read the command line %s/cmdline: %w", dir, err)
	}
	text = bytes.TrimSuffix(text, []byte{0})
	return strings.Split(string(text), "\x00"), nil
}

// tree is the file system as another process sees it.
type tree struct {
	root int    // its root directory
	cwd  string // its working directory, below root; empty where it cannot be told
}

func openTree(dir string) (*tree, error) {
	fd, err := unix.Open(dir+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s/root (CAP_SYS_PTRACE is needed): %w", dir, err)
	}
	t := &tree{root: fd}
	t.cwd = t.workingDirectory(dir)
	return t, nil
}

func (t *tree) close() { unix.Close(t.root) }

// workingDirectory translates /proc/PID/cwd. Its text is relative to the mount
// namespace of the process, so a chroot's prefix has to go; that the result is
// the same directory is verified.
func (t *tree) workingDirectory(dir string) string {
	cwd, err1 := os.Readlink(dir + "/cwd")
	root, err2 := os.Readlink(dir + "/root")
	if err1 != nil || err2 != nil {
		return ""
	}
	if root != "/" {
		var ok bool
		if cwd, ok = strings.CutPrefix(cwd, root); !ok {
			return ""
		}
	}
	if cwd == "" {
		cwd = "/"
	}
	var want, got unix.Stat_t
	fd, err := t.open(cwd)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	if unix.Stat(dir+"/cwd", &want) != nil || unix.Fstat(fd, &got) != nil ||
		want.Dev != got.Dev || want.Ino != got.Ino {
		return ""
	}
	return cwd
}

// open resolves a name as the process would, links and ".." included, and
// cannot leave its root. O_PATH touches no device or pipe.
func (t *tree) open(name string) (int, error) {
	return unix.Openat2(t.root, name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// read gives the content of a regular file of bounded size.
func (t *tree) read(name string) ([]byte, error) {
	if name == "" || len(name) > maxPath {
		return nil, fmt.Errorf("open a file: name of %d bytes", len(name))
	}
	shown := printable(name, maxDetail)
	full := name
	if !strings.HasPrefix(name, "/") {
		if t.cwd == "" {
			return nil, fmt.Errorf("open %s: its working directory cannot be told", shown)
		}
		full = t.cwd + "/" + name // not path.Join: ".." behind a link is not lexical
	}
	fd, err := t.open(full)
	if err != nil {
		return nil, fmt.Errorf("open %s below its root: %w", shown, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", shown, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("open %s: not a regular file", shown)
	}
	if st.Size > maxConfig {
		return nil, fmt.Errorf("open %s: %d bytes are more than %d", shown, st.Size, maxConfig)
	}
	f, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(fd), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", shown, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", shown, err)
	}
	return text, nil
}
