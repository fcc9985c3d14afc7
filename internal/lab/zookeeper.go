package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ZKConfig says how a ZooKeeper server is to run.
type ZKConfig struct {
	NS       *LinkNS        // the namespace that it runs in
	Addr     netip.AddrPort // where a client in NS reaches its client port
	Dir      string         // for its configuration, data and log: empty, its own
	MaxConns int            // maxClientCnxns
	NoQuorum bool           // configure two more members that do not exist: the process runs and does not serve
	MyID     int            // number in the ensemble that Lines names: it may take its time to serve
	Lines    string         // more of zoo.cfg
	JVM      []string       // more options of the JVM
}

// Start runs a server of this release from its jars and waits until it
// answers. Stop must be called.
func (r ZKRelease) Start(ctx context.Context, jars string, c ZKConfig) (*ZKProcess, error) {
	config, err := c.write()
	if err != nil {
		return nil, fmt.Errorf("configure ZooKeeper %s: %w", r.Version, err)
	}
	s, err := r.java(jars, c.NS, c.Dir, c.JVM, "org.apache.zookeeper.server.quorum.QuorumPeerMain", config)
	if err != nil {
		return nil, err
	}
	if err := s.wait(ctx, c); err != nil {
		tail := s.tail()
		s.Stop()
		return nil, fmt.Errorf("start ZooKeeper %s: %w; its log ends in:\n%s", r.Version, err, tail)
	}
	return s, nil
}

// ZKClientClass is the main class of the shell that ZooKeeper ships (zkCli.sh).
const ZKClientClass = "org.apache.zookeeper.ZooKeeperMain"

// StartClient runs that shell, a real client with the Java library of this
// release. It connects, and reconnects, by itself, and waits for commands that
// never come.
func (r ZKRelease) StartClient(jars string, ns *LinkNS, dir string, server netip.AddrPort) (*ZKProcess, error) {
	if err := zkLogging(dir); err != nil {
		return nil, fmt.Errorf("configure the ZooKeeper client: %w", err)
	}
	return r.java(jars, ns, dir, nil, ZKClientClass, "-server", server.String())
}

// wait looks until the server listens, so that no connection is refused that
// nobody ordered, and then asks for the version, the only word that every
// release answers, until an answer comes.
func (p *ZKProcess) wait(ctx context.Context, c ZKConfig) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		if zkListens(p.PID(), c.Addr.Port()) {
			answer, err := ZKWord(c.NS, c.Addr, "srvr")
			serving := bytes.Contains(answer, []byte("Zookeeper version:"))
			if err == nil && (serving || (c.NoQuorum || c.MyID > 0) && len(answer) > 0) {
				return nil
			}
		}
		select {
		case err := <-p.done:
			p.done <- err
			return fmt.Errorf("it ended: %w", errOr(err, "exit status 0"))
		case <-ctx.Done():
			return fmt.Errorf("no answer on %s: %w", c.Addr, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// zkListens tells whether a socket of the process's network namespace listens
// on the port (proc_pid_net(5): the local port in hex ends the second field, a
// state of 0A is LISTEN).
func zkListens(pid int, port uint16) bool {
	suffix := fmt.Sprintf(":%04X", port)
	for _, name := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, name))
		if err != nil {
			continue // it ended, which the caller sees, or has no IPv6
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) > 3 && strings.HasSuffix(f[1], suffix) && f[3] == "0A" {
				return true
			}
		}
	}
	return false
}

func errOr(err error, text string) error {
	if err == nil {
		return errors.New(text)
	}
	return err
}

// tail is the end of the server's log, for an error message.
func (p *ZKProcess) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	if over := len(text) - 4096; over > 0 {
		text = text[over:]
	}
	return strings.ToValidUTF8(string(text), "?")
}

// write puts zoo.cfg and log4j.properties into the server's directory.
func (c ZKConfig) write() (path string, err error) {
	data := filepath.Join(c.Dir, "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return "", err
	}
	var b strings.Builder
	// Sessions last two ticks at least: short ones keep the tests short.
	fmt.Fprintf(&b, "tickTime=1000\ninitLimit=10\nsyncLimit=5\ndataDir=%s\nclientPort=%d\nmaxClientCnxns=%d\nadmin.enableServer=false\n",
		data, c.Addr.Port(), c.MaxConns)
	b.WriteString(c.Lines)
	myID := c.MyID
	if c.NoQuorum {
		myID = 1
		// Ports of the same host where nobody listens: connections to the
		// other members are refused at once.
		b.WriteString("server.1=127.0.0.1:2881:3881\nserver.2=127.0.0.1:2882:3882\nserver.3=127.0.0.1:2883:3883\n")
	}
	if myID > 0 {
		if err := os.WriteFile(filepath.Join(data, "myid"), fmt.Appendln(nil, myID), 0o644); err != nil {
			return "", err
		}
	}
	if err := zkLogging(c.Dir); err != nil {
		return "", err
	}
	path = filepath.Join(c.Dir, "zoo.cfg")
	return path, os.WriteFile(path, []byte(b.String()), 0o644)
}

// zkLogging makes the JVM log to its standard output, which no package's
// default does.
func zkLogging(dir string) error {
	const log4j = `log4j.rootLogger=INFO, CONSOLE
log4j.appender.CONSOLE=org.apache.log4j.ConsoleAppender
log4j.appender.CONSOLE.layout=org.apache.log4j.PatternLayout
log4j.appender.CONSOLE.layout.ConversionPattern=%d{ISO8601} - %-5p [%t:%C{1}@%L] - %m%n
`
	return os.WriteFile(filepath.Join(dir, "log4j.properties"), []byte(log4j), 0o644)
}
