package jar

import (
	"encoding/binary"
	"errors"
)

// Bounds of a class file; those that are read have some 12 KiB.
const (
	maxClass    = 256 << 10
	minConstant = 3 // bytes of the shortest one
)

var errClass = errors.New("not a class file, or a broken one")

// class is what is read of a class file (Java Virtual Machine Specification,
// chapter 4): integer constants of its fields, and one method's calls. Names
// are compared where they stand and never copied: a hostile file of 256 KiB may
// have 16,000 members share one of 64 KiB.
type class struct {
	b       []byte
	budget  *Budget
	pool    []uint32 // offset of each constant in b; 0: none
	failed  bool
	integer map[string]int32  // of wantedInteger, those with a constant of type int
	code    map[string][]byte // of wantedCode
}

// The members that are kept.
var (
	wantedInteger = []string{"MAJOR", "MINOR", "MICRO"}
	wantedCode    = []string{"doIO"}
)

// wanted gives the name that the bytes are, or nothing.
func wanted(names []string, b []byte) string {
	for _, n := range names {
		if string(b) == n { // compares in place
			return n
		}
	}
	return ""
}

// parseClass walks once over the file and makes a table of its constants.
func parseClass(b []byte, budget *Budget) (*class, error) {
	if err := budget.Spend(int64(len(b))); err != nil {
		return nil, err
	}
	c := &class{b: b, budget: budget, integer: map[string]int32{}, code: map[string][]byte{}}
	pos := 0
	if c.u4(&pos) != 0xcafebabe {
		return nil, errClass
	}
	pos += 4 // version
	c.constants(&pos)
	pos += 6                      // access flags, this class, super class
	pos += 2 + 2*int(c.u2At(pos)) // interfaces
	for range [2]struct{}{} {     // fields, then methods
		for range c.u2(&pos) {
			if c.failed {
				return nil, errClass
			}
			c.member(&pos)
		}
	}
	if c.failed || pos > len(b) {
		return nil, errClass
	}
	return c, nil
}

// constants finds where each one starts.
func (c *class) constants(pos *int) {
	n := int(c.u2(pos))
	if n > 1+2*len(c.b)/minConstant || c.budget.Spend(4*int64(n)) != nil {
		c.failed = true // a long of 9 bytes counts twice
		return
	}
	c.pool = make([]uint32, n)
	for i := 1; i < n && !c.failed; i++ {
		c.pool[i] = uint32(*pos)
		switch tag := c.u1(pos); tag {
		case 1: // UTF-8
			*pos += int(c.u2At(*pos)) + 2
		case 3, 4, 9, 10, 11, 12, 17, 18:
			*pos += 4
		case 5, 6: // long and double count twice
			*pos += 8
			i++
		case 7, 8, 16, 19, 20:
			*pos += 2
		case 15:
			*pos += 3
		default:
			c.failed = true
		}
	}
}

// member reads a field or a method.
func (c *class) member(pos *int) {
	*pos += 2
	name := c.u2(pos)
	*pos += 2
	for range c.u2(pos) {
		if c.failed {
			return
		}
		attribute := c.text(c.u2(pos))
		length := int(c.u4(pos))
		if c.failed || length > len(c.b)-*pos {
			c.failed = true
			return
		}
		at := *pos
		*pos += length
		switch {
		case string(attribute) == "ConstantValue" && length == 2:
			if p := c.constant(c.u2At(at), 3); p > 0 {
				if n := wanted(wantedInteger, c.text(name)); n != "" {
					c.integer[n] = int32(c.u4At(p))
				}
			}
		case string(attribute) == "Code" && length >= 8:
			if size := int(c.u4At(at + 4)); size <= length-8 {
				if n := wanted(wantedCode, c.text(name)); n != "" {
					c.code[n] = c.b[at+8 : at+8+size]
				}
			}
		}
	}
}

// calls counts the instructions of a method of wantedCode that call a method of the name,
// whatever its class; false where the class has no such method or its code
// cannot be read.
func (c *class) calls(method, called string) (n int, ok bool) {
	code, ok := c.code[method]
	if !ok || c.budget.Spend(int64(len(code))) != nil {
		return 0, false
	}
	for pos := 0; pos < len(code); {
		op := code[pos]
		size := instruction(code, pos)
		if size <= 0 || size > len(code)-pos {
			return 0, false
		}
		if op >= 0xb6 && op <= 0xb9 { // invokevirtual, -special, -static, -interface
			if string(c.methodName(binary.BigEndian.Uint16(code[pos+1:]))) == called {
				n++
			}
		}
		pos += size
	}
	return n, !c.failed
}

// methodName follows a method reference to its name.
func (c *class) methodName(index uint16) []byte {
	p := c.constant(index, 10)
	if p == 0 {
		p = c.constant(index, 11) // of an interface
	}
	if p == 0 {
		return nil
	}
	p = c.constant(c.u2At(p+2), 12)
	if p == 0 {
		return nil
	}
	return c.text(c.u2At(p))
}

// instruction is the length of an instruction (chapter 6), 0 for none.
func instruction(code []byte, pos int) int {
	op := code[pos]
	switch {
	case op == 0xaa || op == 0xab: // tableswitch, lookupswitch: padded to 4
		at := (pos + 4) &^ 3
		if at+12 > len(code) {
			return 0
		}
		be := binary.BigEndian
		if op == 0xab {
			if pairs := be.Uint32(code[at+4:]); pairs < 1<<16 {
				return at - pos + 8 + 8*int(pairs)
			}
			return 0
		}
		low, high := int64(int32(be.Uint32(code[at+4:]))), int64(int32(be.Uint32(code[at+8:])))
		if high < low || high-low >= 1<<16 {
			return 0
		}
		return at - pos + 12 + 4*int(high-low+1)
	case op == 0xc4: // wide
		if pos+1 < len(code) && code[pos+1] == 0x84 {
			return 6
		}
		return 4
	case op == 0xb9, op == 0xba, op == 0xc8, op == 0xc9: // invokeinterface, invokedynamic, goto_w, jsr_w
		return 5
	case op == 0xc5: // multianewarray
		return 4
	case op == 0x11, op == 0x13, op == 0x14, op == 0x84,
		op >= 0x99 && op <= 0xa8, op >= 0xb2 && op <= 0xb8,
		op == 0xbb, op == 0xbd, op == 0xc0, op == 0xc1, op == 0xc6, op == 0xc7:
		return 3
	case op == 0x10, op == 0x12, op >= 0x15 && op <= 0x19, op >= 0x36 && op <= 0x3a, op == 0xa9, op == 0xbc:
		return 2
	case op <= 0xc3:
		return 1
	}
	return 0
}

// constant is the offset of the value of a constant of that kind; 0: none.
func (c *class) constant(index uint16, tag byte) int {
	if int(index) >= len(c.pool) {
		return 0
	}
	if at := int(c.pool[index]); at != 0 && at < len(c.b) && c.b[at] == tag {
		return at + 1
	}
	return 0
}

// text is a UTF-8 constant, a part of the file: a hostile one may refer to the
// same long text from everywhere.
func (c *class) text(index uint16) []byte {
	p := c.constant(index, 1)
	if p == 0 {
		return nil
	}
	n := int(c.u2At(p))
	if n > len(c.b)-p-2 {
		return nil
	}
	return c.b[p+2 : p+2+n]
}

// Reading beyond the end gives zeros, and is remembered.

func (c *class) u1(pos *int) byte {
	if *pos < 0 || *pos >= len(c.b) {
		c.failed = true
		return 0
	}
	*pos++
	return c.b[*pos-1]
}

func (c *class) u2(pos *int) uint16 {
	v := c.u2At(*pos)
	*pos += 2
	return v
}

func (c *class) u4(pos *int) uint32 {
	v := c.u4At(*pos)
	*pos += 4
	return v
}

func (c *class) u2At(pos int) uint16 {
	if pos < 0 || pos+2 > len(c.b) {
		c.failed = true
		return 0
	}
	return binary.BigEndian.Uint16(c.b[pos:])
}

func (c *class) u4At(pos int) uint32 {
	if pos < 0 || pos+4 > len(c.b) {
		c.failed = true
		return 0
	}
	return binary.BigEndian.Uint32(c.b[pos:])
}
