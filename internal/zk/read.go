package zk

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"rstwhy/internal/proctree"
)

// ErrNoServer says that a process is no ZooKeeper server.
var ErrNoServer = errors.New("not a ZooKeeper server")

// ReadConfig finds the client ports of the server that runs as pid, as its own
// files name them: through its root directory, which need not be ours. Of the
// member lines only the server's own counts where its myid can be read; all of
// them otherwise, so that a caller should match the ports with the sockets that
// the process listens on.
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
	if loc.Path == "" {
		var c Config
		if loc.ClientPort != 0 {
			c.Ports = []ClientPort{{Port: loc.ClientPort}}
		}
		return c, nil
	}
	c, err := config(t, loc.Path)
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration of process %d: %w", pid, err)
	}
	return c, nil
}

func config(t *proctree.Tree, name string) (Config, error) {
	text, err := t.ReadFile(name, maxConfig)
	if err != nil {
		return Config{}, err
	}
	c := ParseConfig(text)
	if c.Dynamic != "" {
		// The ports of the main file hold where this one cannot be read.
		if text, err := t.ReadFile(c.Dynamic, maxConfig); err == nil {
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

// own keeps the member line of this server.
func (c *Config) own(myid string) {
	n, err := strconv.ParseInt(strings.TrimSpace(myid), 10, 64)
	if p, ok := c.Members[n]; err == nil && ok {
		c.Members = map[int64]ClientPort{n: p}
	}
}
