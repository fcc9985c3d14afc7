package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ZKConfig says how a ZooKeeper server is to run.
type ZKConfig struct {
	NS       *LinkNS        // the namespace that it runs in
	Addr     netip.AddrPort // where a client in NS reaches its client port
	Dir      string         // for its configuration, data and log: empty, its own
	MaxConns int            // maxClientCnxns
	NoQuorum bool           // configure two more members that do not exist: the process runs and does not serve
}

// ZKServer is a running ZooKeeper server.
type ZKServer struct {
	cmd  *exec.Cmd
	log  string
	once sync.Once
	done chan error
}

// Start runs a server of this release from its jars and waits until it
// answers. Stop must be called.
func (r ZKRelease) Start(ctx context.Context, jars string, c ZKConfig) (*ZKServer, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, fmt.Errorf("run ZooKeeper %s: %w (install openjdk-17-jre-headless)", r.Version, err)
	}
	config, err := c.write()
	if err != nil {
		return nil, fmt.Errorf("configure ZooKeeper %s: %w", r.Version, err)
	}
	classes := []string{c.Dir} // log4j.properties
	for _, jar := range r.jars {
		classes = append(classes, filepath.Join(jars, jar))
	}
	logName := filepath.Join(c.Dir, "log")
	log, err := os.Create(logName)
	if err != nil {
		return nil, fmt.Errorf("run ZooKeeper %s: %w", r.Version, err)
	}
	defer log.Close()
	// A small heap, and not a compiler and a collector thread per CPU: the
	// servers share the machine with the tests.
	cmd := exec.Command(java, "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-cp", strings.Join(classes, ":"),
		"org.apache.zookeeper.server.quorum.QuorumPeerMain", config)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.Dir, log, log
	if err := c.NS.Do(cmd.Start); err != nil {
		return nil, fmt.Errorf("run ZooKeeper %s: %w", r.Version, err)
	}
	s := &ZKServer{cmd: cmd, log: logName, done: make(chan error, 1)}
	go func() { s.done <- cmd.Wait() }()
	if err := s.wait(ctx, c); err != nil {
		tail := s.tail()
		s.Stop()
		return nil, fmt.Errorf("start ZooKeeper %s: %w; its log ends in:\n%s", r.Version, err, tail)
	}
	return s, nil
}

// PID is the JVM's process id.
func (s *ZKServer) PID() int { return s.cmd.Process.Pid }

// Kill ends the server as the kernel's SIGKILL does, without a last word.
func (s *ZKServer) Kill() { s.stop(unix.SIGKILL) }

// Stop ends the server.
func (s *ZKServer) Stop() { s.stop(unix.SIGTERM) }

func (s *ZKServer) stop(sig syscall.Signal) {
	s.once.Do(func() {
		// An error means that it ended by itself, which done tells.
		_ = s.cmd.Process.Signal(sig)
		select {
		case <-s.done:
		case <-time.After(5 * time.Second):
			_ = s.cmd.Process.Kill()
			<-s.done
		}
	})
}

// wait looks until the server listens, so that no connection is refused that
// nobody ordered, and then asks for the version, the only word that every
// release answers, until an answer comes.
func (s *ZKServer) wait(ctx context.Context, c ZKConfig) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		if zkListens(s.PID(), c.Addr.Port()) {
			answer, err := ZKWord(c.NS, c.Addr, "srvr")
			serving := bytes.Contains(answer, []byte("Zookeeper version:"))
			if err == nil && (serving || c.NoQuorum && len(answer) > 0) {
				return nil
			}
		}
		select {
		case err := <-s.done:
			s.done <- err
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
func (s *ZKServer) tail() string {
	text, err := os.ReadFile(s.log)
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
	fmt.Fprintf(&b, "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=%s\nclientPort=%d\nmaxClientCnxns=%d\nadmin.enableServer=false\n",
		data, c.Addr.Port(), c.MaxConns)
	if c.NoQuorum {
		// Ports of the same host where nobody listens: connections to the
		// other members are refused at once.
		b.WriteString("server.1=127.0.0.1:2881:3881\nserver.2=127.0.0.1:2882:3882\nserver.3=127.0.0.1:2883:3883\n")
		if err := os.WriteFile(filepath.Join(data, "myid"), []byte("1\n"), 0o644); err != nil {
			return "", err
		}
	}
	const log4j = `log4j.rootLogger=INFO, CONSOLE
log4j.appender.CONSOLE=org.apache.log4j.ConsoleAppender
log4j.appender.CONSOLE.layout=org.apache.log4j.PatternLayout
log4j.appender.CONSOLE.layout.ConversionPattern=%d{ISO8601} - %-5p [%t:%C{1}@%L] - %m%n
`
	if err := os.WriteFile(filepath.Join(c.Dir, "log4j.properties"), []byte(log4j), 0o644); err != nil {
		return "", err
	}
	path = filepath.Join(c.Dir, "zoo.cfg")
	return path, os.WriteFile(path, []byte(b.String()), 0o644)
}
