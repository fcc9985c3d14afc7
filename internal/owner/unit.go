package owner

import "strings"

// maxUnit is UNIT_NAME_MAX without its NUL (src/basic/unit-name.h, systemd).
const maxUnit = 255

// unitChars are those that a unit's name may have (VALID_CHARS and "@",
// src/basic/unit-name.c). A backslash is written only as part of \xNN.
const unitChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@"

// unitName gives the systemd service or scope that a cgroup is named after, or
// nothing. It stays escaped (\x2d for a dash inside of a word): so systemctl
// writes and reads it, and "a\x2db" and "a-b" are two units.
func unitName(cgroup string) string {
	// systemd puts a "_" before a name that the kernel could take for one of
	// its own files (cg_escape, src/basic/cgroup-util.c).
	name := strings.TrimPrefix(cgroup, "_")
	stem, ok := strings.CutSuffix(name, ".service")
	if !ok {
		stem, ok = strings.CutSuffix(name, ".scope")
	}
	if !ok || stem == "" || stem[0] == '@' || len(name) > maxUnit || !only(name, unitChars) {
		return ""
	}
	return name
}

// isUserManager tells whether everything below this cgroup was named by a user:
// the service manager of a user, to which systemd delegates it.
func isUserManager(cgroup string) bool {
	uid, ok := strings.CutPrefix(cgroup, "user@")
	if !ok {
		return false
	}
	uid, ok = strings.CutSuffix(uid, ".service")
	return ok && uid != "" && only(uid, "0123456789")
}
