package owner

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// nsPerTick is the unit of start times in /proc/PID/stat. USER_HZ is 100 on
// every architecture that Linux 5.8 and later runs Go on (asm-generic/param.h);
// the kernel rounds down (nsec_to_clock_t, kernel/time/time.c).
const nsPerTick = 10_000_000

// stat is what matters here of /proc/PID/stat (proc_pid_stat(5)).
type stat struct {
	comm  string
	start uint64 // field 22: clock ticks since boot
	// image tells one program from the next one that the same process
	// executes: fields 26, 28 and 48, where its code, stack and arguments
	// start. Zeros for a process that is exiting, or without CAP_SYS_PTRACE.
	image [3]uint64
}

var errStat = errors.New("not in the form of /proc/PID/stat")

// parseStat reads /proc/PID/stat. The name stands in parentheses and may hold
// parentheses, blanks and newlines itself; no field after it does.
func parseStat(s string) (stat, error) {
	begin, end := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
	if begin < 0 || end < begin {
		return stat{}, fmt.Errorf("%w: no name in parentheses", errStat)
	}
	st := stat{comm: s[begin+1 : end]}
	const first = 3 // number of the field after the name
	fields := strings.Fields(s[end+1:])
	number := func(n int) (uint64, error) {
		if n-first >= len(fields) {
			return 0, fmt.Errorf("%w: field %d is missing", errStat, n)
		}
		v, err := strconv.ParseUint(fields[n-first], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%w: field %d: %w", errStat, n, err)
		}
		return v, nil
	}
	var err error
	if st.start, err = number(22); err != nil {
		return stat{}, err
	}
	for i, n := range [...]int{26, 28, 48} {
		if st.image[i], err = number(n); err != nil {
			return stat{}, err
		}
	}
	return st, nil
}

// startedAt tells whether this is the process that started at startBoot, ns.
// In a time namespace with an offset /proc shows other start times, so nothing
// matches and nothing is described (timens_add_boottime_ns, fs/proc/array.c).
func (s stat) startedAt(startBoot uint64) bool { return s.start == startBoot/nsPerTick }

// sameProgram tells whether no other program was executed between a and b.
func (s stat) sameProgram(later stat) bool {
	none := [3]uint64{}
	return s.comm == later.comm && (s.image == later.image || s.image == none || later.image == none)
}
