package main

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/lab"
)

// More ports of the sites that TestZooKeeperMatrix makes.
const (
	zkPortTLS       = 10249 // plaintext port of a server with TLS
	zkPortSecure    = 10250 // its secureClientPort
	zkPortBroken    = 10251 // plaintext port of a server whose key store cannot be read
	zkPortBrokenTLS = 10252 // its secureClientPort
	zkPortVictim    = 10253 // a server that the stimulus ends
)

// zkLabFirst and zkLabLast bound the ports of the lab's servers.
const zkLabFirst, zkLabLast = zkPort, zkPortVictim

// zkLab is a site with every kind of server and client. Its methods give
// errors, since the sites work side by side.
type zkLab struct {
	*zkSite
	classes string // of the Java client
	dirs    func() string
	python  string                    // the kazoo client
	netty   map[string]*zkSite        // whose library the Netty client is of
	clients map[string]*lab.ZKProcess // those that live on, by kind
}

// newZKLabs makes a site for each release. All servers are older than the
// tracer.
func newZKLabs(t *testing.T, releases []lab.ZKRelease) []*zkLab {
	t.Helper()
	var labs []*zkLab
	for _, release := range releases {
		l := &zkLab{zkSite: newZKSite(t, release)}
		l.start(t, zkPortAlone, lab.ZKConfig{MaxConns: 60, NoQuorum: true})
		l.start(t, zkPortLimited, lab.ZKConfig{MaxConns: 2})
		if l.hasTLS() {
			store := zkKeyStore(t)
			broken := filepath.Join(t.TempDir(), "broken.p12")
			if err := os.WriteFile(broken, []byte("no key store"), 0o600); err != nil {
				t.Fatal(err)
			}
			l.start(t, zkPortTLS, lab.ZKConfig{MaxConns: 60, Lines: zkTLSLines(zkPortSecure, store)})
			l.start(t, zkPortBroken, lab.ZKConfig{MaxConns: 60, Lines: zkTLSLines(zkPortBrokenTLS, broken)})
		}
		l.prepare(t)
		labs = append(labs, l)
	}
	// The oldest release has no Netty client of its own, and is the server that
	// resets those of the others.
	labs[0].netty = map[string]*zkSite{"netty": labs[2].zkSite, "netty 3.8": labs[1].zkSite}
	return labs
}

// prepare makes ready what clients need.
func (l *zkLab) prepare(t *testing.T) {
	t.Helper()
	l.clients, l.dirs, l.classes, l.netty = map[string]*lab.ZKProcess{}, t.TempDir, t.TempDir(), map[string]*zkSite{"netty": l.zkSite}
	source, err := filepath.Abs("testdata/zookeeper/LabClient.java")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.release.Compile(context.Background(), l.jars, source, l.classes); err != nil {
		t.Fatal(err)
	}
	l.python = filepath.Join(filepath.Dir(source), "labclient.py")
	t.Cleanup(l.endClients)
}

// hasTLS tells whether the release knows Netty and TLS (3.5.1 and later).
func (l *zkLab) hasTLS() bool { return !strings.HasPrefix(l.release.Version, "3.4.") }

// zkKeyStore makes a key store with keytool, as an administrator does.
func zkKeyStore(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.p12")
	out, err := exec.Command("keytool", "-genkeypair", "-keystore", path, "-storetype", "PKCS12", "-storepass", "zookeeper",
		"-alias", "server", "-keyalg", "RSA", "-dname", "CN=lab").CombinedOutput()
	if err != nil {
		t.Fatalf("keytool: %v\n%s", err, out)
	}
	return path
}

func zkTLSLines(port uint16, store string) string {
	return fmt.Sprintf("secureClientPort=%d\nserverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n"+
		"ssl.keyStore.location=%s\nssl.keyStore.password=zookeeper\nssl.clientAuth=none\n", port, store)
}

// running gives the client of a kind, started at the first call: nio, netty or
// python.
func (l *zkLab) running(kind string) (*lab.ZKProcess, error) {
	if p := l.clients[kind]; p != nil {
		return p, nil
	}
	p, err := l.newClient(kind)
	if err == nil {
		l.clients[kind] = p
	}
	return p, err
}

func (l *zkLab) newClient(kind string, options ...string) (p *lab.ZKProcess, err error) {
	hosts := []netip.Addr{zkHost, zkClientHost}
	switch kind {
	case "nio":
		p, err = l.release.StartJava(l.jars, l.client, l.dirs(), hosts, lab.ZKJava{Classes: l.classes, Main: "LabClient", JVM: options})
	case "netty", "netty 3.8":
		of := l.netty[kind]
		p, err = of.release.StartJava(of.jars, l.client, l.dirs(), hosts, lab.ZKJava{Classes: l.classes, Main: "LabClient", Netty: true, JVM: options})
	case "python":
		p, err = l.release.StartPython(l.jars, l.client, l.dirs(), l.python)
	}
	if err != nil {
		return nil, err
	}
	_, err = p.Await("ready", 30*time.Second)
	return p, err
}

// shell runs the C library's shell until it has a session.
func (l *zkLab) shell(port uint16) (*lab.ZKProcess, error) {
	return l.release.StartC(l.jars, l.client, l.dirs(), zkAddr(port))
}

func (l *zkLab) endClients() {
	for kind, p := range l.clients {
		p.Kill()
		delete(l.clients, kind)
	}
}

// ask gives a client of a kind its commands, one after the other. A command
// that fails is the stimulus's matter where it wants it to.
func (l *zkLab) ask(kind string, commands ...string) error {
	p, err := l.running(kind)
	if err != nil {
		return err
	}
	for _, c := range commands {
		if answer, err := p.Ask(c); err != nil {
			return err
		} else if strings.HasPrefix(answer, "unknown") {
			return fmt.Errorf("client does not know %q", c)
		}
	}
	return nil
}

// zkAwaitQueue waits until a connection from or to the port in the process's
// network namespace holds at least so many unread bytes (proc_pid_net(5): the
// fifth field is tx_queue:rx_queue in hex).
func zkAwaitQueue(pid int, port uint16, least uint64) error {
	suffix := fmt.Sprintf(":%04X", port)
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for _, table := range []string{"tcp", "tcp6"} {
			f, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", pid, table))
			if err != nil {
				return err
			}
			in := bufio.NewScanner(f)
			for in.Scan() {
				f := strings.Fields(in.Text())
				if len(f) < 5 || !strings.HasSuffix(f[1], suffix) && !strings.HasSuffix(f[2], suffix) || f[3] == "0A" {
					continue
				}
				_, queue, _ := strings.Cut(f[4], ":")
				if n, err := strconv.ParseUint(queue, 16, 64); err == nil && n >= least {
					return nil
				}
			}
			f.Close()
		}
	}
	return fmt.Errorf("no connection of port %d in the namespace of process %d has %d unread bytes after 5 s", port, pid, least)
}

// bash runs a script on the client's host.
func (l *zkLab) bash(script string) error {
	cmd := exec.Command("bash", "-c", script)
	if err := l.client.Do(cmd.Start); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case <-done: // a reset makes the script fail
	case <-time.After(10 * time.Second):
		_ = cmd.Process.Signal(unix.SIGKILL)
		<-done
	}
	return nil
}
