package zk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"strings"

	"rstwhy/internal/event"
	"rstwhy/internal/jar"
)

// Bounds of what is read of a Go program's build information. debug/buildinfo
// has none: it makes modules of a text of any length, and debug/elf copies
// names that a hostile file repeats.
const (
	maxVersionText = 64
	maxModuleText  = 256 << 10 // that of Kubernetes has 30 KiB
	maxSegments    = 64
	maxSearched    = 32 << 20 // of a segment; the information stands at its beginning, or nearly so
)

var goModules = []string{"github.com/go-zookeeper/zk", "github.com/samuel/go-zookeeper"}

// golang reads which modules a Go program was built from; isGo is false for
// another program.
func golang(f io.ReaderAt, b *jar.Budget) (c *event.Client, isGo bool) {
	text, err := moduleText(b.Of(f))
	if err != nil {
		return nil, false
	}
	var name, version string
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 4)
		switch {
		case name != "":
			if fields[0] == "=>" { // replaced
				version = ""
				if len(fields) > 2 {
					version = fields[2]
				}
			}
			return goClient(name, version), true
		case fields[0] == "dep" && len(fields) > 2 && slices.Contains(goModules, fields[1]):
			name, version = fields[1], fields[2]
		}
	}
	if name != "" {
		return goClient(name, version), true
	}
	return nil, true
}

func goClient(name, version string) *event.Client {
	if !strings.HasPrefix(version, "v") || len(version) > maxVersionText {
		version = "" // replaced by a directory, with whatever in it
	}
	return &event.Client{
		Transport: transportGo, Version: printable(strings.TrimPrefix(version, "v"), maxVersionText),
		Source: printable(strings.TrimSpace("build information of the executable: "+name+" "+version), maxSource),
	}
}

var errNotGo = errors.New("no build information of Go")

// segment is a part of an ELF file that is loaded.
type segment struct {
	at, addr, size uint64
	flags          uint32
}

// executable is what is read of an ELF file (System V ABI, gABI 4.1).
type executable struct {
	r        io.ReaderAt
	order    binary.ByteOrder
	word     int // bytes of an address
	segments []segment
}

func (e *executable) number(b []byte) uint64 {
	if e.word == 4 {
		return uint64(e.order.Uint32(b))
	}
	return e.order.Uint64(b)
}

func openELF(r io.ReaderAt) (*executable, error) {
	head := make([]byte, 64)
	if n, _ := r.ReadAt(head, 0); n < len(head) || string(head[:4]) != "\x7fELF" {
		return nil, errNotGo
	}
	e := &executable{r: r, order: binary.LittleEndian, word: 8}
	if head[5] == 2 {
		e.order = binary.BigEndian
	}
	phoff, size, count := 32, 54, 56 // e_phoff, e_phentsize, e_phnum
	least := 56
	if head[4] == 1 {
		e.word, phoff, size, count, least = 4, 28, 42, 44, 32
	}
	at, entry := e.number(head[phoff:]), int(e.order.Uint16(head[size:]))
	if entry < least || at > math.MaxInt32 {
		return nil, errNotGo
	}
	b := make([]byte, least)
	for i := range min(int(e.order.Uint16(head[count:])), maxSegments) {
		if n, _ := r.ReadAt(b, int64(at)+int64(i*entry)); n < len(b) {
			return nil, errNotGo
		}
		if e.order.Uint32(b) != 1 { // PT_LOAD
			continue
		}
		var s segment
		if e.word == 8 {
			s = segment{at: e.number(b[8:]), addr: e.number(b[16:]), size: e.number(b[32:]), flags: e.order.Uint32(b[4:])}
		} else {
			s = segment{at: e.number(b[4:]), addr: e.number(b[8:]), size: e.number(b[16:]), flags: e.order.Uint32(b[24:])}
		}
		if s.at < math.MaxInt64/2 && s.size < math.MaxInt64/2 {
			e.segments = append(e.segments, s)
		}
	}
	return e, nil
}

// load reads what the program has at an address, n bytes at most.
func (e *executable) load(addr, n uint64) ([]byte, error) {
	for _, s := range e.segments {
		if addr < s.addr || addr-s.addr >= s.size {
			continue
		}
		b := make([]byte, min(n, s.size-(addr-s.addr), maxModuleText))
		got, err := e.r.ReadAt(b, int64(s.at+(addr-s.addr)))
		if got < len(b) {
			return nil, err
		}
		return b, nil
	}
	return nil, errNotGo
}

// The header of the build information (cmd/link/internal/ld/data.go,
// buildinfo): 14 bytes of magic, the size of a pointer, flags.
const (
	buildMagic   = "\xff Go buildinf:"
	buildAlign   = 16
	buildHeader  = 32
	flagInline   = 2 // both texts follow, each after its length; since Go 1.18
	buildMarkers = 16
)

// moduleText gives the list of modules, cut at maxModuleText.
func moduleText(r io.ReaderAt) ([]byte, error) {
	e, err := openELF(r)
	if err != nil {
		return nil, err
	}
	const writable, runs = 2, 1
	for _, w := range []uint32{writable, 0} { // where linkers put it comes first
		for _, s := range e.segments {
			if s.flags&writable != w || s.flags&runs != 0 {
				continue
			}
			if addr, ok := e.search(s); ok {
				return e.modules(addr)
			}
		}
	}
	return nil, errNotGo
}

// search finds the header in a segment.
func (e *executable) search(s segment) (addr uint64, ok bool) {
	const chunk = 256 << 10
	buf := make([]byte, chunk+buildHeader)
	size := min(s.size, maxSearched)
	for at := uint64(0); at < size; at += chunk {
		n, err := e.r.ReadAt(buf[:min(uint64(len(buf)), size-at)], int64(s.at+at))
		for from := 0; ; {
			i := bytes.Index(buf[from:n], []byte(buildMagic))
			if i < 0 {
				break
			}
			i += from
			if (s.addr+at+uint64(i))%buildAlign == 0 {
				return s.addr + at + uint64(i), true
			}
			from = i + 1
		}
		if err != nil {
			return 0, false
		}
	}
	return 0, false
}

// modules reads the second of the two texts behind the header.
func (e *executable) modules(addr uint64) ([]byte, error) {
	head, err := e.load(addr, buildHeader)
	if err != nil || len(head) < buildHeader {
		return nil, errNotGo
	}
	var text []byte
	if head[15]&flagInline != 0 {
		addr += buildHeader
		for range 2 {
			b, err := e.load(addr, binary.MaxVarintLen64)
			if err != nil {
				return nil, err
			}
			length, n := binary.Uvarint(b)
			if n <= 0 {
				return nil, errNotGo
			}
			addr += uint64(n)
			if length == 0 {
				text = nil
				continue
			}
			if text, err = e.load(addr, length); err != nil {
				return nil, err
			}
			addr += length
		}
	} else {
		// A pointer to the header of a Go string: its address and length.
		if int(head[14]) != e.word {
			return nil, errNotGo
		}
		b, err := e.load(e.number(head[16+e.word:]), uint64(2*e.word))
		if err != nil || len(b) < 2*e.word {
			return nil, errNotGo
		}
		length := e.number(b[e.word:])
		if length == 0 {
			return nil, nil // built without modules
		}
		if text, err = e.load(e.number(b), length); err != nil {
			return nil, err
		}
	}
	if len(text) < 2*buildMarkers {
		return nil, nil
	}
	return text[buildMarkers:], nil // the marker at the end is no line of ours
}
