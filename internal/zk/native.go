package zk

import (
	"bytes"
	"io"
	"path"
	"regexp"
	"strings"

	"rstwhy/internal/event"
	"rstwhy/internal/jar"
	"rstwhy/internal/proctree"
)

const (
	maxSharedObject = 16 << 20
	maxExecutable   = 64 << 20 // of an executable that may hold the C library
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
func shared(t *proctree.Tree, m proctree.Mapping, b *jar.Budget) *event.Client {
	base := path.Base(strings.TrimSuffix(m.Name, deleted))
	c := &event.Client{Transport: transportC, Source: printable("maps -> "+base, maxSource)}
	if f, err := t.OpenMapping(m); err == nil {
		defer f.Close()
		if v, ok := scan(b.Of(f), min(f.Size, maxSharedObject)); ok {
			c.Version = v
			c.Source = printable("maps -> "+base+": "+cMark+v, maxSource)
		}
	}
	return c
}

// static looks for the C library in the executable itself.
func static(f io.ReaderAt, size int64, b *jar.Budget) *event.Client {
	v, ok := scan(b.Of(f), min(size, maxExecutable))
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
