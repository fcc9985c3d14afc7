package owner

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// capability is one that rstwhy uses, with what is lost without it. Numbers
// are from include/uapi/linux/capability.h.
type capability struct {
	name    string
	bit     uint
	implied bool // CAP_SYS_ADMIN grants it as well (bpf_capable, perfmon_capable)
	lost    string
}

const capSysAdmin = 21

var capabilities = []capability{
	{"CAP_BPF", 39, true, "no BPF program or map can be made: no reset is seen"},
	{"CAP_PERFMON", 38, true, "no BPF program may read kernel memory: no reset is seen"},
	{"CAP_SYS_PTRACE", 19, false, "executables and descriptors of other users' processes cannot be read: owners of older sockets may stay unknown"},
	{"CAP_SYS_ADMIN", capSysAdmin, false, "other network namespaces cannot be entered: ZooKeeper servers there are not asked"},
	{"CAP_DAC_READ_SEARCH", 2, false, "files of other users cannot be read: ZooKeeper configuration may stay unknown"},
}

// Missing names the capabilities that this process lacks in its effective set,
// each with what is lost without it.
func Missing() []string {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return []string{fmt.Sprintf("capabilities are unknown: %v", err)}
	}
	effective, err := parseCapEff(string(text))
	if err != nil {
		return []string{fmt.Sprintf("capabilities are unknown: %v", err)}
	}
	return missing(effective)
}

func missing(effective uint64) []string {
	var out []string
	for _, c := range capabilities {
		has := effective&(1<<c.bit) != 0
		if c.implied && effective&(1<<capSysAdmin) != 0 {
			has = true
		}
		if !has {
			out = append(out, c.name+": "+c.lost)
		}
	}
	return out
}

// parseCapEff finds the effective set in /proc/PID/status (proc_pid_status(5)).
func parseCapEff(status string) (uint64, error) {
	for line := range strings.Lines(status) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			v, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			if err != nil {
				return 0, fmt.Errorf("line CapEff of /proc/self/status: %w", err)
			}
			return v, nil
		}
	}
	return 0, errors.New("no line CapEff in /proc/self/status")
}
