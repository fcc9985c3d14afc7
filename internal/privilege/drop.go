package privilege

import "slices"

// Kept gives the capabilities that trace keeps once all is attached, with the
// flags that were given.
func Kept(flags ...string) (kept []Capability) {
	for _, c := range Capabilities {
		if c.Keep != "" && (c.With == "" || c.with(flags)) {
			kept = append(kept, c)
		}
	}
	return kept
}

func (c Capability) with(flags []string) bool {
	for _, f := range flags {
		if slices.Contains(splitFlags(c.With), f) {
			return true
		}
	}
	return false
}

// Drop gives up, on all threads and for good, every capability but those of
// Kept, and the gain of any by a program that would be started: rstwhy trace
// starts none. It waits for each thread, so it comes before one can hang in a
// system call, as on a disk that is gone. kept are those that are left.
func Drop(flags ...string) (kept []Capability, err error) {
	have, left := effective(), set(0)
	for _, c := range Kept(flags...) {
		if c.in(have) {
			kept = append(kept, c)
			left |= have & (1 << c.number) // none where CAP_SYS_ADMIN stands in for it
		}
	}
	return kept, left.confine()
}
