package probe

import (
	"errors"
	"fmt"
)

// Hook is one purpose of the tracer and the programs that can serve it, best
// first. The table below is all that decides what is attached.
type Hook struct {
	Name       string      // stable name, as check prints it
	Purpose    string      // what it tells, in terms of the question
	Without    string      // what is lost without it, in terms of the question
	Since      string      // first mainline kernel on which a candidate can serve
	Required   bool        // trace exits with status 3 without it
	OnRequest  string      // the flag without which it is not attached: it costs every packet
	Extra      bool        // its loss is told by check, and not by every trace
	OnlyWith   []string    // programs beside which it is needed; empty: always
	Module     string      // of the kernel, where the candidates' target may be; it may be loaded later
	Candidates []Candidate // tried in order
}

// Candidate is one program that can serve a hook.
type Candidate struct {
	Program string // name in bpf/reset.bpf.c
	Kind    string // tp_btf, fentry, kprobe, iter or run
	Target  string // tracepoint, function or iterator
	Args    int    // arguments that the tracepoint, or the function, must have in the kernel's BTF; 0: any
}

// Hooks is the table of hooks. Attachment is by trying and by BTF, never by
// kernel version; all are BPF links, so that nothing needs tracefs. The order
// is that of attachment: who holds sockets is known before the first reset.
var Hooks = []Hook{
	{
		Name:     "states",
		Purpose:  "the process that connects, listens, shuts down or closes; the state before the reset",
		Without:  "most resets have no owner",
		Since:    "5.10",
		Required: true,
		Candidates: []Candidate{
			{Program: "tp_btf__inet_sock_set_state", Kind: "tp_btf", Target: "inet_sock_set_state", Args: 3},
		},
	},
	{
		Name:    "states-nested",
		Purpose: "state changes that happen on a CPU while the program for state changes runs there",
		Without: "a few owners are unknown under heavy load",
		Since:   "5.10",
		Candidates: []Candidate{
			{Program: "shadow__inet_sock_set_state", Kind: "tp_btf", Target: "inet_sock_set_state", Args: 3},
		},
	},
	{
		Name:    "closers",
		Purpose: "the process that closes a socket after its reset, which proves who held it",
		Without: "a socket that was handed to another process is shown under the process that opened it, unproven",
		Since:   "5.10",
		Candidates: []Candidate{
			{Program: "tp_btf__tcp_destroy_sock", Kind: "tp_btf", Target: "tcp_destroy_sock", Args: 1},
		},
	},
	{
		Name:    "descriptors",
		Purpose: "the owners of sockets older than rstwhy, and the holders of sockets in doubt",
		Without: "sockets that were open before rstwhy started have no owner until they act",
		Since:   "5.10",
		Candidates: []Candidate{
			{Program: "iter__task_file", Kind: "iter", Target: "task_file"},
			{Program: "address__task_file", Kind: "iter", Target: "task_file"},
		},
	},
	{
		Name:    "clock",
		Purpose: "the kernel's tick rate, for the times since a segment was last sent or heard",
		Without: "silence and time since our last data are not given",
		Since:   "5.8",
		Candidates: []Candidate{
			{Program: "sample_clock", Kind: "run"},
		},
	},
	{
		Name:     sentHook,
		Purpose:  "resets that this host sends",
		Without:  "no reset that this host sends is visible",
		Since:    "5.5",
		Required: true,
		Candidates: []Candidate{
			{Program: "tp_btf__tcp_send_reset", Kind: "tp_btf", Target: "tcp_send_reset", Args: 3},
			{Program: sentPart, Kind: "tp_btf", Target: "tcp_send_reset", Args: 2},
		},
	},
	{
		Name:     "answers-ipv4",
		Purpose:  "resets that answer a segment for which there is no socket, or only a TIME_WAIT entry, IPv4: closed ports, data for connections that are gone. From 6.10 the hook sent shows them",
		Without:  "resets for closed ports and for connections that are gone are visible only in the kernel's counters, IPv4",
		Since:    "5.5",
		OnlyWith: []string{sentPart},
		Candidates: []Candidate{
			{Program: "answer4__tcp_v4_send_reset", Kind: "fentry", Target: "tcp_v4_send_reset"},
			{Program: "kprobe4__tcp_v4_send_reset", Kind: "kprobe", Target: "tcp_v4_send_reset"},
		},
	},
	{
		Name:     "answers-ipv6",
		Purpose:  "the same, IPv6",
		Without:  "resets for closed ports and for connections that are gone are visible only in the kernel's counters, IPv6",
		Since:    "5.5",
		OnlyWith: []string{sentPart},
		Candidates: []Candidate{
			{Program: "answer6__tcp_v6_send_reset", Kind: "fentry", Target: "tcp_v6_send_reset"},
			{Program: "kprobe6__tcp_v6_send_reset", Kind: "kprobe", Target: "tcp_v6_send_reset"},
		},
	},
	{
		Name:     "received",
		Purpose:  "resets that this host accepts",
		Without:  "no reset that this host receives is visible",
		Since:    "5.5",
		Required: true,
		Candidates: []Candidate{
			{Program: "tp_btf__tcp_receive_reset", Kind: "tp_btf", Target: "tcp_receive_reset", Args: 1},
		},
	},
	{
		Name:    "received-segment",
		Extra:   true,
		Purpose: "the segment of a received reset: its flags and numbers, and whether it is a RST at all (data after close resets a connection, too)",
		Without: "the flags of received resets are not given, and data after close is told apart by the reset that answers it",
		Since:   "5.11",
		Candidates: []Candidate{
			{Program: "arrives__tcp_reset", Kind: "fentry", Target: "tcp_reset", Args: 2},
			{Program: "kprobe__tcp_reset", Kind: "kprobe", Target: "tcp_reset", Args: 2},
		},
	},
	{
		Name:    "refused",
		Purpose: "resets that arrive and that the kernel does not accept: for half-open and closed connections, out of window, for nobody, dropped by a filter",
		Without: "resets that kill a half-open or a closed connection, or are ignored, are visible only in the kernel's counters",
		Since:   "5.5",
		Candidates: []Candidate{
			{Program: "tp_btf__kfree_skb", Kind: "tp_btf", Target: "kfree_skb", Args: 4},
			{Program: "reason__kfree_skb", Kind: "tp_btf", Target: "kfree_skb", Args: 3},
			{Program: placeProgram, Kind: "tp_btf", Target: "kfree_skb", Args: 2},
		},
	},
	{
		Name:     "timewait",
		Purpose:  "TIME_WAIT entries that a RST ends, on kernels that do not tell which socket refused it",
		Without:  "a RST that ends a TIME_WAIT entry looks like one for a connection request, and its cause is unknown",
		Since:    "5.5",
		OnlyWith: []string{"reason__kfree_skb", placeProgram},
		Candidates: []Candidate{
			{Program: "ends__inet_twsk_deschedule_put", Kind: "fentry", Target: "inet_twsk_deschedule_put"},
			{Program: "kprobe__inet_twsk_deschedule_put", Kind: "kprobe", Target: "inet_twsk_deschedule_put"},
		},
	},
	{
		Name:    "firewall-ipv4",
		Extra:   true,
		Purpose: "resets that a netfilter rule of this host makes (REJECT with tcp-reset), IPv4",
		Without: "without --firewall, which costs every packet, an IPv4 reset by a firewall rule of this host is seen only where it is received here, and the rule is not seen to be its sender",
		Module:  "nf_reject_ipv4",
		Since:   "5.11",
		Candidates: []Candidate{
			{Program: "reject4__nf_send_reset", Kind: "fentry", Target: "nf_send_reset"},
			{Program: "kprobe4__nf_send_reset", Kind: "kprobe", Target: "nf_send_reset"},
		},
	},
	{
		Name:    "firewall-ipv6",
		Extra:   true,
		Purpose: "the same, IPv6",
		Without: "without --firewall, which costs every packet, an IPv6 reset by a firewall rule of this host is seen only where it is received here, and the rule is not seen to be its sender",
		Module:  "nf_reject_ipv6",
		Since:   "5.11",
		Candidates: []Candidate{
			{Program: "reject6__nf_send_reset6", Kind: "fentry", Target: "nf_send_reset6"},
			{Program: "kprobe6__nf_send_reset6", Kind: "kprobe", Target: "nf_send_reset6"},
		},
	},
	{
		Name:      deviceHook,
		Purpose:   "resets that a netfilter rule of this host makes, where the kernel has no better place to see them",
		Without:   "as for the two above",
		Since:     "5.5",
		OnRequest: "--firewall",
		Candidates: []Candidate{
			{Program: "tp_btf__net_dev_queue", Kind: "tp_btf", Target: "net_dev_queue", Args: 1},
		},
	},
	{
		Name:    "sent-nested",
		Purpose: "sent resets that happen on a CPU while the program for sent resets runs there",
		Without: "such resets are counted as lost to recursion",
		Since:   "5.5",
		Candidates: []Candidate{
			{Program: "shadow__tcp_send_reset", Kind: "tp_btf", Target: "tcp_send_reset", Args: 3},
			{Program: "bare_shadow__tcp_send_reset", Kind: "tp_btf", Target: "tcp_send_reset", Args: 2},
		},
	},
	{
		Name:    "received-nested",
		Purpose: "received resets that happen on a CPU while the program for received resets runs there",
		Without: "such resets are counted as lost to recursion",
		Since:   "5.5",
		Candidates: []Candidate{
			{Program: "shadow__tcp_receive_reset", Kind: "tp_btf", Target: "tcp_receive_reset", Args: 1},
		},
	},
}

const (
	deviceHook   = "firewall-device" // the one that runs for every packet
	sentHook     = "sent"
	sentPart     = "bare__tcp_send_reset" // the tracepoint as it was before 6.10: full sockets only, and no reason
	placeProgram = "place__kfree_skb"
)

// HookState is what became of a hook on this kernel.
type HookState struct {
	Hook     Hook
	Attached bool
	Program  string // the candidate that serves it
	Err      error  // why none does
}

// ErrNotRequested says that a hook is left out because nobody asked for it.
var ErrNotRequested = errors.New("not asked for (--firewall): it runs for every packet that leaves")

// ErrNotNeeded says that better hooks serve the same purpose.
var ErrNotNeeded = errors.New("not needed")

var (
	errFirewallSeen = fmt.Errorf("%w: the hooks firewall-ipv4 and firewall-ipv6 are attached", ErrNotNeeded)
	errAllSeen      = fmt.Errorf("%w: the tracepoints of this kernel tell it", ErrNotNeeded)
)

// Silent tells that a missing hook is no news for a session.
func (s HookState) Silent() bool {
	return s.Attached || s.Hook.Extra || errors.Is(s.Err, ErrNotRequested) || errors.Is(s.Err, ErrNotNeeded)
}

// noHook notes that none can be attached, for the one reason.
func (l *Live) noHook(err error) error {
	for _, h := range Hooks {
		l.states = append(l.states, HookState{Hook: h, Err: err})
	}
	return fmt.Errorf("%w: %w", ErrRequiredHook, err)
}
