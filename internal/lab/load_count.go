package lab

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// outRsts reads how many RST this network namespace has sent.
func outRsts() (uint64, error) {
	b, err := os.ReadFile("/proc/self/net/snmp")
	if err != nil {
		return 0, err
	}
	return counter(string(b), "Tcp:", "OutRsts")
}

// counter finds a counter in the two lines of a protocol in /proc/net/snmp,
// names and values.
func counter(snmp, protocol, name string) (uint64, error) {
	var names []string
	for line := range strings.Lines(snmp) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != protocol {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		if i := slices.Index(names, name); i > 0 && i < len(f) {
			return strconv.ParseUint(f[i], 10, 64)
		}
	}
	return 0, fmt.Errorf("no counter %s %s in /proc/net/snmp", protocol, name)
}
