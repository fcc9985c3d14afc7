package owner

import (
	"regexp"
	"slices"
	"strings"
)

// mask stands for what looks like a secret. Its length tells nothing.
const mask = "***"

// maxMaskedArg bounds the work on one argument: four times what is shown.
const maxMaskedArg = 4 * maxCmdline

// maskArgv joins a command line, with mask for the values of options,
// properties and variables that look like secrets, and for passwords in URLs.
// It stops once there is more than is shown. cut tells that the last argument
// is not whole.
func maskArgv(argv []string, cut bool) string {
	var b strings.Builder
	curl := len(argv) > 0 && base(argv[0]) == "curl"
	pending := open
	for i, arg := range argv {
		if i > 0 {
			b.WriteByte(' ')
		}
		if isPendingValue(pending, arg) {
			b.WriteString(mask)
			pending = open
			continue
		}
		last := cut && i == len(argv)-1
		if len(arg) > maxMaskedArg {
			arg, last = arg[:maxMaskedArg], true
		}
		switch {
		case curl && i > 0 && slices.Contains(curlUser, argv[i-1]):
			b.WriteString(maskUser(arg))
		default:
			b.WriteString(maskArg(arg, last))
		}
		if last {
			b.WriteString(cutMark)
		}
		if b.Len() > maxCmdline {
			break
		}
		pending = pendingAfter(arg)
	}
	return b.String()
}

// curlUser are the options of curl that take user:password. Elsewhere -u means
// other things.
var curlUser = []string{"-u", "--user", "-U", "--proxy-user"}

func maskUser(arg string) string {
	if user, pw, ok := strings.Cut(arg, ":"); ok && pw != "" {
		return user + ":" + mask
	}
	return arg
}

// pendingAfter tells whether the argument after this one is a secret, as in
// --password VALUE.
func pendingAfter(arg string) secrecy {
	if !strings.HasPrefix(arg, "-") || strings.ContainsAny(arg, "=: \t\n") {
		return open
	}
	return secrecyOf(arg)
}

func isPendingValue(s secrecy, arg string) bool {
	switch {
	case s == open || arg == "":
		return false
	case s == weak:
		return !strings.HasPrefix(arg, "-") && !isSwitch(arg)
	default:
		return !strings.HasPrefix(arg, "--")
	}
}

// isSwitch tells whether a value is a plain switch, as in --auth=true.
func isSwitch(v string) bool {
	switch strings.ToLower(v) {
	case "true", "false", "yes", "no", "on", "off", "none", "null":
		return true
	}
	return false
}

// maskArg masks within one argument.
func maskArg(arg string, cut bool) string {
	return maskPairs(maskURLs(arg, cut))
}

var (
	urlPattern = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>]*`)
	// A data source without a scheme: user:password@tcp(host)/database.
	sourcePattern = regexp.MustCompile(`(^|[\s=,"'])([A-Za-z0-9_.+-]+:)[^\s/@:"']+@`)
	oraclePattern = regexp.MustCompile(`(jdbc:oracle:[a-z]+:[^/\s@]+/)[^@\s]+@`)
)

// maskURLs masks the password before the host of a URL.
func maskURLs(s string, cut bool) string {
	if !strings.ContainsAny(s, "@:") {
		return s
	}
	end := 0
	var b strings.Builder
	for _, at := range urlPattern.FindAllStringIndex(s, -1) {
		b.WriteString(s[end:at[0]])
		b.WriteString(maskURL(s[at[0]:at[1]], cut && at[1] == len(s)))
		end = at[1]
	}
	b.WriteString(s[end:])
	out := oraclePattern.ReplaceAllString(b.String(), "${1}"+mask+"@")
	return sourcePattern.ReplaceAllStringFunc(out, func(m string) string {
		if strings.Contains(m, "mailto:") {
			return m
		}
		return m[:strings.IndexByte(m, ':')+1] + mask + "@"
	})
}

// longUser is the length from which a user name alone looks like a token.
const longUser = 20

// maskURL masks one URL. In RFC 3986 the user information ends at the last @
// before the first of / ? #, but people write passwords that hold these.
func maskURL(url string, cut bool) string {
	scheme, rest, _ := strings.Cut(url, "://")
	authority := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority = rest[:i]
	}
	at := strings.LastIndexByte(authority, '@')
	_, port, hasPort := strings.Cut(authority, ":")
	if at < 0 && hasPort && !strings.HasPrefix(authority, "[") && !isPort(port) {
		at = strings.LastIndexByte(rest, '@')
	}
	if at < 0 {
		if cut && hasPort && authority == rest {
			at = len(rest) // the @ may be in what was cut off
		} else {
			return url
		}
	}
	user, _, hasPassword := strings.Cut(rest[:at], ":")
	switch {
	case hasPassword:
		return scheme + "://" + user + ":" + mask + rest[at:]
	case at >= longUser:
		return scheme + "://" + mask + rest[at:]
	}
	return url
}

// isPort tells whether s begins with a port, or lists of them (host:1,host:2).
func isPort(s string) bool {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return i > 0 && i <= 5 && (i == len(s) || strings.IndexByte("/,;?#", s[i]) >= 0)
}
