package probe

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// ability is something that the kernel lets tracing programs do, or does not. The
// programs have a way without each; which one is taken is a constant that the
// verifier knows.
type ability struct {
	constant string // in bpf/maps.h
	program  string // loads where the kernel has it
	since    string // mainline kernel
	gives    string // what it is for
}

// ableTo are the abilities, and what is done without: nothing is lost.
var ableTo = []ability{
	{"can_store", "try__store", "5.11", "socket storage and a typed pointer to the current task; without, a map by address"},
	{"can_ask_cookie", "try__ask_cookie", "5.12", "the socket's cookie; without, numbers of our own"},
	{"can_read_regs", "try__read_regs", "5.15", "the registers of the current task; without, they are found on its stack"},
}

// abilities tells which the kernel has, by constant.
type abilities map[string]bool

// findAbilities loads a program that uses each: all at once, which is the usual
// case, else one by one.
func findAbilities(embedded *ebpf.CollectionSpec, types *btf.Cache) abilities {
	able := abilities{}
	var names []string
	for _, a := range ableTo {
		names = append(names, a.program)
	}
	all := tryLoad(embedded, types, names...)
	for _, a := range ableTo {
		able[a.constant] = all || tryLoad(embedded, types, a.program)
	}
	return able
}

func tryLoad(embedded *ebpf.CollectionSpec, types *btf.Cache, names ...string) bool {
	spec := only(embedded, names...)
	spec.Maps = map[string]*ebpf.MapSpec{"sock_owners": embedded.Maps["sock_owners"].Copy()}
	spec.Variables = nil
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: types})
	if err != nil {
		return false
	}
	coll.Close()
	return true
}

func (a abilities) set(spec *ebpf.CollectionSpec) error {
	for constant, has := range a {
		value := uint32(0)
		if has {
			value = 1
		}
		if err := spec.Variables[constant].Set(value); err != nil {
			return fmt.Errorf("set %s: %w", constant, err)
		}
	}
	return nil
}
