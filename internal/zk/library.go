package zk

import (
	"errors"
	"io"
	"path"
	"strings"

	"rstwhy/internal/event"
	"rstwhy/internal/hsperf"
	"rstwhy/internal/jar"
	"rstwhy/internal/proctree"
)

// Bounds of one look at a process. A look costs some milliseconds; what a
// hostile process can make of it is a fraction of a second, once or twice.
const (
	maxDescriptors = 8192     // open files looked at
	maxJars        = 1024     // archives looked into
	maxLibraries   = 16       // of them that hold the library
	maxRead        = 96 << 20 // bytes read of files that the process chose, unpacked and walked over
	maxThreads     = 4096
	maxSource      = 256
	maxLook        = stuckAfter * 3 / 4 // time for reading
)

// newBudget is that of one look.
func newBudget() *jar.Budget { return jar.NewBudget(maxRead, maxLook) }

// findings are what the archives of a JVM tell, one after the other.
type findings struct {
	libraries []jar.Library
	sources   []string // for each: where it is, and what told its version
	names     map[string]bool
	cut       bool // there was more than may be looked at
}

func (f *findings) add(where, name string, r io.ReaderAt, size int64, b *jar.Budget) {
	if len(f.names) >= maxJars || len(f.libraries) >= maxLibraries {
		f.cut = true
	}
	if f.cut || f.names[name] {
		return
	}
	f.names[name] = true
	l, err := jar.Find(r, size, b)
	if errors.Is(err, jar.ErrTooMuch) {
		f.cut = true
	}
	if err != nil {
		return
	}
	f.libraries = append(f.libraries, l)
	f.sources = append(f.sources, where+archiveSource(name, l))
}

// archiveSource says where in an archive the version stands.
func archiveSource(name string, l jar.Library) string {
	text := path.Base(strings.TrimSuffix(name, deleted))
	for _, part := range []string{l.Nested, l.Source} {
		if part != "" {
			text += ": " + part
		}
	}
	if l.Package != "" {
		text += " (moved to " + strings.TrimSuffix(l.Package, ".") + ")"
	}
	return text
}

// classPathSource begins the source of what was found on the class path: that
// it is used is not certain, as it is of an open file.
const classPathSource = "class path: "

// deleted is what the kernel writes behind the name of a file that is gone.
const deleted = " (deleted)"

// java tells the client library of a JVM: from the archives that it holds open,
// which are those that it has loaded classes from, else from its class path.
func java(t *proctree.Tree, argv []string, b *jar.Budget) *event.Client {
	f := findings{names: map[string]bool{}}
	open, whole := t.Descriptors(maxDescriptors)
	f.cut = !whole
	for _, named := range []bool{true, false} { // the likely ones first, should the budget end
		for _, d := range open {
			name := strings.TrimSuffix(d.Name, deleted)
			if !isArchive(name) || strings.Contains(path.Base(name), "zookeeper") != named {
				continue
			}
			if file, err := t.OpenDescriptor(d.Number); err == nil {
				f.add("fd -> ", name, file, file.Size, b)
				file.Close()
			}
		}
	}
	if len(f.libraries) == 0 {
		for _, name := range classPath(t, argv) {
			if file, err := t.OpenFile(name); err == nil {
				f.add(classPathSource, name, file, file.Size, b)
				file.Close()
			}
		}
	}
	threads := threadsOf(t)
	if len(f.libraries) == 0 && !threads.send {
		return nil
	}
	c := f.client()
	var why string
	c.Transport, why = transport(f.libraries, threads, options(t, argv))
	if c.Transport == transportNetty {
		c.Handshake = nil // that of the other transport's code
	}
	if why != "" {
		c.Source = strings.TrimPrefix(c.Source+"; "+c.Transport+": "+why, "; ")
	}
	c.Source = printable(c.Source, maxSource)
	return &c
}

// client is what the archives agree on.
func (f *findings) client() event.Client {
	var c event.Client
	if len(f.libraries) == 0 {
		return c
	}
	first := f.libraries[0]
	c.Version, c.Source, c.Handshake = first.Version, f.sources[0], handshake(first)
	for i, l := range f.libraries[1:] {
		if l.Version != first.Version {
			// Which of them connects cannot be told.
			c.Version, c.Source = "", "several: "+f.sources[0]+", "+f.sources[i+1]
		}
		if l.DisableWrites != first.DisableWrites {
			c.Handshake = nil
		}
	}
	if f.cut {
		c.Source += " (not everything was looked at)"
	}
	return c
}

// handshake tells what the code of the NIO client does: with the fix of
// ZOOKEEPER-1702 ClientCnxnSocketNIO.doIO calls disableWrite once more.
func handshake(l jar.Library) *event.Handshake {
	switch l.DisableWrites {
	case 1:
		return new(event.HandshakeEarly)
	case 2:
		return new(event.HandshakeWaits)
	}
	return nil
}

func isArchive(name string) bool {
	switch path.Ext(name) {
	case ".jar", ".war", ".ear":
		return true
	}
	return false
}

// classPath names the archives of a class path that may be, or hold, the
// library.
func classPath(t *proctree.Tree, argv []string) []string {
	var all []string
	add := func(name string) {
		if strings.Contains(path.Base(name), "zookeeper") && isArchive(name) && len(all) < maxJars {
			all = append(all, name)
		}
	}
	for i := 1; i < len(argv); i++ {
		option, value, joined := strings.Cut(argv[i], "=")
		switch {
		case option == "--class-path" && joined:
		case launcherValues[argv[i]] || argv[i] == "-jar":
			if i++; i == len(argv) {
				return all
			}
			option, value = argv[i-1], argv[i]
		case strings.HasPrefix(argv[i], "-"):
			continue
		default:
			return all // the main class
		}
		switch option {
		case "-jar":
			if len(all) < maxJars {
				return append(all, value)
			}
			return all
		case "-cp", "-classpath", "--class-path":
			for name := range strings.SplitSeq(value, ":") {
				dir, star := strings.CutSuffix(name, "/*")
				if !star {
					add(name)
					continue
				}
				names, err := t.ReadDir(dir, maxJars)
				if err != nil {
					continue
				}
				for _, n := range names {
					add(dir + "/" + n)
				}
			}
		}
	}
	return all
}

// options are the JVM's own ones: those of its command line and, where it
// tells them, those from the environment and from files.
func options(t *proctree.Tree, argv []string) string {
	all := strings.Join(argv, "\n")
	if counters, err := hsperf.Read(t); err == nil {
		all += "\n" + strings.ReplaceAll(counters.Arguments, " -", "\n-")
	}
	return all
}
