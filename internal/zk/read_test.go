package zk

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	rootVariable = "RSTWHY_TEST_ROOT"
	cwdVariable  = "RSTWHY_TEST_CWD"
)

// TestMain lets the test binary play a server in a root directory of its own.
func TestMain(m *testing.M) {
	root := os.Getenv(rootVariable)
	if root == "" {
		os.Exit(m.Run())
	}
	if root != "/" {
		if err := unix.Chroot(root); err != nil {
			os.Exit(3)
		}
	}
	if err := os.Chdir(os.Getenv(cwdVariable)); err != nil {
		os.Exit(4)
	}
	os.Stdout.WriteString("ready\n")
	os.Stdin.Read(make([]byte, 1)) // until the test ends
	os.Exit(0)
}

// play starts a process with that command line, root and working directory.
func play(t *testing.T, root, cwd string, argv ...string) uint32 {
	t.Helper()
	if root != "/" && os.Geteuid() != 0 {
		t.Skip("needs root for a root directory of its own")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Args = argv
	cmd.Env = append(os.Environ(), rootVariable+"="+root, cwdVariable+"="+cwd)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	if n, err := out.Read(make([]byte, 16)); n == 0 {
		t.Fatalf("the process did not start: %v", err)
	}
	return uint32(cmd.Process.Pid)
}

// files writes name -> content below a new directory; "-> x" is a link to x.
func files(t *testing.T, content map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range content {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, link := strings.CutPrefix(text, "-> "); link {
			err = os.Symlink(to, name)
		} else {
			err = os.WriteFile(name, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const peerMain = "org.apache.zookeeper.server.quorum.QuorumPeerMain"

func TestReadConfig(t *testing.T) {
	root := files(t, map[string]string{
		"etc/zk/zoo.cfg":      "clientPort=10245\nsecureClientPort=2281\n",
		"etc/link.cfg":        "-> /etc/zk/zoo.cfg", // absolute: ours would be another file
		"etc/escape.cfg":      "-> ../../../../../../etc/zk/zoo.cfg",
		"opt/zk/conf/zoo.cfg": "dataDir=../data\ndynamicConfigFile=conf/zoo.cfg.dynamic.2\n",
		"opt/zk/conf/zoo.cfg.dynamic.2": "server.1=h1:2888:3888;2181\n" +
			"server.2=h2:2888:3888;127.0.0.1:2182\n",
		"opt/data/myid":  "2\n",
		"etc/nomyid.cfg": "dynamicConfigFile=/opt/zk/conf/zoo.cfg.dynamic.2\n",
		"etc/lost.cfg":   "clientPort=2181\ndynamicConfigFile=/nowhere\ndataDir=/nowhere\n",
		"etc/big.cfg":    "clientPort=2181\n" + strings.Repeat("#", maxConfig),
		"etc/dir/x":      "",
		// A reconfiguration wrote .1f, and was stopped before it named it.
		"dyn/zoo.cfg":               "dynamicConfigFile=/dyn/zoo.cfg.dynamic.a\n",
		"dyn/zoo.cfg.dynamic.a":     "server.1=h1:2888:3888;2181\n",
		"dyn/zoo.cfg.dynamic.1f":    "server.1=h1:2888:3888;2191\n",
		"dyn/zoo.cfg.dynamic.next":  "server.1=h1:2888:3888;2201\n",
		"dyn/other.cfg.dynamic.fff": "server.1=h1:2888:3888;2211\n",
	})
	if err := unix.Mkfifo(filepath.Join(root, "etc/fifo.cfg"), 0o644); err != nil {
		t.Fatal(err)
	}
	static := []ClientPort{{Port: 10245}, {Port: 2281, Secure: true}}
	own := []ClientPort{{Address: "127.0.0.1", Port: 2182}}
	tests := []struct {
		name, cwd string
		args      []string
		ports     []ClientPort
		err       string
	}{
		{"absolute", "/", []string{peerMain, "/etc/zk/zoo.cfg"}, static, ""},
		{"relative", "/etc", []string{peerMain, "zk/zoo.cfg"}, static, ""},
		{"dots in the path", "/opt/zk", []string{peerMain, "../../etc/zk/zoo.cfg"}, static, ""},
		{"absolute link stays in its root", "/", []string{peerMain, "/etc/link.cfg"}, static, ""},
		{"dots cannot leave the root", "/", []string{peerMain, "/etc/escape.cfg"}, static, ""},
		{"dynamic file, own member only", "/opt/zk", []string{peerMain, "conf/zoo.cfg"}, own, ""},
		{"dynamic file without myid", "/", []string{peerMain, "/etc/nomyid.cfg"}, append([]ClientPort{{Port: 2181}}, own...), ""},
		{"dynamic file of the highest version", "/", []string{peerMain, "/dyn/zoo.cfg"}, []ClientPort{{Port: 2191}}, ""},
		{"dynamic file lost", "/", []string{peerMain, "/etc/lost.cfg"}, []ClientPort{{Port: 2181}}, ""},
		{"port on the command line", "/", []string{peerMain, "2183", "/data"}, []ClientPort{{Port: 2183}}, ""},
		{"pipe", "/", []string{peerMain, "/etc/fifo.cfg"}, nil, "not a regular file"},
		{"directory", "/", []string{peerMain, "/etc/dir"}, nil, "not a regular file"},
		{"too big", "/", []string{peerMain, "/etc/big.cfg"}, nil, "are more than"},
		{"missing", "/", []string{peerMain, "/etc/\x1b[31mgone"}, nil, `open /etc/\x1b[31mgone below its root: no such file`},
		{"no server", "/", []string{"Main", "/etc/zk/zoo.cfg"}, nil, "not a ZooKeeper server"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pid := play(t, root, tt.cwd, append([]string{"java", "-cp", "x.jar"}, tt.args...)...)
			c, err := ReadConfig(pid)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				if got := errors.Is(err, ErrNoServer); got != (tt.name == "no server") {
					t.Errorf("ErrNoServer: %v", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantPorts(t, tt.ports, c.Ports)
		})
	}
}

func wantPorts(t *testing.T, want, got []ClientPort) {
	t.Helper()
	for _, p := range want {
		if !slices.Contains(got, p) {
			t.Errorf("port %v is missing in %v", p, got)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestReadConfigInOwnRoot(t *testing.T) {
	root := files(t, map[string]string{"conf/zoo.cfg": "clientPort=10245\n"})
	pid := play(t, "/", root, "/usr/bin/java", "-Xmx1g", peerMain, "conf/zoo.cfg")
	c, err := ReadConfig(pid)
	if err != nil {
		t.Fatal(err)
	}
	wantPorts(t, []ClientPort{{Port: 10245}}, c.Ports)

	// A link of /proc would lead out of a root, into that of the reader.
	magic := files(t, map[string]string{"zoo.cfg": "-> /proc/self/root" + root + "/conf/zoo.cfg"})
	pid = play(t, "/", magic, "java", peerMain, "zoo.cfg")
	if c, err := ReadConfig(pid); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a magic link was followed: %+v %v", c, err)
	}
}

func TestReadConfigOfNoProcess(t *testing.T) {
	if _, err := ReadConfig(1 << 30); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
