package lab

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
)

// What may lie in a module that asking for it would load. Each name is that of a
// function whose address the kernel keeps in a table, so that no compiler leaves
// it out; /proc/kallsyms has it where the kernel, or a module that is loaded, has.
var (
	needsTUN    = []string{"tun_net_xmit"}
	needsVeth   = []string{"veth_xmit"}
	needsIPv6   = []string{"tcp_v6_connect"}
	needsNFT    = []string{"nf_tables_newrule", "nft_do_chain_inet"}
	needsReject = []string{"nft_reject_inet_eval"}
	needsNAT    = []string{"nft_nat_inet_eval", "nft_nat_do_chain"}
	needsMPTCP  = []string{"mptcp_stream_accept"}
	needsDiag   = []string{"tcp_diag_destroy"}
)

// Kernel tells which functions the running kernel has, without loading any.
type Kernel struct{ has map[string]bool }

// ReadKernel looks for everything that a scenario may need.
func ReadKernel() (*Kernel, error) {
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return nil, fmt.Errorf("lab: which functions the kernel has: %w", err)
	}
	defer f.Close()
	k := &Kernel{has: map[string]bool{}}
	wanted := map[string]bool{}
	for _, n := range slices.Concat(needsTUN, needsVeth, needsIPv6, needsNFT, needsReject, needsNAT, needsMPTCP, needsDiag) {
		wanted[n] = true
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// "ffffffff81000000 t name [module]"
		if f := strings.Fields(lines.Text()); len(f) >= 3 && wanted[f[2]] {
			k.has[f[2]] = true
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("lab: which functions the kernel has: %w", err)
	}
	return k, nil
}

// Lacks names what the scenario needs in a place and the kernel does not have;
// empty where it has all.
func (k *Kernel) Lacks(s *Scenario, p Place) string {
	needs := s.Needs
	switch p {
	case Veth, Veth6:
		needs = slices.Concat(needs, needsVeth)
	}
	switch p {
	case IPv6, Mapped, Veth6:
		needs = slices.Concat(needs, needsIPv6)
	}
	for _, n := range needs {
		if !k.has[n] {
			return "this kernel has no " + n + " (a module that is not loaded?)"
		}
	}
	return ""
}

// CanReject tells whether a firewall rule here can answer with a RST.
func (k *Kernel) CanReject() bool {
	return !slices.ContainsFunc(slices.Concat(needsNFT, needsReject), func(n string) bool { return !k.has[n] })
}
