package zk

import (
	"archive/zip"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
	"rstwhy/internal/jar"
	"rstwhy/internal/proctree"
)

func TestTransport(t *testing.T) {
	nio, both := []jar.Library{{}}, []jar.Library{{}, {Netty: true}}
	const netty = socketProperty + "org.apache.zookeeper.ClientCnxnSocketNetty"
	tests := []struct {
		name      string
		libraries []jar.Library
		threads   []string
		options   string
		want      string
	}{
		{"3.4 has NIO only", nio, nil, netty, "nio"},
		{"Netty's thread", both, []string{"main-SendThread", "zkNetty-EpollEv"}, "", "netty"},
		{"names cut in the middle", both, []string{"main-Se..:2181)", "zkNetty..up-1-1"}, "", "netty"},
		{"Netty's thread without a client", both, []string{"zkNetty-EpollEv"}, "", ""},
		{"the thread of a server's Netty in the same process", both, []string{"x-SendThread(a)", "zkNetty-NioEven", "SyncThread:0"}, "", ""},
		{"no thread of Netty", both, []string{"a-SendThread(zk", "main-EventThrea"}, "", "nio"},
		{"a thread of some Netty", both, []string{"main-SendThread", "nioEventLoopGro"}, "", ""},
		{"ordered", both, []string{"java"}, "-Xmx1g\n" + netty, "netty"},
		{"ordered, and not there", both, []string{"main-SendThread"}, netty, "nio"},
		{"ordered, and some Netty is there", both, []string{"main-SendThread", "epollEventLoopG"}, netty, "netty"},
		{"NIO ordered", both, []string{"nioEventLoopGro"}, socketProperty + "org.apache.zookeeper.ClientCnxnSocketNIO", "nio"},
		{"the last one counts", both, nil, netty + "\n" + socketProperty + "ClientCnxnSocketNIO", "nio"},
		{"nothing known", both, nil, "", ""},
		{"no archive, but a client", nil, []string{"main-SendThread"}, "", "nio"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			th := readThreads(tt.threads)
			th.whole, th.older = true, true
			if got, why := transport(tt.libraries, th, tt.options); got != tt.want || (got == "") != (why == "") {
				t.Errorf("%q (%s), want %q", got, why, tt.want)
			}
			// Where not every thread was seen, or one may start at any moment,
			// none that is missing proves anything.
			for _, th := range []threads{{send: th.send, whole: true}, {send: th.send, older: true}} {
				if got, why := transport(both, th, ""); got != "" {
					t.Errorf("%s (%s), though there may be more threads: %+v", got, why, th)
				}
			}
		})
	}
}

func archiveWith(t *testing.T, versions ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, text := range map[string]string{
		"org/apache/zookeeper/ZooKeeper.class":                         "x",
		"META-INF/maven/org.apache.zookeeper/zookeeper/pom.properties": "version=" + strings.Join(versions, "") + "\n",
	} {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestJavaLibrary(t *testing.T) {
	tree, err := proctree.Open(uint32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	dir := t.TempDir()
	write := func(name, version string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, archiveWith(t, version), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	look := func(argv ...string) *event.Client {
		return java(tree, append([]string{"java"}, argv...), newBudget())
	}
	if c := look("Main"); c != nil {
		t.Errorf("a library out of nothing: %+v", c)
	}
	write("zookeeper-3.8.0.jar", "3.8.0")
	app := write("app.jar", "3.4.6")
	for _, tt := range []struct {
		name string
		argv []string
		want *event.Client
	}{
		{"class path", []string{"-cp", "/x/y.jar:" + dir + "/zookeeper-3.8.0.jar", "Main"},
			&event.Client{Version: "3.8.0", Transport: "nio", Source: "class path: zookeeper-3.8.0.jar: pom.properties; nio: it has no other"}},
		{"wildcard", []string{"-Xmx1g", "--class-path=" + dir + "/*", "Main"},
			&event.Client{Version: "3.8.0", Transport: "nio", Source: "class path: zookeeper-3.8.0.jar: pom.properties; nio: it has no other"}},
		{"-jar", []string{"-jar", app}, &event.Client{Version: "3.4.6", Transport: "nio", Source: "class path: app.jar: pom.properties; nio: it has no other"}},
		{"an argument of the program", []string{"Main", "-cp", dir + "/zookeeper-3.8.0.jar"}, nil},
	} {
		if d := cmp.Diff(tt.want, look(tt.argv...)); d != "" {
			t.Error(tt.name, d)
		}
	}

	used := newBudget()
	java(tree, []string{"java", "-cp", dir + "/zookeeper-3.8.0.jar", "Main"}, used)

	open := func(name string) *os.File {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	open(app)
	if err := os.Remove(app); err != nil {
		t.Fatal(err)
	}
	want := &event.Client{Version: "3.4.6", Transport: "nio", Source: "fd -> app.jar: pom.properties; nio: it has no other"}
	if d := cmp.Diff(want, look("-cp", dir+"/zookeeper-3.8.0.jar", "Main")); d != "" {
		t.Error("what is open, deleted or not, before the class path:", d)
	}
	open(filepath.Join(dir, "zookeeper-3.8.0.jar"))
	c := look("Main")
	if c == nil || c.Version != "" || !strings.HasPrefix(c.Source, "several: ") {
		t.Errorf("two libraries: %+v", c)
	}
	// Reading ends where the budget does, and that is said.
	c = java(tree, []string{"java"}, jar.NewBudget(maxRead-used.Left()+10, time.Hour))
	if c == nil || c.Version == "" || !strings.Contains(c.Source, "not everything was looked at") {
		t.Errorf("a small budget: %+v", c)
	}
}

func TestCLibrary(t *testing.T) {
	name := filepath.Join(t.TempDir(), "libzookeeper_mt.so.2.0.0")
	text := strings.Repeat("x", 300<<10) + cMark + "3.9.3\x00" + strings.Repeat("x", 10)
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(b)
	want := &event.Client{Version: "3.9.3", Transport: "c", Source: "maps -> libzookeeper_mt.so.2.0.0: zookeeper C client 3.9.3"}
	for _, upgraded := range []bool{false, true} {
		if upgraded {
			if os.Geteuid() != 0 {
				return // without map_files, what is gone cannot be read
			}
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
		c, err := FindClient(uint32(os.Getpid()))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, c); d != "" {
			t.Errorf("deleted %v: %s", upgraded, d)
		}
	}
}

func TestScan(t *testing.T) {
	const chunk = 256 << 10
	for _, at := range []int{0, 1, chunk - 20, chunk - 1, chunk, 2*chunk - 5} {
		b := append(bytes.Repeat([]byte{'x'}, at), cMark+"3.4.13"...)
		if v, ok := scan(bytes.NewReader(b), int64(len(b))); !ok || v != "3.4.13" {
			t.Errorf("at %d: %q %v", at, v, ok)
		}
	}
	for _, text := range []string{"", cMark, cMark + "3.4", cMark + "%s"} {
		if v, ok := scan(strings.NewReader(text), int64(len(text))); ok {
			t.Errorf("%q: %q", text, v)
		}
	}
}

// TestGoLibrary builds a program from a module of the library's name, which is
// a directory here: what is in it has no version.
func TestGoLibrary(t *testing.T) {
	dir := files(t, map[string]string{
		"go.mod":    "module example.org/app\n\ngo 1.26\n\nrequire github.com/go-zookeeper/zk v1.0.4\n\nreplace github.com/go-zookeeper/zk => ./zk\n",
		"main.go":   "package main\n\nimport \"github.com/go-zookeeper/zk\"\n\nfunc main() { println(zk.X) }\n",
		"zk/go.mod": "module github.com/go-zookeeper/zk\n",
		"zk/zk.go":  "package zk\n\nvar X = 1\n",
	})
	cmd := exec.Command("go", "build", "-o", "app", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOPROXY=off", "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, want := range map[string]*event.Client{
		filepath.Join(dir, "app"): {Transport: "go", Source: "build information of the executable: github.com/go-zookeeper/zk"},
		os.Args[0]:                nil,
	} {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		c, isGo := golang(f, newBudget())
		if d := cmp.Diff(want, c); d != "" || !isGo {
			t.Errorf("%s: Go program %v %s", name, isGo, d)
		}
		if c, isGo := golang(f, jar.NewBudget(10, time.Hour)); c != nil || isGo {
			t.Errorf("beyond the budget: %v %v", c, isGo)
		}
	}
}

func TestPython(t *testing.T) {
	const installed = "usr/lib/python3/dist-packages/kazoo/version.py"
	root := files(t, map[string]string{
		installed:              "__version__ = '2.8.0'\n",
		"app/main.py":          "import os\nfrom kazoo.client import KazooClient\n",
		"pkg/main.py":          "import worker\n",
		"pkg/worker.py":        "    import kazoo\n",
		"none/main.py":         "# does not import kazoo\nimport kazoox\nprint('import kazoo')\n",
		"own/main.py":          "import kazoo\n",
		"own/kazoo/version.py": "__version__ = '2.9.0'\n",
	})
	for _, tt := range []struct {
		argv []string
		want *event.Client
	}{
		{[]string{"python3", "-u", "/app/main.py", "x"}, &event.Client{Version: "2.8.0", Transport: "python", Source: "kazoo, imported by main.py; /" + installed[:len(installed)-len("/kazoo/version.py")] + "/kazoo/version.py"}},
		{[]string{"python3", "/pkg/main.py"}, &event.Client{Version: "2.8.0", Transport: "python", Source: "kazoo, imported by worker.py; /" + installed}},
		{[]string{"python3", "/own/main.py"}, &event.Client{Version: "2.9.0", Transport: "python", Source: "kazoo, imported by main.py; /own/kazoo/version.py"}},
		{[]string{"python3", "/none/main.py"}, nil}, // that it is installed proves nothing
		{[]string{"python3", "-c", "import kazoo"}, nil},
		{[]string{"python3"}, nil},
	} {
		tree, err := proctree.Open(play(t, root, "/", tt.argv...))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tt.want, python(tree, tt.argv, newBudget())); d != "" {
			t.Error(tt.argv, d)
		}
		tree.Close()
	}
}

func TestLookAtAnother(t *testing.T) {
	id := ProcessID{PID: uint32(os.Getpid()), Start: 1}
	if p, err := Look(id); err == nil {
		t.Errorf("a process that started at another time: %+v", p)
	}
	if c, err := FindClient(1 << 30); err == nil {
		t.Errorf("no process: %+v", c)
	}
}
