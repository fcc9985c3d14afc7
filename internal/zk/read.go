package zk

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"rstwhy/internal/proctree"
)

// ErrNoServer says that a process is no ZooKeeper server.
var ErrNoServer = errors.New("not a ZooKeeper server")

// errGone says that the pid is another process's by now, or nobody's.
var errGone = fmt.Errorf("the process has ended: %w", fs.ErrNotExist)

// ReadConfig finds the ports of the server that runs as pid, as its own files
// name them: through its root directory, which need not be ours. Of the member
// lines only the server's own counts where its myid can be read; all of them
// otherwise, so that a caller should match the ports with the sockets that the
// process listens on.
func ReadConfig(pid uint32) (Config, error) {
	t, err := proctree.Open(pid)
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration of a process: %w", err)
	}
	defer t.Close()
	argv, err := t.Cmdline()
	if err != nil {
		return Config{}, err
	}
	loc, ok := ServerFromCmdline(argv)
	if !ok {
		return Config{}, fmt.Errorf("process %d: %w", pid, ErrNoServer)
	}
	c, err := located(t, loc, argv)
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration of process %d: %w", pid, err)
	}
	return c, nil
}

// located reads the configuration that the command line names. What that line
// tells by itself is there even where the file cannot be read.
func located(t *proctree.Tree, loc Location, argv []string) (Config, error) {
	var c Config
	var err error
	switch {
	case loc.Path != "":
		c, err = config(t, loc.Path)
	case loc.ClientPort != 0:
		c.Ports = []ClientPort{{Port: loc.ClientPort}}
	}
	c.adminPort(argv)
	return c, err
}

func config(t *proctree.Tree, name string) (Config, error) {
	text, err := t.ReadFile(name, maxConfig)
	if err != nil {
		return Config{}, err
	}
	c := ParseConfig(text)
	if c.Dynamic != "" {
		// The ports of the main file hold where this one cannot be read.
		if text, err := t.ReadFile(newest(t, c.Dynamic), maxConfig); err == nil {
			c.merge(ParseConfig(text))
		}
	}
	if c.DataDir != "" {
		if text, err := t.ReadFile(c.DataDir+"/myid", maxConfig); err == nil {
			c.own(string(text))
		}
	}
	for _, n := range slices.Sorted(maps.Keys(c.Members)) {
		c.add(c.Members[n])
	}
	return c, nil
}

// newest gives the dynamic file of the highest version, which ends its name in
// hexadecimal: the server writes a new one at each reconfiguration, before it
// names it in its main file.
func newest(t *proctree.Tree, name string) string {
	best, stem := dynamicVersion(name)
	if stem == "" {
		return name
	}
	dir, base := path.Dir(name), path.Base(stem)
	if !strings.Contains(name, "/") {
		dir = "."
	}
	names, err := t.ReadDir(dir, maxDynamic)
	if err != nil {
		return name
	}
	for _, n := range names {
		if v, s := dynamicVersion(n); s == base && v > best {
			best, name = v, dir+"/"+n
		}
	}
	return name
}

// dynamicVersion splits NAME.dynamic.VERSION.
func dynamicVersion(name string) (version uint64, stem string) {
	i := strings.LastIndexByte(name, '.')
	if i <= 0 {
		return 0, ""
	}
	v, err := strconv.ParseUint(name[i+1:], 16, 64)
	if err != nil || !strings.HasSuffix(name[:i], ".dynamic") {
		return 0, ""
	}
	return v, name[:i]
}

// own keeps the member line of this server.
func (c *Config) own(myid string) {
	n, err := strconv.ParseInt(strings.TrimSpace(myid), 10, 64)
	if p, ok := c.Members[n]; err == nil && ok {
		c.Members = map[int64]ClientPort{n: p}
	}
	if p, ok := c.Peers[n]; err == nil && ok {
		c.Self = &p
	}
}
