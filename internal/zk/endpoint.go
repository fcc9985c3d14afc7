package zk

import (
	"net/netip"
	"path"
	"slices"
	"strings"

	"rstwhy/internal/proctree"
)

const (
	maxEndpoints   = 64 // servers that one process's configuration names
	maxConfigFiles = 4  // files named on a command line that are read
	maxHost        = 255
)

// Endpoint is a ZooKeeper server as a client's configuration names it.
type Endpoint struct {
	Host string // name or address; empty where only the port is configured
	Port uint16
}

// Matches tells whether a connection to addr may be one to this endpoint. A
// name is not looked up, so that of it only the port counts.
func (e Endpoint) Matches(addr netip.AddrPort) bool {
	if e.Port != addr.Port() {
		return false
	}
	if e.Host == "localhost" {
		return addr.Addr().Unmap().IsLoopback()
	}
	a, err := netip.ParseAddr(e.Host)
	if err != nil {
		return true
	}
	return a.Unmap().WithZone("") == addr.Addr().Unmap().WithZone("")
}

// endpoints collects the servers that a process's own command line names, and
// the configuration files named there.
func endpoints(t *proctree.Tree, argv []string) []Endpoint {
	all := EndpointsOf(argv)
	files := 0
	for _, a := range argv {
		_, value, joined := strings.Cut(a, "=")
		if !joined || !strings.HasPrefix(a, "-") {
			value = a
		}
		switch path.Ext(value) {
		case ".properties", ".cfg", ".conf":
		default:
			continue
		}
		if files++; files > maxConfigFiles {
			break
		}
		text, err := t.ReadFile(value, maxConfig)
		if err != nil {
			continue
		}
		properties(string(text), func(key, value string) {
			if aboutZooKeeper(key) {
				all = appendEndpoints(all, key, value)
			}
		})
	}
	return all
}

// EndpointsOf reads the servers on a command line: -Dzookeeper.connect=..., --zookeeper ...,
// and -server of the shell that ZooKeeper ships. Only what says that it is
// about ZooKeeper counts: a host and port may be anybody's.
func EndpointsOf(argv []string) []Endpoint {
	var all []Endpoint
	shell := slices.Contains(argv, "org.apache.zookeeper.ZooKeeperMain")
	for i, a := range argv {
		if !strings.HasPrefix(a, "-") {
			continue
		}
		key, value, joined := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if !joined {
			if i+1 == len(argv) {
				break
			}
			value = argv[i+1]
		}
		if aboutZooKeeper(key) || shell && (key == "server" || key == "s") {
			all = appendEndpoints(all, key, value)
		}
	}
	return all
}

// aboutZooKeeper tells whether a setting's name says so: zookeeper.connect,
// zk-hosts, zkServer, hbase.zookeeper.quorum.
func aboutZooKeeper(key string) bool {
	key = strings.ToLower(key)
	if strings.Contains(key, "zookeeper") {
		return true
	}
	for at := 0; ; {
		i := strings.Index(key[at:], "zk")
		if i < 0 {
			return false
		}
		i += at
		if i == 0 || !isLetter(key[i-1]) {
			return true
		}
		at = i + 2
	}
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' }

// appendEndpoints adds those of a connect string, host:port,host:port/chroot,
// or the port of a setting named so.
func appendEndpoints(all []Endpoint, key, value string) []Endpoint {
	add := func(e Endpoint) {
		if e.Port != 0 && len(all) < maxEndpoints && !slices.Contains(all, e) {
			e.Host = strings.Clone(e.Host) // not the whole file or command line
			all = append(all, e)
		}
	}
	if len(value) > maxPath {
		return all
	}
	if strings.HasSuffix(strings.ToLower(key), "clientport") {
		add(Endpoint{Port: port(value)})
		return all
	}
	_, rest, found := strings.Cut(value, "://") // zk://host:port/path
	if found {
		value = rest
	}
	value, _, _ = strings.Cut(value, "/")
	for part := range strings.SplitSeq(value, ",") {
		part = strings.TrimSpace(part)
		i := strings.LastIndexByte(part, ':')
		if i <= 0 {
			continue
		}
		host := strings.Trim(part[:i], "[]")
		if !isHost(host) {
			continue
		}
		add(Endpoint{Host: host, Port: port(part[i+1:])})
	}
	return all
}

func isHost(s string) bool {
	if len(s) > maxHost {
		return false
	}
	for _, c := range []byte(strings.ToLower(s)) {
		if !isLetter(c) && (c < '0' || c > '9') && !strings.ContainsRune(".-_:%", rune(c)) {
			return false
		}
	}
	return s != ""
}
