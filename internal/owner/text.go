package owner

import (
	"strings"
	"unicode/utf8"
)

// Bounds of the strings that leave this package, in bytes.
const (
	maxComm    = 64 // 15 bytes, each of which may become a three-byte U+FFFD
	maxLabel   = 64
	maxExe     = 512
	maxCmdline = 1024
	maxCgroup  = 512
	maxName    = 256 // a pod's name has up to 253 (RFC 1123), a unit's up to 255
)

// cutMark ends a string that was too long.
const cutMark = "…"

// clean makes s valid UTF-8 of at most limit bytes, marking what was cut.
func clean(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	end := limit - len(cutMark)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + cutMark
}

// spaces turns what separates lines and arguments into blanks, so that a
// command line stays one line.
var spaces = strings.NewReplacer("\x00", " ", "\n", " ", "\r", " ")

// base is the last element of a path, which, unlike path.Base, is empty for an
// empty path or one that ends in a slash.
func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
