package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// ZKJava says which real Java client is to run: a program that a test brings
// with it, on the library of a release.
type ZKJava struct {
	Classes string // directory of the program's classes
	Main    string // its main class
	Netty   bool   // the library's Netty socket instead of its NIO one
	JVM     []string
}

// StartJava runs a Java client of this release in a namespace.
func (r ZKRelease) StartJava(jars string, ns *LinkNS, dir string, hosts []netip.Addr, j ZKJava) (*ZKProcess, error) {
	if err := zkLogging(dir); err != nil {
		return nil, err
	}
	// Up to 3.4.13 the library takes the host's name from the text of an
	// unresolved address, which since JDK 14 ends in "/<unresolved>": a hosts
	// file that knows that name, too, makes the old library run.
	var b strings.Builder
	for _, a := range hosts {
		fmt.Fprintf(&b, "%s %s %s/<unresolved>\n", a, a, a)
	}
	file := filepath.Join(dir, "hosts")
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		return nil, err
	}
	options := append([]string{"-Djdk.net.hosts.file=" + file}, j.JVM...)
	if j.Netty {
		options = append(options, "-Dzookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNetty")
	}
	if err := zkCopyClasses(j.Classes, dir); err != nil {
		return nil, err
	}
	return r.java(jars, ns, dir, options, j.Main)
}

// zkCopyClasses puts the classes into the process's own directory, which leads
// its class path.
func zkCopyClasses(from, to string) error {
	files, err := filepath.Glob(filepath.Join(from, "*.class"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no classes in %s: %w", from, errOr(err, "compile the client first"))
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(f)), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Compile compiles a Java program against this release's library.
func (r ZKRelease) Compile(ctx context.Context, jars, source, dir string) error {
	if _, err := exec.LookPath("javac"); err != nil {
		return fmt.Errorf("%w (install openjdk-17-jdk-headless)", err)
	}
	// Debian's jar of 3.4 holds the sources as well, which javac would take.
	return zkRun(ctx, dir, "javac", "-nowarn", "-proc:none", "-sourcepath", dir, "--release", "8",
		"-cp", r.classPath(jars, dir), "-d", dir, source)
}

// zkRoot is the tree that the release's packages were unpacked into.
func zkRoot(jars string) string { return filepath.Join(jars, "..", "..", "..") }

// StartC runs the shell of the C library (cli_mt), which reads commands.
func (r ZKRelease) StartC(jars string, ns *LinkNS, dir string, server netip.AddrPort) (*ZKProcess, error) {
	lib := filepath.Join(zkRoot(jars), "usr", "lib")
	args := []string{"-h", server.String()}
	if strings.HasPrefix(r.Version, "3.4.") {
		args = args[1:]
	}
	libraries, err := filepath.Glob(filepath.Join(lib, "*", "libzookeeper_mt.so.2"))
	if err != nil || len(libraries) != 1 {
		return nil, fmt.Errorf("%d C libraries of ZooKeeper %s for %s in the unpacked packages: %w", len(libraries), r.Version, runtime.GOARCH, errOr(err, "want one"))
	}
	cmd := exec.Command(filepath.Join(lib, "zookeeper", "bin", "cli_mt"), args...)
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Dir(libraries[0]))
	return startZK(ns, dir, cmd)
}

// StartPython runs a Python program with the release's kazoo.
func (r ZKRelease) StartPython(jars string, ns *LinkNS, dir, program string) (*ZKProcess, error) {
	python, err := exec.LookPath("python3")
	if err != nil {
		return nil, fmt.Errorf("%w (install python3)", err)
	}
	cmd := exec.Command(python, "-u", program)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1",
		"PYTHONPATH="+filepath.Join(zkRoot(jars), "usr", "lib", "python3", "dist-packages"))
	return startZK(ns, dir, cmd)
}
