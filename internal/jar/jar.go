// Package jar finds the ZooKeeper client library in a Java archive: a jar of
// ZooKeeper itself, a fat jar that holds its classes under their own or
// another name, or a jar or war that holds ZooKeeper's jar.
//
// The archive is foreign and may be hostile: what is read of it is bounded,
// whatever sizes it claims, and no more is kept of its directory than the few
// entries that tell something.
package jar

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// ErrNoLibrary says that the archive holds no ZooKeeper client.
var ErrNoLibrary = errors.New("no ZooKeeper client library")

// Library is the ZooKeeper client that an archive holds.
type Library struct {
	Version string // such as 3.4.13 or 3.4.5-cdh5.16.2; empty where it cannot be told, as where there are two
	Source  string // entry that told the version
	Package string // package that the classes were moved into, ending in a dot; empty for their own
	Nested  string // archive inside this one that holds them
	Netty   bool   // it has a Netty transport (3.5.1 and later)
	// DisableWrites is how often ClientCnxnSocketNIO.doIO calls disableWrite:
	// once where ZOOKEEPER-1702 is not fixed, twice where it is; -1 where the
	// code could not be read.
	DisableWrites int
}

const (
	maxCopies     = 8        // copies of the library in one archive
	maxText       = 64 << 10 // of pom.properties and MANIFEST.MF
	maxNested     = 8 << 20  // of a compressed archive inside another
	maxNestedJars = 2        // archives looked at inside one
	maxName       = 512      // of an entry that is kept
	mark          = "org/apache/zookeeper/ZooKeeper.class"
	infoClass     = "org/apache/zookeeper/version/Info.class"
	nioClass      = "org/apache/zookeeper/ClientCnxnSocketNIO.class"
	nettyClass    = "org/apache/zookeeper/ClientCnxnSocketNetty.class"
	pomEntry      = "META-INF/maven/org.apache.zookeeper/zookeeper/pom.properties"
	manifestEntry = "META-INF/MANIFEST.MF"
)

// Find looks for the library, as long as the budget lasts.
func Find(r io.ReaderAt, size int64, b *Budget) (Library, error) {
	l, err := find(b.Of(r), size, true, b)
	if b.Left() == 0 {
		return Library{}, ErrTooMuch // half of what is there may be wrong
	}
	return l, err
}

// content is what matters of an archive's directory.
type content struct {
	archive       *archive
	copies        []string         // what stands before the mark, for each copy of the classes
	entries       map[string]entry // the others that tell something
	nested        []entry          // ZooKeeper's own jars inside
	pom, manifest *entry
}

func find(r io.ReaderAt, size int64, nest bool, b *Budget) (Library, error) {
	a, err := open(r, size, b)
	if err != nil {
		return Library{}, err
	}
	c := content{archive: a, entries: map[string]entry{}}
	if err := a.each(c.see); err != nil {
		return Library{}, err
	}
	switch {
	case len(c.copies) == 1:
		return c.library(c.copies[0]), nil
	case len(c.copies) > 1:
		return c.several(), nil
	case nest && len(c.nested) > 0:
		return c.inside(), nil
	}
	return Library{}, ErrNoLibrary
}

// see keeps the entry if it tells something.
func (c *content) see(name []byte, e entry) bool {
	if len(name) > maxName || bytes.HasPrefix(name, []byte("META-INF/versions/")) {
		return true
	}
	switch {
	case bytes.HasSuffix(name, []byte(mark)):
		if len(c.copies) == maxCopies {
			return true
		}
		if prefix := string(name[:len(name)-len(mark)]); whole(prefix) {
			c.copies = append(c.copies, prefix)
		}
	case bytes.HasSuffix(name, []byte(infoClass)), bytes.HasSuffix(name, []byte(nioClass)), bytes.HasSuffix(name, []byte(nettyClass)):
		if len(c.entries) < 4*maxCopies {
			e.name = string(name)
			c.entries[e.name] = e
		}
	case string(name) == pomEntry:
		c.pom = &e
	case string(name) == manifestEntry:
		c.manifest = &e
	case bytes.HasSuffix(name, []byte(".jar")):
		if len(c.nested) == maxNestedJars || c.archive.budget.Spend(int64(len(name))) != nil {
			return true
		}
		if e.name = string(name); nestedName.MatchString(e.name) {
			c.nested = append(c.nested, e)
		}
	}
	return true
}

// whole tells whether a prefix ends where a directory does.
func whole(prefix string) bool { return prefix == "" || strings.HasSuffix(prefix, "/") }

// library describes one copy of the classes.
func (c *content) library(prefix string) Library {
	l := Library{Package: packageOf(prefix), DisableWrites: -1}
	_, l.Netty = c.entries[prefix+nettyClass]
	if class, err := c.class(prefix + nioClass); err == nil {
		if n, ok := class.calls("doIO", "disableWrite"); ok {
			l.DisableWrites = n
		}
	}
	if class, err := c.class(prefix + infoClass); err == nil {
		major, ok1 := class.integer["MAJOR"]
		minor, ok2 := class.integer["MINOR"]
		micro, ok3 := class.integer["MICRO"]
		if ok1 && ok2 && ok3 && min(major, minor, micro) >= 0 && max(major, minor, micro) < 1000 {
			l.Version = fmt.Sprintf("%d.%d.%d", major, minor, micro)
			l.Source = "version/Info.class"
		}
	}
	// What packagers wrote has their suffix too; where it contradicts the
	// code, the code is right.
	for _, text := range []func(string) (string, string){c.pomVersion, c.manifestVersion} {
		if version, source := text(prefix); version != "" && agree(version, l.Version) {
			l.Version, l.Source = version, source
			break
		}
	}
	return l
}

// packageOf turns org/example/shaded/ into org.example.shaded. and leaves out
// where wars and Spring Boot have their classes.
func packageOf(prefix string) string {
	for _, classes := range []string{"WEB-INF/classes/", "BOOT-INF/classes/"} {
		prefix = strings.TrimPrefix(prefix, classes)
	}
	return strings.ReplaceAll(prefix, "/", ".")
}

func (c *content) class(name string) (*class, error) {
	e, ok := c.entries[name]
	if !ok {
		return nil, errClass
	}
	b, err := c.archive.content(e, maxClass)
	if err != nil {
		return nil, err
	}
	return parseClass(b, c.archive.budget)
}

// several describes an archive with more than one copy: which one runs cannot
// be told, only what they have in common.
func (c *content) several() Library {
	first := c.library(c.copies[0])
	for _, prefix := range c.copies[1:] {
		l := c.library(prefix)
		if l.Version != first.Version {
			first.Version, first.Source = "", ""
		}
		if l.DisableWrites != first.DisableWrites {
			first.DisableWrites = -1
		}
		first.Netty = first.Netty || l.Netty
	}
	return first
}

// inside looks into ZooKeeper's jar within a jar or war.
func (c *content) inside() Library {
	var found []Library
	for _, e := range c.nested {
		found = append(found, c.within(e))
	}
	l := found[0]
	for _, other := range found[1:] {
		if other.Version != l.Version {
			l.Version, l.Source = "", ""
		}
		if other.DisableWrites != l.DisableWrites {
			l.DisableWrites = -1
		}
		l.Netty = l.Netty || other.Netty
	}
	return l
}

// within reads a nested archive; where it cannot be read its name counts.
func (c *content) within(e entry) Library {
	l, err := c.nestedLibrary(e)
	if err != nil {
		l = Library{DisableWrites: -1, Netty: true} // unknown, so it may have one
	}
	l.Nested = e.name
	if l.Version == "" {
		l.Version, l.Source = clean(nestedName.FindStringSubmatch(e.name)[1]), "its name"
		if l.Version == "" {
			l.Source = ""
		}
	}
	return l
}

func (c *content) nestedLibrary(e entry) (Library, error) {
	if e.method == stored {
		section, err := c.archive.section(e)
		if err != nil {
			return Library{}, err
		}
		return find(section, section.Size(), false, c.archive.budget)
	}
	b, err := c.archive.content(e, maxNested)
	if err != nil {
		return Library{}, err
	}
	return find(c.archive.budget.Of(bytes.NewReader(b)), int64(len(b)), false, c.archive.budget)
}

// nestedName is that of ZooKeeper's own jar in a place from which classes are
// loaded; zookeeper-jute and the like are others.
var nestedName = regexp.MustCompile(`^(?:BOOT-INF/|WEB-INF/|APP-INF/)?lib/(?:org\.apache\.zookeeper[.-])?zookeeper(?:-(\d[^/]*))?\.jar$`)

// pomVersion reads what Maven writes into the jar of ZooKeeper 3.5 and later.
func (c *content) pomVersion(string) (version, source string) {
	if c.pom == nil {
		return "", ""
	}
	text, err := c.archive.content(*c.pom, maxText)
	if err != nil {
		return "", ""
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "version="); ok {
			return clean(strings.TrimSpace(v)), path.Base(pomEntry)
		}
	}
	return "", ""
}

// manifestVersion reads the manifest, which speaks of ZooKeeper only where the
// jar is ZooKeeper's own.
func (c *content) manifestVersion(prefix string) (version, source string) {
	if c.manifest == nil || prefix != "" {
		return "", ""
	}
	text, err := c.archive.content(*c.manifest, maxText)
	if err != nil {
		return "", ""
	}
	own := false
	values := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ": ")
		if key == "" {
			break // the sections of single entries follow
		}
		switch key {
		case "Implementation-Title", "Bundle-SymbolicName":
			name, _, _ := strings.Cut(value, ";")
			own = own || ownNames[name]
		case "Implementation-Version", "Bundle-Version":
			values[key] = clean(value)
		}
	}
	// Implementation-Version goes on with the revision, 40 hexadecimal digits.
	for _, key := range []string{"Bundle-Version", "Implementation-Version"} {
		if own && values[key] != "" {
			return values[key], path.Base(manifestEntry)
		}
	}
	return "", ""
}

// ownNames are the names that ZooKeeper's own jar gives itself in a manifest.
var ownNames = map[string]bool{
	"org.apache.zookeeper": true, "org.apache.hadoop.zookeeper": true, "org.apache.zookeeper.zookeeper": true,
}

var versionForm = regexp.MustCompile(`^(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:[-.+_][0-9A-Za-z.+_-]*)?$`)

// clean gives the text where it is a version, else nothing.
func clean(text string) string {
	if len(text) > 64 || !versionForm.MatchString(text) {
		return ""
	}
	return strings.Clone(text) // not the whole file that it stands in
}

// agree tells whether the text is of the version that the code tells.
func agree(text, code string) bool {
	if code == "" {
		return true
	}
	m := versionForm.FindStringSubmatch(text)
	if m == nil {
		return false
	}
	for i, part := range strings.Split(code, ".") {
		a, err1 := strconv.Atoi(m[i+1])
		b, err2 := strconv.Atoi(part)
		if err1 != nil || err2 != nil || a != b {
			return false
		}
	}
	return true
}
