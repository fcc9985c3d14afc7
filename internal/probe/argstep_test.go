package probe

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
)

// memory follows loads, stores and atomic operations.
func (w *argWalk) memory(i int, m *machine) {
	ins := w.insns[i]
	size := int64(ins.OpCode.Size().Sizeof())
	base, stored := ins.Dst, value{kind: kindNumber, known: true, off: ins.Constant}
	switch {
	case ins.OpCode.Class() == asm.LdXClass:
		base = ins.Src
	case ins.OpCode.Class() == asm.StXClass:
		stored = m.regs[ins.Src]
	}
	p := m.regs[base]
	if p.is(kindArg | kindCopy) {
		w.report(i, "goes through argument 0 or 1")
	}
	p.off += int64(ins.Offset)
	switch {
	case ins.OpCode.Mode() == asm.AtomicMode:
		// The source is a base too in a load-acquire.
		if m.regs[ins.Src].is(kindArg | kindCopy) {
			w.report(i, "hands argument 0 or 1 to an atomic operation")
		}
		m.regs[ins.Src], m.regs[asm.R0] = value{}, value{}
	case ins.OpCode.Class() == asm.LdXClass:
		m.regs[ins.Dst] = loaded(m, p, size)
	case p.is(kindStack):
		m.store(p, size, stored)
	case stored.is(kindArg | kindContext):
		w.report(i, "puts an argument where it cannot be followed")
	}
}

func loaded(m *machine, p value, size int64) value {
	var v value
	if p.is(kindContext) {
		v = m.contextLoad(p, size)
	}
	if p.is(kindStack) {
		s := m.load(p, size)
		if p.is(kindContext) {
			s = join(s, v)
		}
		v = s
	}
	return v
}

// alu follows moves and arithmetic: what is computed from an argument counts
// as the argument.
func alu(ins asm.Instruction, m *machine) {
	src := value{kind: kindNumber, known: true, off: ins.Constant}
	if ins.OpCode.Source() == asm.RegSource && ins.OpCode.ALUOp() != asm.Swap {
		src = m.regs[ins.Src]
	}
	dst := m.regs[ins.Dst]
	switch ins.OpCode.ALUOp() {
	case asm.Mov:
		m.regs[ins.Dst] = src
		return
	case asm.Add:
		if dst.known && src.known && (dst.kind == kindNumber || src.kind == kindNumber) {
			kind := dst.kind
			if kind == kindNumber {
				kind = src.kind
			}
			m.regs[ins.Dst] = value{kind: kind, known: true, off: dst.off + src.off}
			return
		}
	case asm.Xor:
		// The other way to write zero.
		if ins.OpCode.Source() == asm.RegSource && ins.Src == ins.Dst {
			m.regs[ins.Dst] = value{kind: kindNumber, known: true}
			return
		}
	}
	m.regs[ins.Dst] = value{kind: dst.kind | src.kind}
}

// tolerant are the helpers, and the register of each, that may be given an
// argument: they check for NULL themselves (net/core/filter.c,
// net/core/bpf_sk_storage.c), or read without faulting (kernel/trace/bpf_trace.c).
var tolerant = map[asm.BuiltinFunc]asm.Register{
	asm.FnSkcToTcpSock:    asm.R1,
	asm.FnSkStorageGet:    asm.R2,
	asm.FnProbeReadKernel: asm.R3,
}

// arity is how many registers a helper looks at (include/uapi/linux/bpf.h);
// what is left in the others it does not get. Helpers that are not here are
// taken to look at all five.
var arity = map[asm.BuiltinFunc]asm.Register{
	asm.FnKtimeGetBootNs: 0, asm.FnJiffies64: 0, asm.FnGetSmpProcessorId: 0, asm.FnGetCurrentTaskBtf: 0,
	asm.FnGetCurrentPidTgid: 0, asm.FnGetCurrentUidGid: 0, asm.FnGetCurrentCgroupId: 0,
	asm.FnSkcToTcpSock: 1, asm.FnGetSocketCookie: 1, asm.FnTaskPtRegs: 1,
	asm.FnMapLookupElem: 2, asm.FnMapDeleteElem: 2, asm.FnGetCurrentComm: 2,
	asm.FnProbeReadKernel: 3, asm.FnMapUpdateElem: 4, asm.FnRingbufOutput: 4, asm.FnSkStorageGet: 4,
}

// call checks what a helper or function is handed, and forgets the registers
// that it may change.
func (w *argWalk) call(i int, m *machine) {
	ins := w.insns[i]
	fn := asm.BuiltinFunc(ins.Constant)
	builtin := ins.IsBuiltinCall()
	last := asm.R5
	if n, known := arity[fn]; builtin && known {
		last = n
	}
	for r := asm.R1; r <= last; r++ {
		v := m.regs[r]
		allowed, known := tolerant[fn]
		ok := builtin && known && r == allowed
		switch {
		case v.is(kindArg|kindCopy) && !ok:
			w.report(i, fmt.Sprintf("hands argument 0 or 1 over in %v", r))
		case v.is(kindArg | kindCopy):
			w.helpers[fn] = true
		case v.is(kindContext) && (!builtin || fn != asm.FnProbeReadKernel):
			w.report(i, fmt.Sprintf("hands the context over in %v", r))
		case v.is(kindStack) && !builtin:
			w.report(i, fmt.Sprintf("hands the stack to a function in %v", r))
		case v.is(kindStack) && fn != asm.FnProbeReadKernel && m.load(v, 8).is(kindArg):
			w.report(i, fmt.Sprintf("hands argument 0 or 1 over in the memory at %v", r))
		}
	}
	if builtin && fn == asm.FnProbeReadKernel {
		w.probeRead(m)
	}
	for r := asm.R0; r <= asm.R5; r++ {
		m.regs[r] = value{}
	}
}

// probeRead copies from the context or from the stack; what it reads from
// elsewhere is not an argument.
func (w *argWalk) probeRead(m *machine) {
	dst, size, src := m.regs[asm.R1], m.regs[asm.R2], m.regs[asm.R3]
	n := int64(-1)
	if size.known && size.kind == kindNumber {
		n = size.off
	}
	if !dst.is(kindStack) {
		return
	}
	if !src.is(kindContext | kindStack) {
		m.store(dst, n, value{})
		return
	}
	if !src.known || !dst.known || n < 0 {
		m.store(value{kind: kindStack}, -1, value{kind: kindArg | kindCopy})
		return
	}
	from := *m
	for o := int64(0); o < n; o += 8 {
		part, s := dst, src
		part.off, s.off = dst.off+o, src.off+o
		v := loaded(&from, s, min(8, n-o))
		if src.kind == kindContext && v.is(kindArg) {
			v = value{kind: kindCopy}
		}
		m.store(part, min(8, n-o), v)
	}
}
