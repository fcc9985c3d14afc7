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
	maxScript  = 1 << 20
	maxScripts = 64 // Python files beside the script
)

var (
	interpreter  = regexp.MustCompile(`^python(\d(?:\.\d+)?)?$`)
	kazooVersion = regexp.MustCompile(`(?m)^__version__ = ['"](\d+\.\d+(?:\.\d+)?[0-9A-Za-z.]*)['"]`)
)

// python tells kazoo, where the script or a file beside it imports it: that it
// is installed says nothing of a process.
func python(t *proctree.Tree, argv []string, b *jar.Budget) *event.Client {
	script := scriptOf(argv)
	if script == "" {
		return nil
	}
	by := importer(t, script, b)
	if by == "" {
		return nil
	}
	c := &event.Client{Transport: transportPython, Source: "kazoo, imported by " + path.Base(by)}
	for _, dir := range sitePackages(t, argv[0], script) {
		text, err := readScript(t, dir+"/kazoo/version.py", b)
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
func importer(t *proctree.Tree, script string, b *jar.Budget) string {
	imports := func(name string) bool {
		text, err := readScript(t, name, b)
		return err == nil && importsKazoo(text)
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

// readScript gives a Python file, as long as the budget lasts.
func readScript(t *proctree.Tree, name string, b *jar.Budget) ([]byte, error) {
	f, err := t.OpenFile(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Size > maxScript {
		return nil, jar.ErrTooMuch
	}
	return io.ReadAll(io.NewSectionReader(b.Of(f), 0, f.Size))
}

// importsKazoo looks for a line that begins with "import kazoo" or "from
// kazoo", going once over the text.
func importsKazoo(text []byte) bool {
	const name, before = "kazoo", 64 // indentation, the word and blanks
	for at := 0; ; {
		i := bytes.Index(text[at:], []byte(name))
		if i < 0 {
			return false
		}
		i += at
		at = i + len(name)
		line := text[max(0, i-before):i]
		if n := bytes.LastIndexByte(line, '\n'); n >= 0 {
			line = line[n+1:]
		} else if i > before {
			continue
		}
		word := bytes.TrimSpace(line)
		if len(line) == 0 || !isBlank(line[len(line)-1]) {
			continue
		}
		next := byte('\n')
		if at < len(text) {
			next = text[at]
		}
		switch string(word) {
		case "from":
			if next == '.' || isBlank(next) {
				return true
			}
		case "import":
			if next != '_' && next < 0x80 && !isLetter(next|0x20) && (next < '0' || next > '9') {
				return true
			}
		}
	}
}

func isBlank(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'
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
