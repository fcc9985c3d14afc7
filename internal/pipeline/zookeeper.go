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
	procs  *owner.Resolver
	local  map[processID]localServer
}

type processID struct {
	pid   uint32
	start uint64
}

type localServer struct {
	is    bool
	ports []uint16 // plaintext client ports
}

// localServersMax bounds the cache of processes looked at.
const localServersMax = 4096

func newServers(opts Options, live *probe.Live, procs *owner.Resolver) servers {
	s := servers{ports: opts.ZKPorts, procs: procs, local: map[processID]localServer{}}
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
	if s.prober != nil {
		s.prober.Close()
	}
}

// role tells what the local process is to ZooKeeper, and which server that
// concerns.
func (s *servers) role(r *event.Reset) (event.Role, netip.AddrPort, bool) {
	if r.Owner == nil {
		return "", netip.AddrPort{}, false
	}
	if slices.Contains(s.ports, r.Peer.Port) && r.Facts.ActiveOpenKnow && r.Facts.ActiveOpen {
		return event.RoleClient, r.Peer.AddrPort(), true
	}
	if r.Facts.ActiveOpenKnow && r.Facts.ActiveOpen {
		return "", netip.AddrPort{}, false
	}
	srv := s.server(r.Owner)
	if srv.is && (slices.Contains(srv.ports, r.Local.Port) || slices.Contains(s.ports, r.Local.Port)) {
		return event.RoleServer, r.Local.AddrPort(), true
	}
	return "", netip.AddrPort{}, false
}

// deadPort: somebody tried to connect to a ZooKeeper port of this host on which
// nobody listens.
func (s *servers) deadPort(r *event.Reset) bool {
	return r.Direction == event.Sent && r.Owner == nil && r.Socket == event.SocketNone && r.Facts.TriggerSYN && !r.Facts.TriggerACK &&
		slices.Contains(s.ports, r.Local.Port)
}

// server tells whether the process is a ZooKeeper server, from its command
// line and configuration, once a process.
func (s *servers) server(p *event.Process) localServer {
	id := processID{p.PID, p.StartBoot}
	if v, ok := s.local[id]; ok {
		return v
	}
	argv := s.procs.Argv(p.PID, p.StartBoot)
	if len(argv) == 0 {
		return localServer{}
	}
	if len(s.local) >= localServersMax {
		clear(s.local)
	}
	v := localServer{}
	if loc, ok := zk.ServerFromCmdline(argv); ok {
		v.is = true
		if loc.ClientPort != 0 {
			v.ports = append(v.ports, loc.ClientPort)
		}
		if cfg, err := zk.ReadConfig(p.PID); err == nil {
			for _, port := range cfg.Ports {
				if !port.Secure {
					v.ports = append(v.ports, port.Port)
				}
			}
		}
	}
	s.local[id] = v
	return v
}

// want starts a first probe where the record concerns a server of which
// nothing is known; it reports the key to wait for.
func (s *servers) want(r *event.Reset) (zk.Key, bool) {
	if s.prober == nil || r == nil {
		return zk.Key{}, false
	}
	_, addr, ok := s.role(r)
	if !ok {
		return zk.Key{}, false
	}
	k := zk.Key{NetNS: r.NetNS, Addr: addr}
	_, have := s.prober.Lookup(k)
	if !enterable(r.NetNS, r.Owner.PID) {
		return k, false // its owner is gone: another process's reset may lead there later
	}
	s.prober.Want(zk.Target{NetNS: r.NetNS, NSPath: nsPath(r.Owner.PID), Addr: addr})
	return k, !have
}

// collect empties the prober's queue of results; Lookup has them too.
func (s *servers) collect() {
	if s.prober == nil {
		return
	}
	for {
		select {
		case <-s.prober.Results():
		default:
			return
		}
	}
}

func (s *servers) known(k zk.Key) bool {
	_, ok := s.prober.Lookup(k)
	return ok
}

// waiting tells whether a record still waits for a first answer.
func (s *servers) waiting(q queue) bool {
	for _, p := range q {
		if p.zk != nil && !s.known(*p.zk) {
			return true
		}
	}
	return false
}

// attach adds the latest snapshot, never waiting.
func (s *servers) attach(res *Resolution, names probe.Names, clock probe.Clock) {
	r, err := names.Reset(&res.Raw, clock)
	if err != nil {
		return
	}
	r.Owner = res.Owner
	role, addr, ok := s.role(r)
	if !ok {
		if s.deadPort(r) {
			res.ZooKeeper = &event.ZooKeeper{Role: event.RoleServer, PortKind: new(event.PortClient)}
		}
		return
	}
	srv := event.Server{Address: addr.Addr(), Port: addr.Port(), Outcome: event.OutcomeDisabled}
	if s.prober != nil {
		srv.Outcome = event.OutcomePending
		if !enterable(r.NetNS, r.Owner.PID) {
			srv.Outcome = event.OutcomeUnreachable
		}
		if snap, have := s.prober.Lookup(zk.Key{NetNS: r.NetNS, Addr: addr}); have {
			srv = snap.Server
			srv.AgeNS = r.Time.Sub(snap.At).Nanoseconds()
		}
	}
	res.ZooKeeper = &event.ZooKeeper{Role: role, Server: &srv}
}

// needed is the word that bears on a verdict beyond what srvr tells, by rule.
// Its answer comes too late for the record that asks for it, and stays for those
// that follow.
var needed = map[string]zk.Word{"zookeeper-max-client-connections": zk.Conf}

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

// preview makes the record as it stands on arrival, to see what it needs.
func (s *session) preview(p *pending) *event.Reset {
	if p.stored == nil || !s.mayConcernZooKeeper(&p.raw, p.stored.Comm) {
		return nil
	}
	r, err := s.names.Reset(&p.raw, s.clock)
	if err != nil {
		return nil
	}
	r.Owner = p.stored
	return r
}

func (s *session) mayConcernZooKeeper(raw *probe.ResetEvent, comm string) bool {
	if slices.Contains(s.servers.ports, raw.PeerPort) || slices.Contains(s.servers.ports, raw.LocalPort) {
		return true
	}
	// A ZooKeeper server on a port of its own configuration is a JVM.
	return comm == "java" || comm == "jsvc"
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
