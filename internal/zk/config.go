package zk

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxConfig  = 256 << 10
	maxMembers = 1024 // server.N lines looked at
	maxDynamic = 4096 // files beside a dynamic configuration file
	maxPath    = 4096 // PATH_MAX
)

// ClientPort is a port on which a server takes clients.
type ClientPort struct {
	Address string // as configured; empty: all addresses
	Port    uint16
	Secure  bool // TLS
}

// Config is what a ZooKeeper configuration says about ports.
type Config struct {
	Ports   []ClientPort         // from clientPort and secureClientPort
	Members map[int64]ClientPort // from server.N=...;[address:]port, by N (3.5 and later)
	Peers   map[int64]Peer       // from server.N=host:quorum:election..., by N
	Self    *Peer                // this server's own line; nil where it is alone or myid could not be read
	Admin   uint16               // port of the AdminServer (3.5 and later); 0 where it is turned off
	Dynamic string               // dynamicConfigFile: where a server 3.5+ moves its server.N lines
	DataDir string               // holds myid, which tells the member that this server is

	AdminServerPort, AdminEnableServer string // the settings of those names; empty where the file has none
}

// ParseConfig reads a zoo.cfg or a dynamic configuration file. Both are
// java.util.Properties files (QuorumPeerConfig.parse). What cannot be
// understood is left out.
func ParseConfig(text []byte) Config {
	c := Config{Members: map[int64]ClientPort{}, Peers: map[int64]Peer{}}
	if len(text) > maxConfig {
		text = text[:maxConfig]
	}
	plain, secure := ClientPort{}, ClientPort{Secure: true}
	properties(string(text), func(key, value string) {
		switch key {
		case "clientPort":
			plain.Port = port(value)
		case "clientPortAddress":
			plain.Address = value
		case "secureClientPort":
			secure.Port = port(value)
		case "secureClientPortAddress":
			secure.Address = value
		case "dynamicConfigFile":
			c.Dynamic = value
		case "dataDir":
			c.DataDir = value
		case "admin.serverPort":
			c.AdminServerPort = value
		case "admin.enableServer":
			c.AdminEnableServer = value
		default:
			c.member(key, value)
		}
	})
	for _, p := range []ClientPort{plain, secure} {
		if p.Port != 0 {
			c.Ports = append(c.Ports, p)
		}
	}
	return c
}

// member reads server.N=host:quorum:election[:role][|host:...];[address:]port.
func (c *Config) member(key, value string) {
	id, ok := strings.CutPrefix(key, "server.")
	if !ok || len(c.Peers) >= maxMembers || len(c.Members) >= maxMembers {
		return
	}
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return
	}
	addresses, client, found := strings.Cut(value, ";")
	if p := parsePeer(addresses); len(p.Quorum) > 0 {
		c.Peers[n] = p
	}
	if !found {
		return
	}
	client, _, _ = strings.Cut(client, ";")
	client = strings.TrimSpace(client)
	var p ClientPort
	if i := strings.LastIndexByte(client, ':'); i >= 0 {
		p.Address, client = strings.Clone(strings.Trim(client[:i], "[]")), client[i+1:]
	}
	if p.Port = port(client); p.Port != 0 {
		c.Members[n] = p
	}
}

// merge adds what another file of the same server says.
func (c *Config) merge(d Config) {
	for _, p := range d.Ports {
		c.add(p)
	}
	for n, p := range d.Members {
		if _, ok := c.Members[n]; !ok {
			c.Members[n] = p
		}
	}
	for n, p := range d.Peers {
		if _, ok := c.Peers[n]; !ok {
			c.Peers[n] = p
		}
	}
}

func (c *Config) add(p ClientPort) {
	same := func(q ClientPort) bool { return q.Port == p.Port && q.Secure == p.Secure }
	if !slices.ContainsFunc(c.Ports, same) {
		c.Ports = append(c.Ports, p)
	}
}

func port(s string) uint16 {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}

// HostPort formats the port with its address for people.
func (p ClientPort) HostPort() string {
	return net.JoinHostPort(printable(p.Address, maxDetail), strconv.Itoa(int(p.Port)))
}

// properties calls f for each key and value of a java.util.Properties text, as
// Properties.load reads it: comments, escapes, lines continued by a backslash.
// ZooKeeper trims both (QuorumPeerConfig.parseProperties).
func properties(text string, f func(key, value string)) {
	for len(text) > 0 {
		var l string
		l, text = logicalLine(text)
		if l == "" {
			continue
		}
		end := separator(l)
		rest := strings.TrimLeft(l[end:], " \t\f")
		if rest != "" && (rest[0] == '=' || rest[0] == ':') {
			rest = rest[1:]
		}
		key, value := unescape(l[:end]), unescape(rest)
		if len(key) <= maxPath && len(value) <= maxPath {
			// What is kept of it must not keep a line of any length.
			f(strings.Clone(strings.TrimSpace(key)), strings.Clone(strings.TrimSpace(value)))
		}
	}
}

// logicalLine takes one line with its continuations off the text; a comment
// gives nothing.
func logicalLine(text string) (string, string) {
	var b strings.Builder
	for first := true; ; first = false {
		end := strings.IndexAny(text, "\r\n")
		l, rest := text, ""
		if end >= 0 {
			l, rest = text[:end], text[end+1:]
			if text[end] == '\r' {
				rest = strings.TrimPrefix(rest, "\n")
			}
		}
		l = strings.TrimLeft(l, " \t\f")
		if first && l != "" && (l[0] == '#' || l[0] == '!') {
			return "", rest
		}
		slashes := len(l) - len(strings.TrimRight(l, `\`))
		if slashes%2 == 0 || rest == "" {
			b.WriteString(l)
			return b.String(), rest
		}
		b.WriteString(l[:len(l)-1])
		text = rest
	}
}

// separator is the index of the first =, : or blank that is not escaped.
func separator(l string) int {
	for i := 0; i < len(l); i++ {
		switch l[i] {
		case '\\':
			i++
		case '=', ':', ' ', '\t', '\f':
			return i
		}
	}
	return len(l)
}

func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b []byte
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			if s[i] != '\\' {
				b = append(b, s[i])
			}
			continue
		}
		i++
		switch s[i] {
		case 't':
			b = append(b, '\t')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 'f':
			b = append(b, '\f')
		case 'u':
			n, err := strconv.ParseUint(s[i+1:min(i+5, len(s))], 16, 16)
			if err != nil {
				continue
			}
			b = utf8.AppendRune(b, rune(n))
			i = min(i+4, len(s)-1)
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}
