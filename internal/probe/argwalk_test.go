package probe

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf/asm"
)

// argWalk is an abstract interpreter that finds loads through the first two
// arguments of a tracepoint program. Both may be NULL on tcp_send_reset, and
// there the verifier of 6.2 to 6.8 is no help: it accepts such a load, and
// deletes the check against NULL (KERNEL.md, hazard 1). So nothing here
// believes a check: what may be an argument, or was made from one, must not be
// the base of any load or store, and may be handed to few helpers only.
//
// It errs to the safe side: what it cannot follow (an argument put into memory
// other than the stack, handed to a function, read by bpf_get_func_arg) it
// reports too.
type argWalk struct {
	insns   asm.Instructions
	offsets []int       // raw offset of each instruction
	at      map[int]int // instruction by raw offset
	symbols map[string]int
	in      map[int]machine // joined state before each instruction
	todo    []int
	found   map[string]bool
	helpers map[asm.BuiltinFunc]bool // which were given an argument
}

// kinds of what a value may be.
const (
	kindContext = 1 << iota
	kindStack
	kindArg // as loaded from the context: the verifier lets programs load through it
	// An argument's number, copied out of the context by a probe read: the verifier
	// of no kernel lets programs load through it, so that maps may keep it.
	kindCopy
	kindNumber
)

// value is what a register or stack slot may hold. off is the offset of a
// context or stack pointer, or the number; it counts only where known is set.
type value struct {
	kind  uint8
	known bool
	off   int64
}

func (v value) is(kind uint8) bool { return v.kind&kind != 0 }

// join is what a value may be after two paths met.
func join(a, b value) value {
	switch {
	case a == b:
		return a
	case a.kind == 0:
		return value{kind: b.kind}
	}
	return value{kind: a.kind | b.kind}
}

const stackSlots = 512 / 8

// machine is the state before an instruction.
type machine struct {
	nullable span
	regs     [11]value
	stack    [stackSlots]value // slot i holds the bytes from r10-512+8*i
}

func (m *machine) join(o *machine) (changed bool) {
	old := *m
	for i := range m.regs {
		m.regs[i] = join(m.regs[i], o.regs[i])
	}
	for i := range m.stack {
		m.stack[i] = join(m.stack[i], o.stack[i])
	}
	return *m != old
}

// slots are those that n bytes at p may touch; n < 0: nobody knows how many.
func slots(p value, n int64) (from, to int) {
	if !p.known || n < 0 {
		return 0, stackSlots
	}
	lo, hi := (p.off+512)/8, (p.off+512+n+7)/8
	return int(min(max(lo, 0), stackSlots)), int(min(max(hi, 0), stackSlots))
}

func (m *machine) load(p value, n int64) value {
	from, to := slots(p, n)
	if to-from == 1 {
		return m.stack[from]
	}
	var v value
	for i := from; i < to; i++ {
		v.kind |= m.stack[i].kind
	}
	return v
}

// store overwrites where the place is certain, else adds.
func (m *machine) store(p value, n int64, v value) {
	from, to := slots(p, n)
	whole := p.known && n >= 0 && p.off%8 == 0 && n%8 == 0
	for i := from; i < to; i++ {
		if whole {
			m.stack[i] = v
		} else {
			m.stack[i] = join(m.stack[i], v)
		}
	}
}

// span is the part of the context, in bytes, whose arguments may be NULL. A
// tp_btf program's context is an array of 8-byte arguments.
type span struct{ from, to int64 }

// contextLoad tells whether a load from the context may give one of them.
func (m *machine) contextLoad(p value, n int64) value {
	if !p.known || n < 0 || (p.off < m.nullable.to && p.off+n > m.nullable.from) {
		return value{kind: kindArg}
	}
	return value{}
}

// walkArgs returns what breaks the rule, and the helpers that were lawfully
// given an argument.
func walkArgs(insns asm.Instructions, nullable span) (broken []string, helpers []asm.BuiltinFunc, err error) {
	w := &argWalk{
		insns: insns, at: map[int]int{}, symbols: map[string]int{}, in: map[int]machine{},
		found: map[string]bool{}, helpers: map[asm.BuiltinFunc]bool{},
	}
	for it := insns.Iterate(); it.Next(); {
		w.offsets = append(w.offsets, int(it.Offset))
		w.at[int(it.Offset)] = it.Index
		if s := it.Ins.Symbol(); s != "" {
			w.symbols[s] = it.Index
		}
	}
	start := machine{nullable: nullable}
	start.regs[asm.R1] = value{kind: kindContext, known: true}
	start.regs[asm.R10] = value{kind: kindStack, known: true}
	w.reach(0, &start)
	for len(w.todo) > 0 {
		i := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		m := w.in[i]
		if err := w.step(i, &m); err != nil {
			return nil, nil, fmt.Errorf("instruction %d (%v): %w", i, insns[i], err)
		}
	}
	return slices.Sorted(maps.Keys(w.found)), slices.Sorted(maps.Keys(w.helpers)), nil
}

func (w *argWalk) reach(i int, m *machine) {
	old, seen := w.in[i]
	if !seen {
		w.in[i] = *m
		w.todo = append(w.todo, i)
		return
	}
	if old.join(m) {
		w.in[i] = old
		w.todo = append(w.todo, i)
	}
}

func (w *argWalk) report(i int, what string) {
	w.found[fmt.Sprintf("instruction %03d %v: %s", i, w.insns[i], what)] = true
}

// jumpTarget finds the instruction that a jump goes to.
func (w *argWalk) jumpTarget(i int) (int, error) {
	ins := w.insns[i]
	if ref := ins.Reference(); ref != "" {
		if to, ok := w.symbols[ref]; ok {
			return to, nil
		}
		return 0, fmt.Errorf("no label %q", ref)
	}
	by := int(ins.Offset)
	if ins.OpCode.Class() == asm.Jump32Class && ins.OpCode.JumpOp() == asm.Ja {
		by = int(ins.Constant) // gotol
	}
	if to, ok := w.at[w.offsets[i]+1+by]; ok {
		return to, nil
	}
	return 0, fmt.Errorf("jump to nowhere")
}

func (w *argWalk) step(i int, m *machine) error {
	ins := w.insns[i]
	if ins.OpCode == asm.InvalidOpCode {
		return fmt.Errorf("no instruction")
	}
	switch ins.OpCode.Class() {
	case asm.LdClass:
		if ins.OpCode.Mode() != asm.ImmMode {
			return fmt.Errorf("packet loads are not followed")
		}
		m.regs[ins.Dst] = value{}
	case asm.LdXClass, asm.StClass, asm.StXClass:
		w.memory(i, m)
	case asm.ALUClass, asm.ALU64Class:
		alu(ins, m)
	case asm.JumpClass, asm.Jump32Class:
		return w.jump(i, m)
	default:
		return fmt.Errorf("unknown class")
	}
	if i+1 >= len(w.insns) {
		return fmt.Errorf("runs over the end")
	}
	w.reach(i+1, m)
	return nil
}

func (w *argWalk) jump(i int, m *machine) error {
	ins := w.insns[i]
	switch ins.OpCode.JumpOp() {
	case asm.Exit:
		return nil
	case asm.Call:
		w.call(i, m)
	case asm.Ja:
		to, err := w.jumpTarget(i)
		if err == nil {
			w.reach(to, m)
		}
		return err
	default:
		to, err := w.jumpTarget(i)
		if err != nil {
			return err
		}
		w.reach(to, m)
	}
	w.reach(i+1, m)
	return nil
}
