package lab

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ZKProcess is a running program that speaks ZooKeeper: a server, or a client.
type ZKProcess struct {
	cmd   *exec.Cmd
	log   string
	input io.WriteCloser // stays open: a shell ends at the end of its input
	seen  int            // bytes of the log that Await has passed
	once  sync.Once
	done  chan error
}

// startZK starts a program in a namespace, its output in dir/log.
func startZK(ns *LinkNS, dir string, cmd *exec.Cmd) (*ZKProcess, error) {
	p := &ZKProcess{cmd: cmd, log: filepath.Join(dir, "log"), done: make(chan error, 1)}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	if p.input, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := ns.Do(cmd.Start); err != nil {
		return nil, err
	}
	go func() { p.done <- cmd.Wait() }()
	return p, nil
}

// java runs a main class of the release's jars in a namespace.
func (r ZKRelease) java(jars string, ns *LinkNS, dir string, options []string, class string, args ...string) (*ZKProcess, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, fmt.Errorf("run ZooKeeper %s: %w (install openjdk-17-jre-headless)", r.Version, err)
	}
	// A small heap, and not a compiler and a collector thread per CPU: the
	// servers share the machine with the tests.
	argv := append([]string{"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"}, options...)
	argv = append(append(argv, "-cp", r.classPath(jars, dir), class), args...)
	p, err := startZK(ns, dir, exec.Command(java, argv...))
	if err != nil {
		return nil, fmt.Errorf("run ZooKeeper %s: %w", r.Version, err)
	}
	return p, nil
}

// classPath is that of the release's jars, behind a directory: log4j.properties
// is there, and a client's own classes. zookeeper.jar comes last: Debian's names
// others in its manifest, by their places in the system (/usr/share/java), and a
// ZooKeeper that is installed there may be of another release.
func (r ZKRelease) classPath(jars, dir string) string {
	const last = "zookeeper.jar"
	classes := []string{dir}
	for _, jar := range r.jars {
		if jar != last {
			classes = append(classes, filepath.Join(jars, jar))
		}
	}
	return strings.Join(append(classes, filepath.Join(jars, last)), ":")
}

// PID is its process id.
func (p *ZKProcess) PID() int { return p.cmd.Process.Pid }

// Signal sends it a signal, such as SIGSTOP.
func (p *ZKProcess) Signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

// Say gives it a line of input.
func (p *ZKProcess) Say(line string) error {
	_, err := io.WriteString(p.input, line+"\n")
	return err
}

// Await waits until its output holds the text, behind what an earlier Await
// found, and returns the rest of that line.
func (p *ZKProcess) Await(text string, limit time.Duration) (string, error) {
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		all, err := os.ReadFile(p.log)
		if err != nil {
			return "", err
		}
		if i := bytes.Index(all[p.seen:], []byte(text)); i >= 0 {
			rest, _, whole := bytes.Cut(all[p.seen+i+len(text):], []byte("\n"))
			if whole {
				p.seen += i + len(text) + len(rest)
				return strings.TrimSpace(string(rest)), nil
			}
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("process %d did not say %q within %s; its output ends in:\n%s", p.PID(), text, limit, p.tail())
		}
	}
}

// Ask gives it a command and waits for its answer to that, as the lab's own
// clients print it.
func (p *ZKProcess) Ask(command string) (string, error) {
	if err := p.Say(command); err != nil {
		return "", fmt.Errorf("tell process %d to %q: %w", p.PID(), command, err)
	}
	return p.Await("done "+command, 30*time.Second)
}

// Kill ends it as the kernel's SIGKILL does, without a last word.
func (p *ZKProcess) Kill() { p.stop(unix.SIGKILL) }

// Stop asks it to end, and kills it after five seconds.
func (p *ZKProcess) Stop() { p.stop(unix.SIGTERM) }

func (p *ZKProcess) stop(sig syscall.Signal) {
	p.once.Do(func() {
		// An error means that it ended by itself, which done tells.
		_ = p.cmd.Process.Signal(sig)
		select {
		case <-p.done:
		case <-time.After(5 * time.Second):
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	})
}
