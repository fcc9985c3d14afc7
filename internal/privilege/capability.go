// Package privilege knows what rstwhy may do: which capabilities each of its
// parts needs, what is lost without one, and which are given up once everything
// is attached.
package privilege

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Capability is one that rstwhy uses, and what it is worth.
type Capability struct {
	Name      string
	Purpose   string // what rstwhy does with it
	Without   string // what is lost without it, in terms of the question
	Essential bool   // without it no reset is seen
	Admin     bool   // CAP_SYS_ADMIN grants the same (bpf_capable, perfmon_capable: include/linux/capability.h)
	Until     string // the first kernel that asks for it no more; empty: all do
	Keep      string // what trace still does with it when all is attached; empty: it is given up then
	With      string // what alone uses it: flags of trace, or check --prove; empty: everything
	Prove     string // what check --prove does with it besides; empty: nothing

	number uint // include/uapi/linux/capability.h
}

// Capabilities is the table: check, the start of trace, what trace keeps and
// docs/privileges.md are all read from it. Each row was found by taking away all
// others (cmd/rstwhy/privilege_test.go).
var Capabilities = []Capability{
	{
		Name: "CAP_BPF", number: unix.CAP_BPF, Essential: true, Admin: true,
		Purpose: "makes BPF maps and loads BPF programs",
		Without: "no reset is seen",
		Keep:    "hooks whose kernel module comes later, hooks that come back after a flood, walks over descriptors; before Linux 5.19 each look into a map",
	},
	{
		Name: "CAP_PERFMON", number: unix.CAP_PERFMON, Essential: true, Admin: true,
		Purpose: "lets the programs trace and read the kernel's memory",
		Without: "no reset is seen",
		Keep:    "hooks whose kernel module comes later",
	},
	{
		Name: "CAP_SYS_PTRACE", number: unix.CAP_SYS_PTRACE,
		Purpose: "reads the executable, the network namespace and the root of other users' processes in /proc",
		Without: "other users' processes are named by command line only, without their executable; of network namespaces other than rstwhy's own there are no counters, and which ZooKeeper client or server a process has stays unknown",
		Keep:    "processes that come later",
	},
	{
		Name: "CAP_DAC_READ_SEARCH", number: unix.CAP_DAC_READ_SEARCH,
		Purpose: "reads files and descriptors of other users' processes, what container runtimes keep, and finds the cgroup of a number",
		Without: "containers have no name, a process that is gone has no container, and ZooKeeper configurations and libraries that only their user may read stay unknown",
		Keep:    "processes and containers that come later",
	},
	{
		Name: "CAP_SYS_ADMIN", number: unix.CAP_SYS_ADMIN,
		Purpose: "enters other network namespaces, and attaches to functions of kernel modules (fentry; kprobes where kernel.perf_event_paranoid is above 2)",
		Without: "in other network namespaces ZooKeeper servers are not asked, and whether a connection survived a RST or was translated (NAT) stays unknown; resets by firewall rules are not seen where their function is in a kernel module, unless kernel.perf_event_paranoid is below 3, and kprobes see them (Debian and Ubuntu have 3 and 4)",
		Prove:   "makes network namespaces, and processes in them",
		Keep:    "questions in other network namespaces (ZooKeeper servers, connections, counters of namespaces without a process), hooks whose kernel module comes later",
	},
	{
		Name: "CAP_NET_ADMIN", number: unix.CAP_NET_ADMIN,
		Purpose: "asks conntrack for the translation of a connection (net/netfilter/nfnetlink.c: nfnetlink_rcv)",
		Without: "the addresses behind NAT stay unknown",
		Prove:   "sets up links, addresses and rules in its namespaces, and ends sockets without a packet (TCP_REPAIR)",
		Keep:    "connections that come later",
	},
	{
		Name: "CAP_SYSLOG", number: unix.CAP_SYSLOG, Until: "5.17",
		Purpose: "reads addresses of functions in /proc/kallsyms, where the kernel tells the place of a drop and not its reason",
		Without: "resets that arrive and that the kernel does not accept are visible only in its counters",
	},
	{
		Name: "CAP_SYS_RESOURCE", number: unix.CAP_SYS_RESOURCE, Until: "5.11",
		Purpose: "raises the limit of locked memory, which BPF maps count against",
		Without: "no map can be made, unless the limit is raised before rstwhy starts (ulimit -l unlimited, LimitMEMLOCK=infinity): no reset is seen",
	},
	{
		Name: "CAP_DAC_OVERRIDE", number: unix.CAP_DAC_OVERRIDE, With: "--record, --ready-file",
		Purpose: "makes files in a directory that only another user may write to",
		Without: "the recording and the ready file must be in a directory that rstwhy's user may write to",
		Prove:   "writes the sysctls of its namespaces, and opens /dev/net/tun",
		Keep:    "the further files of a recording",
	},
	{
		Name: "CAP_NET_RAW", number: unix.CAP_NET_RAW, With: checkProve,
		Purpose: "forges packets, in its own namespaces",
		Without: "check --prove does not run",
		Prove:   "forges packets, in its own namespaces",
	},
}

const checkProve = "check --prove"

// MissingToProve gives the capabilities that check --prove lacks.
func MissingToProve() (missing []Capability) {
	for _, h := range Survey() {
		if !h.Has && (h.Prove != "" || h.Essential) {
			missing = append(missing, h.Capability)
		}
	}
	return missing
}

// Held is a capability and whether this process has it.
type Held struct {
	Capability
	Has      bool
	Needless bool // on this kernel, or for what most sessions do
}

// Missing tells that something is lost.
func (h Held) Missing() bool { return !h.Has && !h.Needless }

// Survey gives the table with what this process may do.
func Survey() []Held {
	set, release := effective(), kernelRelease()
	out := make([]Held, 0, len(Capabilities))
	for _, c := range Capabilities {
		out = append(out, Held{Capability: c, Has: c.in(set), Needless: c.With != "" || c.Until != "" && !before(release, c.Until)})
	}
	return out
}

// Missing gives the capabilities that this process lacks and could use: of
// CAP_SYS_RESOURCE there is no use where the limit was raised before.
func Missing() (missing []Capability) {
	for _, h := range Survey() {
		if h.Missing() && !(h.number == unix.CAP_SYS_RESOURCE && unlimited()) {
			missing = append(missing, h.Capability)
		}
	}
	return missing
}

func unlimited() bool {
	var l unix.Rlimit
	return unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l) == nil && l.Cur == unix.RLIM_INFINITY
}

// Essential are those without which no reset is seen.
func Essential(all []Capability) (essential []Capability) {
	for _, c := range all {
		if c.Essential {
			essential = append(essential, c)
		}
	}
	return essential
}

// Names lists capabilities for a sentence.
func Names(all []Capability) string {
	names := make([]string, 0, len(all))
	for _, c := range all {
		names = append(names, c.Name)
	}
	return strings.Join(names, ", ")
}

func (c Capability) in(s set) bool {
	return s.has(c.number) || c.Admin && s.has(unix.CAP_SYS_ADMIN)
}

func kernelRelease() string {
	var u unix.Utsname
	_ = unix.Uname(&u) // fails for no valid pointer
	return unix.ByteSliceToString(u.Release[:])
}

// before compares the first two numbers of kernel releases; one that has none
// counts as new. It decides what is told, never what is tried.
func before(release, than string) bool {
	var major, minor, wantMajor, wantMinor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return false
	}
	if _, err := fmt.Sscanf(than, "%d.%d", &wantMajor, &wantMinor); err != nil {
		return false
	}
	return major < wantMajor || major == wantMajor && minor < wantMinor
}
