package jar

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Bounds of what is read of an archive. The greatest fat jars seen hold some
// 100,000 entries, whose directory is about 10 MiB.
const (
	maxDirectory = 16 << 20
	maxEntries   = 1 << 18
	maxComment   = 1<<16 - 1
)

var (
	errFormat = errors.New("not a jar, or a broken one")
	errSize   = errors.New("too big to be read")
)

// archive is a zip file (APPNOTE.TXT of PKWARE). The standard library's reader
// keeps the whole directory in memory, however many entries a hostile one has.
type archive struct {
	r         io.ReaderAt // each byte read from it counts
	budget    *Budget
	size      int64
	base      int64 // what stands before the archive, such as the script of an executable jar
	directory int64 // where the central directory starts
	length    int64 // and its bytes
}

// entry is a file in an archive.
type entry struct {
	name                  string
	method, flags         uint16
	compressed, size, off int64
}

// open finds the central directory.
func open(r io.ReaderAt, size int64, b *Budget) (*archive, error) {
	const end, locator, end64 = 22, 20, 56
	tail := make([]byte, min(size, end+maxComment))
	if err := readFull(r, tail, size-int64(len(tail))); err != nil {
		return nil, err
	}
	i := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	if i < 0 || len(tail)-i < end {
		return nil, errFormat
	}
	le := binary.LittleEndian
	e := tail[i:]
	at := size - int64(len(tail)) + int64(i)
	length, offset := int64(le.Uint32(e[12:])), int64(le.Uint32(e[16:]))
	if (le.Uint16(e[10:]) == math.MaxUint16 || length == math.MaxUint32 || offset == math.MaxUint32) && at >= locator+end64 {
		buf := make([]byte, locator)
		if err := readFull(r, buf, at-locator); err != nil {
			return nil, err
		}
		if string(buf[:4]) == "PK\x06\x07" {
			// It stands right before its locator, whatever offset that gives.
			at -= locator + end64
			buf = make([]byte, end64)
			if err := readFull(r, buf, at); err != nil {
				return nil, err
			}
			if string(buf[:4]) != "PK\x06\x06" {
				return nil, errFormat
			}
			length, offset = int64(le.Uint64(buf[40:])), int64(le.Uint64(buf[48:]))
		}
	}
	if length < 0 || offset < 0 || length > at || offset > at-length {
		return nil, errFormat
	}
	if length > maxDirectory {
		return nil, fmt.Errorf("directory of %d bytes: %w", length, errSize)
	}
	return &archive{r: r, budget: b, size: size, base: at - length - offset, directory: at - length, length: length}, nil
}

// each calls f for every entry, until it returns false.
func (a *archive) each(f func(name []byte, e entry) bool) error {
	r := bufio.NewReaderSize(io.NewSectionReader(a.r, a.directory, a.length), 1<<16)
	le := binary.LittleEndian
	var head [46]byte
	buf := make([]byte, 0, 1<<10)
	for n := 0; ; n++ {
		if _, err := io.ReadFull(r, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("%w: %w", errFormat, err)
		}
		if string(head[:4]) != "PK\x01\x02" {
			return errFormat
		}
		if n >= maxEntries {
			return fmt.Errorf("more than %d entries: %w", maxEntries, errSize)
		}
		nameLen, extraLen, commentLen := int(le.Uint16(head[28:])), int(le.Uint16(head[30:])), int(le.Uint16(head[32:]))
		if need := nameLen + extraLen; cap(buf) < need {
			buf = make([]byte, need)
		}
		buf = buf[:nameLen+extraLen]
		if _, err := io.ReadFull(r, buf); err != nil {
			return fmt.Errorf("%w: %w", errFormat, err)
		}
		if _, err := r.Discard(commentLen); err != nil {
			return fmt.Errorf("%w: %w", errFormat, err)
		}
		e := entry{
			flags: le.Uint16(head[8:]), method: le.Uint16(head[10:]),
			compressed: int64(le.Uint32(head[20:])), size: int64(le.Uint32(head[24:])), off: int64(le.Uint32(head[42:])),
		}
		e.zip64(buf[nameLen:])
		if !f(buf[:nameLen], e) {
			return nil
		}
	}
}

// zip64 takes what does not fit into 32 bits from the extra field 1.
func (e *entry) zip64(extra []byte) {
	le := binary.LittleEndian
	for len(extra) >= 4 {
		id, n := le.Uint16(extra), int(le.Uint16(extra[2:]))
		extra = extra[4:]
		if n > len(extra) {
			return
		}
		field := extra[:n]
		extra = extra[n:]
		if id != 1 {
			continue
		}
		for _, v := range []*int64{&e.size, &e.compressed, &e.off} {
			if *v == math.MaxUint32 && len(field) >= 8 {
				*v = int64(le.Uint64(field))
				field = field[8:]
			}
		}
		return
	}
}

const (
	stored   = 0
	deflated = 8
	inflater = 48 << 10 // bytes that unpacking needs for itself
)

// section is the entry's bytes as they stand in the archive.
func (a *archive) section(e entry) (*io.SectionReader, error) {
	const header = 30
	if e.flags&1 != 0 {
		return nil, fmt.Errorf("encrypted: %w", errFormat)
	}
	at := a.base + e.off
	if e.off < 0 || at < 0 || at > a.size-header {
		return nil, errFormat
	}
	b := make([]byte, header)
	if err := readFull(a.r, b, at); err != nil {
		return nil, err
	}
	if string(b[:4]) != "PK\x03\x04" {
		return nil, errFormat
	}
	le := binary.LittleEndian
	at += header + int64(le.Uint16(b[26:])) + int64(le.Uint16(b[28:]))
	if e.compressed < 0 || at > a.size || e.compressed > a.size-at {
		return nil, errFormat
	}
	return io.NewSectionReader(a.r, at, e.compressed), nil
}

// content is the entry's content, which must be as long as the directory says
// and no longer than limit.
func (a *archive) content(e entry, limit int64) ([]byte, error) {
	if e.size < 0 || e.size > limit {
		return nil, fmt.Errorf("entry of %d bytes: %w", e.size, errSize)
	}
	section, err := a.section(e)
	if err != nil {
		return nil, err
	}
	var r io.Reader = section
	switch e.method {
	case stored:
	case deflated:
		if err := a.budget.Spend(e.size + inflater); err != nil {
			return nil, err
		}
		r = flate.NewReader(bufio.NewReader(section))
	default:
		return nil, fmt.Errorf("compression method %d: %w", e.method, errFormat)
	}
	b, err := io.ReadAll(io.LimitReader(r, e.size+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFormat, err)
	}
	if int64(len(b)) != e.size {
		return nil, fmt.Errorf("entry is not of %d bytes: %w", e.size, errFormat)
	}
	return b, nil
}

func readFull(r io.ReaderAt, b []byte, off int64) error {
	if off < 0 {
		return errFormat
	}
	if n, err := r.ReadAt(b, off); n < len(b) {
		return fmt.Errorf("%w: %w", errFormat, err)
	}
	return nil
}
