package privilege

import "os"

// initUserNamespace is PROC_USER_INIT_INO (include/linux/proc_ns.h), as the link
// of the initial user namespace shows it.
const initUserNamespace = "user:[4026531837]"

// InUserNamespace tells whether this process is in a user namespace other than
// the initial one: its capabilities are worth nothing outside.
func InUserNamespace() bool {
	link, err := os.Readlink("/proc/self/ns/user")
	return err == nil && link != initUserNamespace // an error: no user namespaces
}
