package owner

import "strings"

// maskPairs masks the values of secret names in name=value, name: value and,
// in an argument that is itself a text (sh -c), --name value.
func maskPairs(s string) string {
	if !strings.ContainsAny(s, "=: \t\n") {
		return s
	}
	var b strings.Builder
	chain := true // only names and separators so far: a value reaches to the end
	for i := 0; i < len(s); {
		if !isNameByte(s[i]) {
			chain = false
			b.WriteByte(s[i])
			i++
			continue
		}
		p := parsePair(s, i)
		value := p.end
		if p.secret(s, i) {
			value = p.valueEnd(s, chain)
		}
		if value == p.end {
			chain = chain && p.sep == '='
			b.WriteString(s[i:p.end])
			i = p.end
			continue
		}
		b.WriteString(s[i:p.end])
		b.WriteString(mask)
		i = value
		chain = false
	}
	return b.String()
}

// pair is a name in a text with what separates it from its value.
type pair struct {
	name string
	sep  byte // '=', ':', ' ' for an option before its value, or 0: just a word
	end  int  // where the value begins; after a word, where the word ends
}

// parsePair reads a name at s[i:], and what follows it.
func parsePair(s string, i int) pair {
	j := i
	for j < len(s) && isNameByte(s[j]) {
		j++
	}
	p := pair{name: s[i:j], end: j}
	k := j
	if k < len(s) && (s[k] == '"' || s[k] == '\'') {
		k++ // {"name": "value"}
	}
	k = skipBlanks(s, k)
	switch {
	case k >= len(s):
	case s[k] == '=':
		p.sep, p.end = '=', k+1
	case s[k] == ':' && !strings.HasPrefix(s[k:], "://"):
		p.sep, p.end = ':', k+1
	case k > j && isBlank(s[j]) && s[i] == '-' && (i == 0 || isBlank(s[i-1])):
		p.sep, p.end = ' ', k
		return p
	}
	if p.sep == ':' || p.sep == '=' && p.end < len(s) && isBlank(s[p.end]) && k > j {
		p.end = skipBlanks(s, p.end)
	}
	return p
}

// secret tells whether the value of the pair, whose name is at s[i:], is to be
// masked.
func (p pair) secret(s string, i int) bool {
	if p.sep == 0 || p.end >= len(s) {
		return false
	}
	rest := s[p.end:]
	name := p.name
	for _, prefix := range []string{"-J-D", "-D", "-P"} {
		if cut, ok := strings.CutPrefix(name, prefix); ok {
			name = cut
			break
		}
	}
	level := secrecyOf(name)
	switch {
	case level == open:
		return false
	case p.sep == ':' && i > 0 && s[i-1] == '/':
		return false // the end of a path in a list of paths
	case p.sep == ' ':
		return rest[0] == '"' || rest[0] == '\'' || isPendingValue(level, firstWord(rest))
	case (name == "PWD" || name == "OLDPWD") && rest[0] == '/':
		return false // the shell's working directory
	case level == weak && (isSwitch(firstWord(rest)) || p.sep == ':' && isPort(rest)):
		return false
	}
	return true
}

// valueEnd tells where the value of a secret ends.
func (p pair) valueEnd(s string, chain bool) int {
	i := p.end
	switch quote := s[i]; {
	case chain && p.sep != ' ':
		return len(s)
	case quote == '"' || quote == '\'':
		return quoteEnd(s, i)
	case p.sep == ':' && isHeader(p.name):
		if n := strings.IndexAny(s[i:], `"'`); n >= 0 {
			return i + n
		}
		return len(s)
	}
	if n := strings.IndexAny(s[i:], " \t\r\n&;,\"')}]"); n >= 0 {
		return i + n
	}
	return len(s)
}

// quoteEnd tells where the quoted text at s[i:] ends.
func quoteEnd(s string, i int) int {
	for j := i + 1; j < len(s); j++ {
		switch s[j] {
		case '\\':
			j++
		case s[i]:
			return j + 1
		}
	}
	return len(s)
}

// isHeader tells whether the name is that of an HTTP header whose value has
// several words.
func isHeader(name string) bool {
	name = strings.ToLower(name)
	return strings.Contains(name, "authorization") || strings.Contains(name, "cookie")
}

func firstWord(s string) string {
	if i := strings.IndexAny(s, " \t\r\n&;,\"')}]"); i >= 0 {
		return s[:i]
	}
	return s
}

func skipBlanks(s string, i int) int {
	for i < len(s) && isBlank(s[i]) {
		i++
	}
	return i
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func isNameByte(c byte) bool {
	return c == '_' || c == '-' || c == '.' || c >= 0x80 ||
		c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
