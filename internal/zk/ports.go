package zk

import (
	"net/netip"
	"slices"
	"strings"

	"rstwhy/internal/event"
)

// Peer is a member of the ensemble as the others reach it.
type Peer struct {
	Quorum, Election []Endpoint // several since 3.6, each with an address of its own
}

// KindOf tells what the server uses a port of its own for. Without its own
// member line, that of any member counts.
func (c *Config) KindOf(port uint16) event.PortKind {
	for _, p := range c.Ports {
		switch {
		case p.Port != port:
		case p.Secure:
			return event.PortSecureClient
		default:
			return event.PortClient
		}
	}
	if c.Self != nil {
		if k := c.Self.kindOf(func(e Endpoint) bool { return e.Port == port }); k != "" {
			return k
		}
	} else if k := c.peerKind(func(e Endpoint) bool { return e.Port == port }); k != "" {
		return k
	}
	if port != 0 && port == c.Admin {
		return event.PortAdmin
	}
	return ""
}

// KindOfPeer tells what another member uses the port for that this server
// connected to.
func (c *Config) KindOfPeer(addr netip.AddrPort) event.PortKind {
	return c.peerKind(func(e Endpoint) bool { return e.Matches(addr) })
}

func (c *Config) peerKind(is func(Endpoint) bool) event.PortKind {
	for _, p := range c.Peers {
		if k := p.kindOf(is); k != "" {
			return k
		}
	}
	return ""
}

func (p *Peer) kindOf(is func(Endpoint) bool) event.PortKind {
	switch {
	case slices.ContainsFunc(p.Quorum, is):
		return event.PortQuorum
	case slices.ContainsFunc(p.Election, is):
		return event.PortElection
	}
	return ""
}

// parsePeer reads host:quorum:election[:role][|host:...].
func parsePeer(text string) Peer {
	var p Peer
	for a := range strings.SplitSeq(text, "|") {
		host, rest := strings.TrimSpace(a), ""
		if strings.HasPrefix(host, "[") {
			host, rest, _ = strings.Cut(host[1:], "]")
			rest = strings.TrimPrefix(rest, ":")
		} else {
			host, rest, _ = strings.Cut(host, ":")
		}
		ports := strings.Split(rest, ":")
		if len(ports) < 2 || len(p.Quorum) == maxAddresses {
			continue
		}
		q, e := port(strings.TrimSpace(ports[0])), port(strings.TrimSpace(ports[1]))
		if q != 0 && e != 0 && len(host) <= maxHost {
			host = strings.Clone(host)
			p.Quorum = append(p.Quorum, Endpoint{host, q})
			p.Election = append(p.Election, Endpoint{host, e})
		}
	}
	return p
}

// maxAddresses bounds the addresses of one member.
const maxAddresses = 8

// adminPort finds the AdminServer's port. The file's settings become system
// properties and replace those of the command line (QuorumPeerConfig.parseProperties).
func (c *Config) adminPort(argv []string) {
	set, on := "8080", "true"
	for _, a := range argv {
		if v, ok := strings.CutPrefix(a, "-Dzookeeper.admin.serverPort="); ok {
			set = v
		}
		if v, ok := strings.CutPrefix(a, "-Dzookeeper.admin.enableServer="); ok {
			on = v
		}
	}
	if c.AdminServerPort != "" {
		set = c.AdminServerPort
	}
	if c.AdminEnableServer != "" {
		on = c.AdminEnableServer
	}
	c.Admin = 0
	if strings.EqualFold(on, "true") {
		c.Admin = port(set)
	}
}
