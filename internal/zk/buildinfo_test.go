package zk

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rstwhy/internal/event"
)

const (
	elfData = 0x1000 // where the segment starts in the file
	elfAddr = 0x400000
)

// elfOf is a program with one writable segment of those bytes.
func elfOf(word int, order binary.ByteOrder, content []byte) []byte {
	var b bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			if a, ok := v.(int); ok { // an address
				if v = uint64(a); word == 4 {
					v = uint32(a)
				}
			}
			binary.Write(&b, order, v)
		}
	}
	class, data := uint8(2), uint8(1)
	if word == 4 {
		class = 1
	}
	if order == binary.ByteOrder(binary.BigEndian) {
		data = 2
	}
	header, entry := 64, uint16(56)
	if word == 4 {
		header, entry = 52, 32
	}
	put([]byte("\x7fELF"), class, data, make([]byte, 10))
	put(uint16(2), uint16(0), uint32(1), elfAddr, header, 0, uint32(0), uint16(header), entry, uint16(1), uint16(0), uint16(0), uint16(0))
	size := len(content)
	if word == 8 {
		put(uint32(1), uint32(6), elfData, elfAddr, elfAddr, size, size, 0x1000)
	} else {
		put(uint32(1), elfData, elfAddr, elfAddr, size, size, uint32(6), 0x1000)
	}
	b.Write(make([]byte, elfData-b.Len()))
	b.Write(content)
	return b.Bytes()
}

// inline is the build information of Go 1.18 and later, behind some bytes.
func inline(modules string) []byte {
	b := append(make([]byte, 300<<10), buildMagic+"\x08\x02"...)
	b = append(b, make([]byte, 16)...)
	b = append(binary.AppendUvarint(b, 6), "go1.26"...)
	modules = strings.Repeat("0", buildMarkers) + modules + strings.Repeat("1", buildMarkers)
	return append(binary.AppendUvarint(b, uint64(len(modules))), modules...)
}

// pointers is that of Go 1.13 to 1.17.
func pointers(word int, order binary.ByteOrder, modules string) []byte {
	modules = strings.Repeat("0", buildMarkers) + modules + strings.Repeat("1", buildMarkers)
	var b bytes.Buffer
	number := func(n int) {
		if word == 4 {
			binary.Write(&b, order, uint32(n))
		} else {
			binary.Write(&b, order, uint64(n))
		}
	}
	b.WriteString(buildMagic + string([]byte{byte(word), 0}))
	number(0)
	number(elfAddr + buildHeader)
	b.Write(make([]byte, buildHeader-b.Len()))
	number(elfAddr + 64)
	number(len(modules))
	b.Write(make([]byte, 64-b.Len()))
	b.WriteString(modules)
	return b.Bytes()
}

func TestModules(t *testing.T) {
	le, be := binary.ByteOrder(binary.LittleEndian), binary.ByteOrder(binary.BigEndian)
	const dep = "path\tx\nmod\tx\t(devel)\t\ndep\tgithub.com/a/b\tv1.0.0\th1:x=\ndep\tgithub.com/go-zookeeper/zk\tv1.0.3\th1:x=\n"
	client := func(version string) *event.Client {
		return &event.Client{Transport: transportGo, Version: version,
			Source: strings.TrimSpace("build information of the executable: github.com/go-zookeeper/zk v" + version)}
	}
	many := strings.Repeat("dep\tx\tv1\n", maxModuleText/9+1)
	for _, tt := range []struct {
		name string
		b    []byte
		want *event.Client
		isGo bool
	}{
		{"inline", elfOf(8, le, inline(dep+"build\tx=y\n")), client("1.0.3"), true},
		{"inline, another order", elfOf(8, be, inline(dep)), client("1.0.3"), true},
		{"pointers", elfOf(8, le, pointers(8, le, dep)), client("1.0.3"), true},
		{"pointers, 32 bits", elfOf(4, be, pointers(4, be, dep)), client("1.0.3"), true},
		{"replaced", elfOf(8, le, inline(dep+"=>\tgithub.com/fork/zk\tv9.9.9\th1:x=\n")), client("9.9.9"), true},
		{"others", elfOf(8, le, inline("dep\tgithub.com/go-zookeeper/zkx\tv1\th1:x=\n")), nil, true},
		{"a comment of that name", elfOf(8, le, inline("build\tgithub.com/go-zookeeper/zk\tv1\n")), nil, true},
		{"within the bound", elfOf(8, le, inline(dep+many)), client("1.0.3"), true},
		{"beyond the bound", elfOf(8, le, inline(many+dep)), nil, true},
		{"no modules", elfOf(8, le, pointers(8, le, "")), nil, true},
		{"no Go", elfOf(8, le, make([]byte, 1000)), nil, false},
		{"cut off", elfOf(8, le, inline(dep))[:elfData+300<<10+40], nil, false},
		{"no ELF", make([]byte, 100), nil, false},
		{"empty", nil, nil, false},
	} {
		c, isGo := golang(bytes.NewReader(tt.b), newBudget())
		if d := cmp.Diff(tt.want, c); d != "" || isGo != tt.isGo {
			t.Errorf("%s: Go %v %s", tt.name, isGo, d)
		}
	}
}

// However long the list of modules says that it is, little is kept of it.
func TestModulesAreBounded(t *testing.T) {
	b := elfOf(8, binary.LittleEndian, inline(strings.Repeat("dep\ta\tv1\n", 2<<20)))
	r := testing.Benchmark(func(bench *testing.B) {
		bench.ReportAllocs()
		for range bench.N {
			if _, isGo := golang(bytes.NewReader(b), newBudget()); !isGo {
				bench.Fatal("not read")
			}
		}
	})
	if n := r.AllocedBytesPerOp(); n > 8<<20 {
		t.Errorf("%d bytes are allocated for %d of a program", n, len(b))
	}
}

func FuzzModules(f *testing.F) {
	le := binary.ByteOrder(binary.LittleEndian)
	f.Add(elfOf(8, le, pointers(8, le, "dep\tgithub.com/go-zookeeper/zk\tv1.0.3\n")))
	f.Add(elfOf(4, binary.BigEndian, pointers(4, binary.BigEndian, "dep\tgithub.com/go-zookeeper/zk\tv1.0.3\n")))
	f.Add(elfOf(8, le, inline("dep\tgithub.com/go-zookeeper/zk\tv1.0.3\n")[300<<10:]))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, isGo := golang(bytes.NewReader(b), newBudget())
		if c != nil && (!isGo || len(c.Version) > maxVersionText || len(c.Source) > maxSource) {
			t.Errorf("%+v %v", c, isGo)
		}
	})
}
