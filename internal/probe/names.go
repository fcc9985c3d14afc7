package probe

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// Names translates the running kernel's numbers. Reset reasons moved between
// 6.10 and 6.12 and may move again, so they are read from BTF and kept with
// every recording.
type Names struct {
	States  map[uint8]string  `json:"states"`  // TCP states without TCP_
	Reasons map[uint16]string `json:"reasons"` // reset reasons without SK_RST_REASON_
	// DropReasons are reasons of kfree_skb without SKB_DROP_REASON_; new ones move
	// the numbers in most releases.
	DropReasons      map[uint16]string `json:"drop_reasons"`
	DropNotSpecified uint16            `json:"drop_not_specified"`
	// PlacesOnly: kfree_skb has no reasons, but places. NobodyTold: there, what had
	// no socket is told apart all the same.
	PlacesOnly bool   `json:"places_only,omitempty"`
	NobodyTold bool   `json:"nobody_told,omitempty"`
	HZ         uint32 `json:"hz"` // timer ticks a second; 0 where unknown
}

// kernelTCPStates is what include/net/tcp_states.h has had since 4.4; it is
// ABI (ss and /proc/net/tcp print it), and the enum is anonymous in BTF, so it
// is found there by its first member and only checked against this.
var kernelTCPStates = map[uint8]string{
	1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 6: "TIME_WAIT",
	7: "CLOSE", 8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING", 12: "NEW_SYN_RECV",
}

func readNames(spec *btf.Spec) (Names, error) {
	n := Names{States: map[uint8]string{}, Reasons: map[uint16]string{}, DropReasons: map[uint16]string{}}
	for typ, err := range spec.All() {
		if err != nil {
			return n, fmt.Errorf("read kernel BTF: %w", err)
		}
		e, ok := typ.(*btf.Enum)
		if !ok || len(e.Values) == 0 || e.Values[0].Name != "TCP_ESTABLISHED" {
			continue
		}
		for _, v := range e.Values {
			n.States[uint8(v.Value)] = strings.TrimPrefix(v.Name, "TCP_")
		}
		break
	}
	if len(n.States) == 0 {
		n.States = kernelTCPStates
	}
	if err := enumNames(spec, "sk_rst_reason", "SK_RST_REASON_", n.Reasons); err != nil {
		return n, err
	}
	err := enumNames(spec, "skb_drop_reason", "SKB_DROP_REASON_", n.DropReasons)
	for number, name := range n.DropReasons {
		if name == notSpecified {
			n.DropNotSpecified = number
			delete(n.DropReasons, number)
		}
	}
	for number, name := range n.Reasons {
		if name == notSpecified {
			delete(n.Reasons, number)
		}
	}
	return n, err
}

const notSpecified = "NOT_SPECIFIED"

// enumNames fills in the names of an enum; a kernel that lacks it has none.
func enumNames(spec *btf.Spec, name, prefix string, into map[uint16]string) error {
	var reasons *btf.Enum
	err := spec.TypeByName(name, &reasons)
	if errors.Is(err, btf.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read enum %s from kernel BTF: %w", name, err)
	}
	for _, v := range reasons.Values {
		if s := strings.TrimPrefix(v.Name, prefix); s != "MAX" && v.Value <= 0xffff {
			into[uint16(v.Value)] = s
		}
	}
	return nil
}

// tracepointArgs counts the arguments that a tracepoint hands to programs, or
// -1 where the kernel has no such tracepoint.
func tracepointArgs(spec *btf.Spec, name string) int {
	var td *btf.Typedef
	if err := spec.TypeByName("btf_trace_"+name, &td); err != nil {
		return -1
	}
	ptr, ok := btf.UnderlyingType(td.Type).(*btf.Pointer)
	if !ok {
		return -1
	}
	proto, ok := btf.UnderlyingType(ptr.Target).(*btf.FuncProto)
	if !ok {
		return -1
	}
	return len(proto.Params) - 1 // the first is the tracepoint's private data
}

// functionArgs counts the arguments of a function of the kernel; 0 where its types
// do not tell.
func functionArgs(spec *btf.Spec, name string) int {
	var f *btf.Func
	if err := spec.TypeByName(name, &f); err != nil {
		return 0
	}
	proto, ok := f.Type.(*btf.FuncProto)
	if !ok {
		return 0
	}
	return len(proto.Params)
}
