package privilege

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

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
	have, left := cap.GetProc(), cap.NewSet()
	for _, c := range Kept(flags...) {
		if !c.in(have) {
			continue
		}
		kept = append(kept, c)
		on, err := have.GetFlag(cap.Permitted, c.value)
		if err != nil || !on {
			continue // CAP_SYS_ADMIN stands in for it
		}
		for _, which := range []cap.Flag{cap.Permitted, cap.Effective} {
			if err := left.SetFlag(which, true, c.value); err != nil {
				return nil, fmt.Errorf("keep %s: %w", c.Name, err)
			}
		}
	}
	if err := left.SetProc(); err != nil {
		return nil, fmt.Errorf("give up capabilities (capset): %w", err)
	}
	if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("set no_new_privs (prctl): %w", err)
	}
	return kept, nil
}
