package jar

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

func TestBudget(t *testing.T) {
	b := NewBudget(1000, time.Hour)
	if err := b.Spend(900); err != nil || b.Left() == 0 {
		t.Error(err)
	}
	r := b.Of(strings.NewReader(strings.Repeat("x", 2000)))
	if n, err := r.ReadAt(make([]byte, 100), 0); n != 100 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if n, err := r.ReadAt(make([]byte, 1), 0); n != 0 || !errors.Is(err, ErrTooMuch) || b.Left() != 0 {
		t.Errorf("beyond the end: %d bytes, %v", n, err)
	}
	b = NewBudget(1000, time.Hour)
	if err := b.Spend(1001); !errors.Is(err, ErrTooMuch) {
		t.Error("more than there is")
	}
	if err := b.Spend(1); !errors.Is(err, ErrTooMuch) {
		t.Error("it goes on")
	}
	if err := NewBudget(math.MaxInt64, -time.Second).Spend(1); !errors.Is(err, ErrTooMuch) {
		t.Error("beyond the time")
	}
	b = NewBudget(1000, time.Hour)
	for range 1000 {
		b.Of(strings.NewReader("")).ReadAt(make([]byte, 1), 0)
	}
	if b.Left() != 0 {
		t.Error("calls that read nothing cost nothing")
	}
}

// shared is a class whose fields all have one name of 64 KiB.
func shared() string {
	p := &pool{}
	name := p.text(strings.Repeat("a", 65535))
	attribute := p.text("ConstantValue")
	value := p.add(3, int32(3))
	var field []byte
	for _, v := range []uint16{1, name, name, 1, attribute, 0, 2, value} {
		field = binary.BigEndian.AppendUint16(field, v)
	}
	fields := make([][]byte, (maxClass-66<<10)/len(field))
	for i := range fields {
		fields[i] = field
	}
	return string(classFile(p, fields, nil))
}

// A name that all members share is not copied for each.
func TestSharedName(t *testing.T) {
	b := []byte(shared())
	if len(b) > maxClass {
		t.Fatalf("%d bytes", len(b))
	}
	r := testing.Benchmark(func(bench *testing.B) {
		bench.ReportAllocs()
		for range bench.N {
			if _, err := parseClass(b, plenty()); err != nil {
				bench.Fatal(err)
			}
		}
	})
	if n := r.AllocedBytesPerOp(); n > 16<<10 {
		t.Errorf("%d bytes are allocated for one class", n)
	}
	// Nor does a short file have a long table of constants made.
	short := binary.BigEndian.AppendUint16([]byte("\xca\xfe\xba\xbe\x00\x00\x00\x34"), math.MaxUint16)
	if c, err := parseClass(short, plenty()); err == nil {
		t.Errorf("%d constants in %d bytes", len(c.pool), len(short))
	}
}

// What is unpacked and walked over counts, in the copies of one archive and in
// one inside another.
func TestBudgetOfArchives(t *testing.T) {
	var files []file
	for i := range maxCopies {
		prefix := fmt.Sprintf("p%d/", i)
		files = append(files, file{prefix + mark, ""}, file{prefix + infoClass, shared()}, file{prefix + nioClass, shared()})
	}
	copies := archiveOf(t, files...)
	nested := archiveOf(t, file{"BOOT-INF/lib/zookeeper-3.8.0.jar", string(copies)}, file{"=x", "x"})
	for name, b := range map[string][]byte{"copies": copies, "nested": nested} {
		if len(b) > 1<<20 {
			t.Fatalf("%s: the test needs what packs well: %d bytes", name, len(b))
		}
		budget := NewBudget(2<<20, time.Hour)
		l, err := Find(bytes.NewReader(b), int64(len(b)), budget)
		if !errors.Is(err, ErrTooMuch) || l != (Library{}) {
			t.Errorf("%s: %+v %v", name, l, err)
		}
		if _, err := Find(bytes.NewReader(b), int64(len(b)), plenty()); err != nil {
			t.Errorf("%s, with enough: %v", name, err)
		}
	}
	late := NewBudget(1<<30, -time.Second)
	if _, err := Find(io.NewSectionReader(bytes.NewReader(copies), 0, 1<<20), int64(len(copies)), late); !errors.Is(err, ErrTooMuch) {
		t.Errorf("beyond the time: %v", err)
	}
}
