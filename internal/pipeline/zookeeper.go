package pipeline

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
	"rstwhy/internal/netns"
	"rstwhy/internal/owner"
	"rstwhy/internal/probe"
	"rstwhy/internal/zk"
)

// servers knows which end of a reset is a ZooKeeper server, and what that
// server last told. Only endpoints that a local process itself connected to,
// or listens on, are ever asked: nothing that a remote party sends can make
// rstwhy connect anywhere.
type servers struct {
	ports  []uint16
	prober *zk.Prober // nil: --no-probe
	finder finder     // looks at processes, off the event path
	procs  *owner.Resolver
	// acted are the endpoints on which a thread of ZooKeeper's client itself
	// reset a connection, by process.
	acted  map[contact]bool
	named  map[zk.ProcessID][]zk.Endpoint // servers on the command line
	names  int                            // of all of them
	looked []*pending                     // records that wait for a look at their process
}

// finder is what is needed of zk.Finder.
type finder interface {
	Want(zk.ProcessID)
	Busy(zk.ProcessID) bool
	Lookup(zk.ProcessID) (zk.Process, bool)
	Trouble() []string
	Close()
}

type contact struct {
	process zk.ProcessID
	addr    netip.AddrPort
}

// localMax bounds what is kept of processes and their endpoints.
const localMax = 4096

// namesMax bounds the servers on their command lines, of 300 bytes at most each.
const namesMax = 4 * localMax

func newServers(opts Options, live *probe.Live, procs *owner.Resolver) servers {
	s := servers{
		ports: opts.ZKPorts, procs: procs, finder: zk.NewFinder(),
		acted: map[contact]bool{}, named: map[zk.ProcessID][]zk.Endpoint{},
	}
	if !opts.NoProbe {
		s.prober = zk.NewProber(zk.Options{
			Register: func(local, remote netip.AddrPort, _ uint32) func() {
				return live.RegisterProbe(local, remote)
			},
			Connections: func(t zk.Target) (int, bool) {
				n, whole, _ := netns.Connections(t.NetNS, t.NSPath, t.Addr)
				return n, whole // where they cannot be counted, the question fails by itself
			},
		})
	}
	return s
}

func (s *servers) close() {
	s.finder.Close()
	if s.prober != nil {
		s.prober.Close()
	}
}

// part is what the local process is to ZooKeeper, and which server that
// concerns.
type part struct {
	role event.Role
	addr netip.AddrPort
	kind event.PortKind
	// plain: four-letter words may be sent there, because it is a port for
	// clients and not known to be one for TLS.
	plain bool
	self  zk.Process // the local process, as far as it was looked at
}

// part tells the local process's part in a reset.
func (s *servers) part(r *event.Reset) (part, bool) {
	if r.Owner == nil {
		return part{}, false
	}
	self, _ := s.finder.Lookup(idOf(r.Owner))
	if r.Facts.ActiveOpenKnow && r.Facts.ActiveOpen {
		return s.opened(r, self)
	}
	local := r.Local.AddrPort()
	if !self.Server {
		return part{}, false
	}
	p := part{role: event.RoleServer, addr: local, kind: self.Config.KindOf(local.Port()), self: self}
	switch {
	case p.kind == event.PortClient, p.kind == "" && slices.Contains(s.ports, local.Port()):
		p.plain = true
	case p.kind == "":
		return part{}, false
	}
	return p, true
}

// deadPort: somebody tried to connect to a ZooKeeper port of this host on which
// nobody listens.
func (s *servers) deadPort(r *event.Reset) bool {
	return r.Direction == event.Sent && r.Owner == nil && r.Socket == event.SocketNone && r.Facts.TriggerSYN && !r.Facts.TriggerACK &&
		slices.Contains(s.ports, r.Local.Port)
}

// opened is the part of a process that connected.
func (s *servers) opened(r *event.Reset, self zk.Process) (part, bool) {
	peer := r.Peer.AddrPort()
	p := part{role: event.RoleClient, addr: peer, plain: true, self: self}
	if self.Server {
		if k := self.Config.KindOfPeer(peer); k != "" {
			p.kind, p.plain = k, false
			return p, true
		}
	}
	return p, slices.Contains(s.ports, peer.Port()) || s.talks(r, self)
}

// talks tells whether a process with a client library talks to a ZooKeeper
// server there, whatever the port: because its own configuration names the
// server, or because ZooKeeper's own thread acted on a connection to it.
func (s *servers) talks(r *event.Reset, self zk.Process) bool {
	if self.Client == nil {
		return false
	}
	peer := r.Peer.AddrPort()
	is := func(e zk.Endpoint) bool { return e.Matches(peer) }
	if slices.ContainsFunc(self.Endpoints, is) {
		return true
	}
	e := contact{idOf(r.Owner), peer}
	if s.acted[e] {
		return true
	}
	if r.Thread == nil || !self.JVM || !zk.IsSendThread(*r.Thread) {
		return false
	}
	if len(s.acted) >= localMax {
		clear(s.acted)
	}
	s.acted[e] = true
	return true
}

func idOf(p *event.Process) zk.ProcessID { return zk.ProcessID{PID: p.PID, Start: p.StartBoot} }

// attach adds what is known of server and client, never waiting.
func (s *servers) attach(res *Resolution, names probe.Names, clock probe.Clock) {
	r, err := names.Reset(&res.Raw, clock)
	if err != nil {
		return
	}
	r.Owner = res.Owner
	s.look(r.Owner) // for the next reset, where this owner was found late
	p, ok := s.part(r)
	if !ok {
		if s.deadPort(r) {
			res.ZooKeeper = &event.ZooKeeper{Role: event.RoleServer, PortKind: new(event.PortClient)}
		}
		return
	}
	z := &event.ZooKeeper{Role: p.role}
	if p.kind != "" {
		z.PortKind = new(p.kind)
	}
	if p.role == event.RoleClient && p.kind == "" {
		z.Client = clientOf(&p.self, r.Thread)
		z.Pause = p.self.PauseBefore(r.Time)
	}
	if p.plain || p.kind == event.PortSecureClient {
		z.Server = s.server(r, p)
	}
	res.ZooKeeper = z
}

// needed is the word that bears on a verdict beyond what srvr tells, by rule.
// Its answer comes too late for the record that asks for it, and stays for those
// that follow.
var needed = map[string]zk.Word{"zookeeper-max-client-connections": zk.Conf, "zookeeper-request-dropped": zk.Conf}

// need asks for what the verdict on a finished record lacked.
func (s *servers) need(r *event.Reset) {
	if s.prober == nil || r == nil || r.Verdict == nil || r.ZooKeeper == nil || r.ZooKeeper.Server == nil {
		return
	}
	if w, ok := needed[r.Verdict.Rule]; ok {
		srv := r.ZooKeeper.Server
		s.prober.Need(zk.Key{NetNS: r.NetNS, Addr: netip.AddrPortFrom(srv.Address, srv.Port)}, w)
	}
}

// server is the latest snapshot, or why there is none.
func (s *servers) server(r *event.Reset, p part) *event.Server {
	srv := event.Server{Address: p.addr.Addr(), Port: p.addr.Port(), Outcome: event.OutcomeDisabled}
	if s.prober == nil || !p.plain {
		return &srv
	}
	srv.Outcome = event.OutcomePending
	if !enterable(r.NetNS, r.Owner.PID) {
		srv.Outcome = event.OutcomeUnreachable
	}
	if snap, have := s.prober.Lookup(zk.Key{NetNS: r.NetNS, Addr: p.addr}); have {
		srv = snap.Server
		srv.AgeNS = r.Time.Sub(snap.At).Nanoseconds()
	}
	return &srv
}

// forClients tells whether a port may take clients.
func forClients(k *event.PortKind) bool {
	return k == nil || *k == event.PortClient || *k == event.PortSecureClient
}

// clientOf is the process's client library. With NIO the client's SendThread
// acts on its sockets itself, with Netty a thread of Netty's does.
func clientOf(p *zk.Process, thread *string) *event.Client {
	if p.Client == nil {
		return nil
	}
	c := *p.Client
	if p.JVM && c.Transport == "" && thread != nil && zk.IsSendThread(*thread) {
		c.Transport, c.Source = "nio", c.Source+"; nio: its SendThread acted on the socket"
	}
	return &c
}

// twin adds the client's library to the record of a server whose client is a
// process of this host.
func (s *servers) twin(res *Resolution) {
	if z := res.ZooKeeper; z == nil || z.Role != event.RoleServer || res.TwinOwner == nil || !forClients(z.PortKind) {
		return
	}
	if p, ok := s.finder.Lookup(idOf(res.TwinOwner)); ok {
		res.ZooKeeper.Client = clientOf(&p, nil)
	}
}

// enterable tells whether the process leads to the network namespace. A dead
// one leads nowhere, which must not be remembered as the server's fault.
func enterable(netns, pid uint32) bool {
	for _, path := range []string{"/proc/self/ns/net", nsPath(pid)} {
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil && uint32(st.Ino) == netns {
			return true
		}
	}
	return false
}
