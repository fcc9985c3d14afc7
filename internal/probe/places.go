package probe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// dropFunctions are the functions whose kfree_skb means a refused RST where that
// tracepoint has no reason (before 5.17), and the reason that each stands for.
// What TCP itself refuses has no name there: the reason is not specified.
var dropFunctions = []struct{ function, reason string }{
	{"tcp_v4_rcv", ""},
	{"tcp_v6_rcv", ""},
	{"tcp_v4_do_rcv", ""},
	{"tcp_v6_do_rcv", ""},
	{"tcp_rcv_established", ""},
	{"tcp_rcv_state_process", ""},
	{"nf_hook_slow", "NETFILTER_DROP"},
	// Where the compiler split it in two, all places are in itself (5.10 on arm64).
	{"kfree_skb", "anywhere"},
}

// Numbers of reasons in records of such kernels, which have no enum of them; 0 is
// "not specified".
const (
	netfilterDrop = 1
	noSocketDrop  = 2 // told by the hooks of answers
	anywhereDrop  = 3 // for the kernel side: the place tells nothing (DROP_ANYWHERE)
	// 4, DROP_UNPLACED: somewhere before TCP
)

var errHiddenAddresses = errors.New("the kernel hides the addresses of its functions (/proc/kallsyms): run as root, or with CAP_SYSLOG, and with kernel.kptr_restrict below 2")

// findPlaces reads where those functions are, on kernels that need it.
func (l *Live) findPlaces(kernel *btf.Spec) {
	if tracepointArgs(kernel, "kfree_skb") != 2 {
		return
	}
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		l.placesErr = fmt.Errorf("where the kernel drops packets: %w", err)
		return
	}
	defer f.Close()
	if l.places, err = readPlaces(f); err != nil {
		l.placesErr = err
		return
	}
	l.names.DropReasons[netfilterDrop] = "NETFILTER_DROP"
	l.names.DropReasons[noSocketDrop] = "NO_SOCKET"
	l.names.PlacesOnly = true
}

// noSocket is the number of that reason where the kernel has none; 0: it has.
func (l *Live) noSocket() uint32 {
	if l.names.PlacesOnly {
		return noSocketDrop
	}
	return 0
}

func readPlaces(kallsyms io.Reader) (places [8]kernelDropPlace, err error) {
	place := map[string]*kernelDropPlace{}
	for i, f := range dropFunctions {
		place[f.function] = &places[i]
		places[i].Reason = map[string]uint32{"NETFILTER_DROP": netfilterDrop, "anywhere": anywhereDrop}[f.reason]
	}
	var addresses []uint64 // of all functions
	lines := bufio.NewScanner(kallsyms)
	for lines.Scan() {
		// "ffffffff81000000 t name [module]"
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 || !strings.ContainsAny(fields[1], "tT") {
			continue
		}
		at, err := strconv.ParseUint(fields[0], 16, 64)
		if err != nil {
			return places, fmt.Errorf("/proc/kallsyms: address %.20q: %w", fields[0], err)
		}
		addresses = append(addresses, at)
		if p := place[fields[2]]; p != nil {
			p.Start = at
		}
	}
	if err := lines.Err(); err != nil {
		return places, fmt.Errorf("/proc/kallsyms: %w", err)
	}
	for i := range places {
		p := &places[i]
		if p.Start == 0 {
			if i < len(dropFunctions) && dropFunctions[i].function == "tcp_v4_rcv" {
				return places, errHiddenAddresses
			}
			continue
		}
		// the function ends where the next one begins
		next := p.Start + 1<<16
		for _, a := range addresses {
			if a > p.Start && a < next {
				next = a
			}
		}
		p.Size = uint32(next - p.Start)
	}
	return places, nil
}
