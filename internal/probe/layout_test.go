package probe

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// TestLayoutIsTheWire compares the layout that recordings carry (from the
// object's BTF) with the Go struct that is read (from bpf2go).
func TestLayoutIsTheWire(t *testing.T) {
	want := map[string]Field{}
	var e ResetEvent
	eachField(reflect.ValueOf(&e).Elem(), "", func(name string, v reflect.Value) {
		key := strings.ToLower(name)
		off := uintptr(v.Addr().UnsafePointer()) - uintptr(unsafe.Pointer(&e))
		want[key] = Field{Name: key, Offset: uint32(off), Size: uint32(v.Type().Size())}
	})
	got := Layout()
	if len(got) != len(want) {
		t.Errorf("%d fields in the layout, %d in the struct", len(got), len(want))
	}
	for _, f := range got {
		f.Name = strings.ReplaceAll(f.Name, "_", "")
		if f != want[f.Name] {
			t.Errorf("layout has %+v, the struct %+v", f, want[f.Name])
		}
	}
}

// laidOut writes a record in another layout.
func laidOut(e *ResetEvent, layout []Field) []byte {
	size := uint32(0)
	for _, f := range layout {
		size = max(size, f.Offset+f.Size)
	}
	out, raw, here := make([]byte, size), wireBytes(e), Layout()
	for _, f := range layout {
		for _, own := range here {
			if own.Name == f.Name {
				copy(out[f.Offset:f.Offset+f.Size], raw[own.Offset:own.Offset+own.Size])
			}
		}
	}
	return out
}

// shuffled moves every field, and grows or shrinks it by a factor.
func shuffled(grow func(Field) uint32) []Field {
	fields := slices.Clone(Layout())
	r := rand.New(rand.NewPCG(3, 4))
	r.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	at := uint32(24)
	for i := range fields {
		fields[i].Offset, fields[i].Size = at, grow(fields[i])
		at += fields[i].Size + uint32(i%3)
	}
	return fields
}

func same(f Field) uint32 { return f.Size }

func translate(t *testing.T, layout []Field, raw []byte) ResetEvent {
	t.Helper()
	tr, err := NewTranslator(layout)
	if err != nil {
		t.Fatal(err)
	}
	var e ResetEvent
	if err := tr.Reset(raw, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestTranslatorReordered(t *testing.T) {
	for _, want := range []ResetEvent{fullReset(), listenReset(), timewaitReset(), bareReset(), receivedReset()} {
		for name, layout := range map[string][]Field{
			"own": Layout(), "reordered": shuffled(same), "grown": shuffled(func(f Field) uint32 { return 2 * f.Size }),
		} {
			if got := translate(t, layout, laidOut(&want, layout)); got != want {
				t.Errorf("%s layout: read %+v, written %+v", name, got, want)
			}
		}
	}
}

func TestTranslatorForeignFields(t *testing.T) {
	want := fullReset()
	layout := slices.DeleteFunc(shuffled(same), func(f Field) bool { return f.Name == "cookie" || strings.HasPrefix(f.Name, "owner.") })
	layout = append(layout, Field{Name: "of_a_later_version", Offset: 4000, Size: 90})
	got := translate(t, layout, laidOut(&want, layout))
	want.Cookie, want.Owner = 0, Owner{}
	if got != want {
		t.Errorf("read %+v, want the missing fields zero and the others kept: %+v", got, want)
	}
}

// TestTranslatorShrunk: an older recording's 2-byte field fills a 4-byte one.
func TestTranslatorShrunk(t *testing.T) {
	want := ResetEvent{Netns: 7, Cpu: 513}
	half := func(f Field) uint32 {
		if f.Name == "netns" || f.Name == "cpu" {
			return 2
		}
		return f.Size
	}
	layout := shuffled(half)
	if got := translate(t, layout, laidOut(&want, layout)); got != want {
		t.Errorf("read %+v, want %+v", got, want)
	}
}

func TestTranslatorRefuses(t *testing.T) {
	for name, layout := range map[string][]Field{
		"empty": nil, "nothing known": {{Name: "x", Offset: 0, Size: 4}}, "size 0": {{Name: "kind", Offset: 0, Size: 0}},
		"far away": {{Name: "kind", Offset: recordMax + 1, Size: 4}}, "huge": {{Name: "kind", Offset: 0, Size: recordMax + 1}},
		"wraps": {{Name: "kind", Offset: ^uint32(0), Size: 4}},
	} {
		if _, err := NewTranslator(layout); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	tr, err := NewTranslator(Layout())
	if err != nil {
		t.Fatal(err)
	}
	e := fullReset()
	raw := wireBytes(&e)
	for n := range raw {
		if err := tr.Reset(raw[:n], &e); !errors.Is(err, ErrRecord) {
			t.Fatalf("%d of %d bytes: error %v, want ErrRecord", n, len(raw), err)
		}
	}
}

func FuzzTranslator(f *testing.F) {
	e := fullReset()
	for _, layout := range [][]Field{Layout(), shuffled(same), shuffled(func(f Field) uint32 { return 2 * f.Size }), {{Name: "kind", Size: 4}}} {
		text, err := json.Marshal(layout)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, laidOut(&e, layout))
	}
	names := testNames()
	f.Fuzz(func(t *testing.T, text, raw []byte) {
		var layout []Field
		if json.Unmarshal(text, &layout) != nil {
			return
		}
		tr, err := NewTranslator(layout)
		if err != nil {
			return
		}
		var e ResetEvent
		if err := tr.Reset(raw, &e); err != nil {
			return
		}
		if _, err := names.Reset(&e, Clock{}); err != nil && !errors.Is(err, ErrRecord) {
			t.Fatalf("error %v, want ErrRecord", err)
		}
	})
}
