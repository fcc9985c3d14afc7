package lab

import "unsafe"

// Sizes and byte views of what goes to and from a forked child, which shares
// the layout because it is the same program.
const (
	orderSize   = unsafe.Sizeof(order{})
	outcomeSize = unsafe.Sizeof(outcome{})
)

func (o *order) bytes() []byte { return (*[orderSize]byte)(unsafe.Pointer(o))[:] }

func (r *outcome) bytes() []byte { return (*[outcomeSize]byte)(unsafe.Pointer(r))[:] }

func pointer[T any](p *T) unsafe.Pointer { return unsafe.Pointer(p) }
