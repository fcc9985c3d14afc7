package jar

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pool writes a class file's constants.
type pool struct {
	b bytes.Buffer
	n uint16
}

func (p *pool) add(tag byte, values ...any) uint16 {
	p.b.WriteByte(tag)
	for _, v := range values {
		binary.Write(&p.b, binary.BigEndian, v)
	}
	p.n++
	if tag == 5 || tag == 6 {
		p.n++
		return p.n - 1
	}
	return p.n
}

func (p *pool) text(s string) uint16 { return p.add(1, uint16(len(s)), []byte(s)) }

// member is a field or method with one attribute.
func member(p *pool, name, attribute string, content []byte) []byte {
	var b bytes.Buffer
	for _, v := range []uint16{1, p.text(name), p.text("x"), 1, p.text(attribute)} {
		binary.Write(&b, binary.BigEndian, v)
	}
	binary.Write(&b, binary.BigEndian, uint32(len(content)))
	b.Write(content)
	return b.Bytes()
}

func classFile(p *pool, fields, methods [][]byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, 0xcafebabe)
	b = append(b, 0, 0, 0, 52)
	b = binary.BigEndian.AppendUint16(b, p.n+1)
	b = append(b, p.b.Bytes()...)
	b = append(b, make([]byte, 8)...) // access, this, super, interfaces
	for _, members := range [][][]byte{fields, methods} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(members)))
		for _, m := range members {
			b = append(b, m...)
		}
	}
	return append(b, 0, 0) // attributes
}

// info is version/Info.class of a release.
func info(major, minor, micro int32) string {
	p := &pool{}
	p.add(5, int64(1)) // takes two places
	var fields [][]byte
	for i, name := range []string{"MAJOR", "MINOR", "MICRO"} {
		index := p.add(3, []int32{major, minor, micro}[i])
		fields = append(fields, member(p, name, "ConstantValue", binary.BigEndian.AppendUint16(nil, index)))
	}
	return string(classFile(p, fields, nil))
}

// nio is ClientCnxnSocketNIO.class whose doIO calls disableWrite n times, among
// instructions that a count of bytes would take for calls.
func nio(n int) string {
	p := &pool{}
	method := func(name string) uint16 {
		return p.add(10, uint16(0), p.add(12, p.text(name), p.text("()V")))
	}
	disable, enable := method("disableWrite"), method("enableWrite")
	be := binary.BigEndian
	code := []byte{0xaa, 0, 0, 0} // tableswitch: padded to 4, default, low 0, high 0, one target
	code = append(code, make([]byte, 16)...)
	code = be.AppendUint16(append(code, 0xb6), enable)
	code = be.AppendUint16(append(code, 0x11), 0xb6b6) // sipush
	for range n {
		code = be.AppendUint16(append(code, 0xb6), disable)
	}
	code = append(code, 0xc4, 0x84, 0, 1, 0, 1, 0xb1) // wide iinc, return
	attribute := append(be.AppendUint32(make([]byte, 4), uint32(len(code))), code...)
	attribute = append(attribute, 0, 0, 0, 0)
	return string(classFile(p, nil, [][]byte{member(p, "doIO", "Code", attribute)}))
}

type file struct{ name, content string }

// archiveOf writes a jar; names that begin with "=" are stored.
func archiveOf(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		method := zip.Deflate
		if strings.HasPrefix(f.name, "=") {
			method, f.name = zip.Store, f.name[1:]
		}
		e, err := w.CreateHeader(&zip.FileHeader{Name: f.name, Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(e, f.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pom(version string) file {
	return file{pomEntry, "#Created by Maven\nartifactId=zookeeper\nversion=" + version + "\n"}
}

func manifest(title string) file {
	return file{manifestEntry, "Manifest-Version: 1.0\r\nBundle-Version: 3.4.13-6\r\nImplementation-Title: " + title +
		"\r\nImplementation-Version: 3.4.13-6--1\r\n\r\nName: x\r\nBundle-Version: 9.9.9\r\n"}
}

func classes(prefix string, major, minor, micro int32, writes int, netty bool) []file {
	f := []file{{prefix + mark, "x"}, {prefix + infoClass, info(major, minor, micro)}, {prefix + nioClass, nio(writes)}}
	if netty {
		f = append(f, file{prefix + nettyClass, "x"})
	}
	return f
}

func with(base []file, more ...file) []file { return append(base, more...) }

func plenty() *Budget { return NewBudget(1<<30, time.Hour) }

func TestFind(t *testing.T) {
	own := archiveOf(t, with(classes("", 3, 8, 0, 2, true), pom("3.8.0"))...)
	tests := []struct {
		name  string
		files []file
		want  Library
		err   error
	}{
		{"3.5 and later", with(classes("", 3, 9, 3, 2, true), pom("3.9.3")),
			Library{Version: "3.9.3", Source: "pom.properties", Netty: true, DisableWrites: 2}, nil},
		{"3.4", with(classes("", 3, 4, 13, 2, false), manifest("org.apache.zookeeper")),
			Library{Version: "3.4.13-6", Source: "MANIFEST.MF", DisableWrites: 2}, nil},
		{"affected vendor build", with(classes("", 3, 4, 5, 1, false), pom("3.4.5-cdh5.16.2")),
			Library{Version: "3.4.5-cdh5.16.2", Source: "pom.properties", DisableWrites: 1}, nil},
		{"fat jar: its manifest is of the application", with(classes("", 3, 4, 13, 2, false), manifest("org.example.app")),
			Library{Version: "3.4.13", Source: "version/Info.class", DisableWrites: 2}, nil},
		{"another version in Maven's file", with(classes("", 3, 4, 5, 1, false), pom("3.9.3")),
			Library{Version: "3.4.5", Source: "version/Info.class", DisableWrites: 1}, nil},
		{"moved", with(classes("com/x/shaded/", 3, 6, 3, 2, true), manifest("org.apache.zookeeper")),
			Library{Version: "3.6.3", Source: "version/Info.class", Package: "com.x.shaded.", Netty: true, DisableWrites: 2}, nil},
		{"two copies of one version", with(classes("", 3, 4, 13, 2, false), classes("x/", 3, 4, 13, 2, false)...),
			Library{Version: "3.4.13", Source: "version/Info.class", DisableWrites: 2}, nil},
		{"two copies of two versions", with(classes("", 3, 4, 5, 1, false), classes("x/", 3, 9, 3, 2, true)...),
			Library{Netty: true, DisableWrites: -1}, nil},
		{"nested, stored", []file{{"=BOOT-INF/lib/zookeeper-3.8.0.jar", string(own)}, {"BOOT-INF/lib/zookeeper-jute-3.8.0.jar", "x"}},
			Library{Version: "3.8.0", Source: "pom.properties", Nested: "BOOT-INF/lib/zookeeper-3.8.0.jar", Netty: true, DisableWrites: 2}, nil},
		{"nested, compressed, no version in its name", []file{{"WEB-INF/lib/zookeeper.jar", string(own)}},
			Library{Version: "3.8.0", Source: "pom.properties", Nested: "WEB-INF/lib/zookeeper.jar", Netty: true, DisableWrites: 2}, nil},
		{"nested, broken", []file{{"WEB-INF/lib/zookeeper-3.4.5.jar", "x"}},
			Library{Version: "3.4.5", Source: "its name", Nested: "WEB-INF/lib/zookeeper-3.4.5.jar", Netty: true, DisableWrites: -1}, nil},
		{"no classes that tell", []file{{mark, "x"}, {infoClass, "x"}, {nioClass, "\xca\xfe\xba\xbe"}}, Library{DisableWrites: -1}, nil},
		{"a hostile version", []file{{mark, "x"}, pom("3.4.5\x1b[31m"), manifest("org.apache.zookeeper")},
			Library{Version: "3.4.13-6", Source: "MANIFEST.MF", DisableWrites: -1}, nil},
		{"another client's", []file{{"org/apache/curator/X.class", "x"}, pom("3.8.0"), {"BOOT-INF/lib/zookeeper-jute-3.8.0.jar", "x"}}, Library{}, ErrNoLibrary},
		{"part of a name", []file{{"x-" + mark, "x"}}, Library{}, ErrNoLibrary},
		{"sources", []file{{strings.TrimSuffix(mark, "class") + "java", "x"}}, Library{}, ErrNoLibrary},
		{"for a newer Java", []file{{"META-INF/versions/9/" + mark, "x"}}, Library{}, ErrNoLibrary},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := archiveOf(t, tt.files...)
			got, err := Find(bytes.NewReader(b), int64(len(b)), plenty())
			if !errors.Is(err, tt.err) {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
			// An executable jar has a script in front.
			b = append([]byte("#!/bin/sh\nexec java -jar $0\n"), b...)
			again, err := Find(bytes.NewReader(b), int64(len(b)), plenty())
			if d := cmp.Diff(got, again); d != "" || !errors.Is(err, tt.err) {
				t.Errorf("behind a script: %v %s", err, d)
			}
		})
	}
}

// More entries than 16 bits can count need the directory's second form.
func TestFindZip64(t *testing.T) {
	files := classes("", 3, 8, 0, 2, true)
	for i := range 1 << 16 {
		files = append(files, file{fmt.Sprintf("=%d", i), ""})
	}
	b := archiveOf(t, files...)
	l, err := Find(bytes.NewReader(b), int64(len(b)), plenty())
	if err != nil || l.Version != "3.8.0" {
		t.Errorf("%+v %v", l, err)
	}
}

func TestHostile(t *testing.T) {
	good := archiveOf(t, with(classes("", 3, 4, 5, 1, false), file{pomEntry, strings.Repeat("a", 1<<20)})...)
	if l, err := Find(bytes.NewReader(good), int64(len(good)), plenty()); err != nil || l.Version != "3.4.5" {
		t.Errorf("too big a text must not be read, and not hide the rest: %+v %v", l, err)
	}
	end := bytes.LastIndex(good, []byte("PK\x05\x06"))
	le := binary.LittleEndian
	for name, change := range map[string]func(b []byte){
		"directory longer than the file": func(b []byte) { le.PutUint32(b[end+12:], 1<<30) },
		"directory beyond the end":       func(b []byte) { le.PutUint32(b[end+16:], 1<<31) },
		"directory of something else":    func(b []byte) { le.PutUint32(b[end+12:], le.Uint32(b[end+12:])-1) },
		"no end":                         func(b []byte) { b[end] = 'X' },
	} {
		b := bytes.Clone(good)
		change(b)
		if l, err := Find(bytes.NewReader(b), int64(len(b)), plenty()); !errors.Is(err, errFormat) {
			t.Errorf("%s: %+v %v", name, l, err)
		}
	}

	// An entry that unpacks to more than it says is not believed.
	bomb := archiveOf(t, file{mark, "x"}, pom("3.4.5"+strings.Repeat("\n", 4096)))
	at := bytes.LastIndex(bomb, []byte("PK\x01\x02"))
	le.PutUint32(bomb[at+24:], 60)
	if l, err := Find(bytes.NewReader(bomb), int64(len(bomb)), plenty()); err != nil || l.Version != "" {
		t.Errorf("lying size: %+v %v", l, err)
	}

	// A directory of countless entries is given up.
	many := bytes.Repeat(append([]byte("PK\x01\x02"), make([]byte, 42)...), maxEntries+1)
	tail := append([]byte("PK\x05\x06"), make([]byte, 18)...)
	le.PutUint32(tail[12:], uint32(len(many)))
	many = append(many, tail...)
	if _, err := Find(bytes.NewReader(many), int64(len(many)), plenty()); !errors.Is(err, errSize) {
		t.Errorf("countless entries: %v", err)
	}
}

func FuzzJar(f *testing.F) {
	inner := archiveOf(f, with(classes("", 3, 8, 0, 2, true), pom("3.8.0"))...)
	f.Add(inner)
	f.Add(archiveOf(f, with(classes("x/", 3, 4, 13, 1, false), manifest("org.apache.zookeeper"))...))
	f.Add(archiveOf(f, file{"=BOOT-INF/lib/zookeeper-3.8.0.jar", string(inner)}))
	f.Add(archiveOf(f, file{"=" + mark, "x"}, file{"=" + infoClass, info(3, 4, 5)}, file{"=" + nioClass, nio(2)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Find(bytes.NewReader(b), int64(len(b)), plenty())
		if err == nil && l.Version != "" && !versionForm.MatchString(l.Version) {
			t.Errorf("version %q", l.Version)
		}
		if len(l.Package) > maxName || len(l.Nested) > maxName {
			t.Errorf("unbounded: %+v", l)
		}
	})
}

func FuzzClass(f *testing.F) {
	f.Add([]byte(info(3, 4, 5)))
	f.Add([]byte(nio(2)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseClass(b, plenty()); err == nil {
			c.calls("doIO", "disableWrite")
		}
	})
}
