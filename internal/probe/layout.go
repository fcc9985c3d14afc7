package probe

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"github.com/cilium/ebpf/btf"
)

// Field is one member of struct reset_event as a recording describes it.
type Field struct {
	Name   string `json:"name"`
	Offset uint32 `json:"offset"`
	Size   uint32 `json:"size"`
}

// Layout describes struct reset_event from the BTF of the embedded object,
// nested structs flattened as owner.tgid. It is read once: the object takes
// milliseconds to parse.
func Layout() []Field { return slices.Clone(layout()) }

// LayoutID names the layout by the first digits of a hash of it, and gives the
// size of a record: two programs with the same one read each other's records as
// they are.
func LayoutID() (hash string, size int) {
	h := sha256.New()
	for _, f := range Layout() {
		fmt.Fprintf(h, "%s %d %d\n", f.Name, f.Offset, f.Size)
	}
	return hex.EncodeToString(h.Sum(nil)[:6]), int(unsafe.Sizeof(ResetEvent{}))
}

var layout = sync.OnceValue(func() []Field {
	spec, err := loadKernel()
	if err != nil {
		return nil // the object is embedded and was loaded to get here
	}
	var s *btf.Struct
	if err := spec.Types.TypeByName("reset_event", &s); err != nil {
		return nil
	}
	var out []Field
	_ = eachMember(s, "", 0, func(f Field, _ btf.Member) error {
		out = append(out, f)
		return nil
	}) // the object's own structs have sizes
	return out
})

// eachMember visits the members of s, nested structs flattened.
func eachMember(s *btf.Struct, prefix string, base uint32, visit func(Field, btf.Member) error) error {
	for _, m := range s.Members {
		off := base + m.Offset.Bytes()
		if inner, ok := btf.UnderlyingType(m.Type).(*btf.Struct); ok {
			if err := eachMember(inner, prefix+m.Name+".", off, visit); err != nil {
				return err
			}
			continue
		}
		size, err := btf.Sizeof(m.Type)
		if err != nil {
			return fmt.Errorf("size of %s%s: %w", prefix, m.Name, err)
		}
		if err := visit(Field{Name: prefix + m.Name, Offset: off, Size: uint32(size)}, m); err != nil {
			return err
		}
	}
	return nil
}

// Translator reads raw records of a recorded layout as this version's.
type Translator struct {
	moves []move
	size  int
}

type move struct{ from, to, n uint32 }

// recordMax bounds a foreign layout.
const recordMax = 4096

// NewTranslator matches fields by name; a field that either side lacks stays
// zero. All integers are little-endian, so a grown field keeps its value.
func NewTranslator(recorded []Field) (*Translator, error) {
	have := map[string]Field{}
	t := &Translator{}
	for _, f := range recorded {
		if f.Size == 0 || f.Size > recordMax || f.Offset > recordMax {
			return nil, fmt.Errorf("layout: field %.40q has an impossible place", f.Name)
		}
		have[f.Name] = f
		t.size = max(t.size, int(f.Offset+f.Size))
	}
	for _, f := range Layout() {
		if r, ok := have[f.Name]; ok {
			t.moves = append(t.moves, move{r.Offset, f.Offset, min(r.Size, f.Size)})
		}
	}
	if len(t.moves) == 0 {
		return nil, errors.New("layout: no field of the recorded layout is known")
	}
	return t, nil
}

// Reset translates one raw record.
func (t *Translator) Reset(raw []byte, e *ResetEvent) error {
	if len(raw) < t.size {
		return fmt.Errorf("%w: %d bytes, the layout has %d", ErrRecord, len(raw), t.size)
	}
	*e = ResetEvent{}
	to := unsafe.Slice((*byte)(unsafe.Pointer(e)), unsafe.Sizeof(*e))
	for _, m := range t.moves {
		copy(to[m.to:m.to+m.n], raw[m.from:m.from+m.n])
	}
	return nil
}
