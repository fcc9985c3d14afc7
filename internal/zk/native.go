package zk

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"io"
	"path"
	"regexp"
	"runtime/debug"
	"strings"

	"rstwhy/internal/event"
	"rstwhy/internal/proctree"
)

const (
	maxSharedObject = 16 << 20
	maxExecutable   = 64 << 20 // of an executable that may hold the C library
	maxModules      = 4096
	maxScript       = 1 << 20
	maxScripts      = 64 // Python files beside the script
)

// isJVM and isCLibrary recognise mapped files.
func isJVM(name string) bool { return strings.HasPrefix(path.Base(name), "libjvm.so") }

func isCLibrary(name string) bool {
	base := path.Base(name)
	return strings.HasPrefix(base, "libzookeeper_mt.so") || strings.HasPrefix(base, "libzookeeper_st.so")
}

// cVersion is how the C library names itself in its log (PACKAGE_STRING).
var cVersion = regexp.MustCompile(`zookeeper C client (\d{1,3}\.\d{1,3}\.\d{1,3})`)

const cMark = "zookeeper C client "

// shared tells the version of a mapped C library.
func shared(t *proctree.Tree, m proctree.Mapping, b *budget) *event.Client {
	base := path.Base(strings.TrimSuffix(m.Name, deleted))
	c := &event.Client{Transport: transportC, Source: printable("maps -> "+base, maxSource)}
	if f, err := t.OpenMapping(m); err == nil {
		defer f.Close()
		if v, ok := scan(b.of(f), min(f.Size, maxSharedObject)); ok {
			c.Version = v
			c.Source = printable("maps -> "+base+": "+cMark+v, maxSource)
		}
	}
	return c
}

// static looks for the C library in the executable itself.
func static(f io.ReaderAt, size int64, b *budget) *event.Client {
	v, ok := scan(b.of(f), min(size, maxExecutable))
	if !ok {
		return nil
	}
	return &event.Client{Transport: transportC, Version: v, Source: "executable: " + cMark + v}
}

// scan looks for the text with which the C library names itself.
func scan(r io.ReaderAt, size int64) (version string, ok bool) {
	const chunk, longest = 256 << 10, len(cMark) + 12
	buf := make([]byte, chunk+longest)
	for at := int64(0); at < size; at += chunk {
		n, err := r.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		if i := bytes.Index(buf[:n], []byte(cMark)); i >= 0 {
			if m := cVersion.FindSubmatch(buf[i:min(n, i+longest)]); m != nil {
				return string(m[1]), true
			}
		}
		if err != nil {
			return "", false
		}
	}
	return "", false
}

var goModules = []string{"github.com/go-zookeeper/zk", "github.com/samuel/go-zookeeper"}

// golang reads which modules a Go program was built from; isGo is false for
// another program.
func golang(f io.ReaderAt, b *budget) (c *event.Client, isGo bool) {
	info, err := readBuildInfo(b.of(f))
	if err != nil {
		return nil, false
	}
	for _, m := range info.Deps[:min(len(info.Deps), maxModules)] {
		for _, name := range goModules {
			if m.Path != name {
				continue
			}
			version := m.Version
			if m.Replace != nil {
				version = m.Replace.Version
			}
			if !strings.HasPrefix(version, "v") || len(version) > maxVersionText {
				version = "" // replaced by a directory, with whatever in it
			}
			return &event.Client{
				Transport: transportGo, Version: printable(strings.TrimPrefix(version, "v"), maxVersionText),
				Source: printable(strings.TrimSpace("build information of the executable: "+name+" "+version), maxSource),
			}, true
		}
	}
	return nil, true
}

const maxVersionText = 64

// readBuildInfo keeps what a hostile executable may do to the reader here.
func readBuildInfo(r io.ReaderAt) (info *debug.BuildInfo, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("build information: %v", p)
		}
	}()
	return buildinfo.Read(r)
}

var (
	interpreter  = regexp.MustCompile(`^python(\d(?:\.\d+)?)?$`)
	kazooVersion = regexp.MustCompile(`(?m)^__version__ = ['"](\d+\.\d+(?:\.\d+)?[0-9A-Za-z.]*)['"]`)
	kazooImport  = regexp.MustCompile(`(?m)^\s*(?:from\s+kazoo[.\s]|import\s+kazoo\b)`)
)

// python tells kazoo, where the script or a file beside it imports it: that it
// is installed says nothing of a process.
func python(t *proctree.Tree, argv []string) *event.Client {
	script := scriptOf(argv)
	if script == "" {
		return nil
	}
	by := importer(t, script)
	if by == "" {
		return nil
	}
	c := &event.Client{Transport: transportPython, Source: "kazoo, imported by " + path.Base(by)}
	for _, dir := range sitePackages(t, argv[0], script) {
		text, err := t.ReadFile(dir+"/kazoo/version.py", maxScript)
		if err != nil {
			continue
		}
		if m := kazooVersion.FindSubmatch(text); m != nil && len(m[1]) <= maxVersionText {
			c.Version = string(m[1])
			c.Source += "; " + dir + "/kazoo/version.py"
		}
		break
	}
	c.Source = printable(c.Source, maxSource)
	return c
}

// scriptOf gives the script of an interpreter's command line; nothing for a
// module (-m), a command (-c) or standard input.
func scriptOf(argv []string) string {
	for i := 1; i < len(argv); i++ {
		switch a := argv[i]; {
		case a == "-X" || a == "-W":
			i++
		case strings.HasPrefix(a, "-m"), strings.HasPrefix(a, "-c"), a == "-", a == "":
			return ""
		case !strings.HasPrefix(a, "-"):
			return a
		}
	}
	return ""
}

// importer gives the file that imports kazoo: the script, or one beside it.
func importer(t *proctree.Tree, script string) string {
	imports := func(name string) bool {
		text, err := t.ReadFile(name, maxScript)
		return err == nil && kazooImport.Match(text)
	}
	if imports(script) {
		return script
	}
	dir := path.Dir(script)
	names, err := t.ReadDir(dir, maxDescriptors)
	if err != nil {
		return ""
	}
	looked := 0
	for _, n := range names {
		if path.Ext(n) != ".py" || looked == maxScripts {
			continue
		}
		looked++
		if imports(dir + "/" + n) {
			return dir + "/" + n
		}
	}
	return ""
}

// sitePackages are the directories in which an interpreter finds packages, in
// its own order: beside the script, those of a virtual environment, those of
// the machine.
func sitePackages(t *proctree.Tree, argv0, script string) []string {
	dirs := []string{path.Dir(script)}
	prefixes := []string{"/usr/local", "/usr"}
	if strings.Contains(argv0, "/") {
		prefixes = append([]string{path.Dir(path.Dir(argv0))}, prefixes...)
	}
	version := strings.TrimPrefix(path.Base(t.Exe()), "python")
	for _, p := range prefixes {
		if strings.Contains(version, ".") {
			dirs = append(dirs, p+"/lib/python"+version+"/site-packages", p+"/lib/python"+version+"/dist-packages")
		}
		dirs = append(dirs, p+"/lib/python3/dist-packages")
	}
	return dirs
}
