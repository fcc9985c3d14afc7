package pipeline

import (
	"net/netip"
	"slices"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
	"rstwhy/internal/zk"
)

// enrich starts what the record needs to know of ZooKeeper at either end.
func (s *session) enrich(p *pending) {
	r := s.preview(p)
	if r == nil {
		return
	}
	if s.servers.look(r.Owner) {
		p.looking = true
		p.until = max(p.until, p.raw.TimeNs+holdMax)
		s.servers.looked = append(s.servers.looked, p)
		return
	}
	s.probe(p, r)
}

func (s *session) probe(p *pending, r *event.Reset) {
	if k, ok := s.servers.want(r); ok {
		p.zk = &k
		p.until = max(p.until, p.raw.TimeNs+holdMax)
	}
}

// lookedAt goes on with the records whose process has been looked at.
func (s *session) lookedAt() {
	kept := s.servers.looked[:0]
	for _, p := range s.servers.looked {
		switch {
		case !p.looking || p.joined:
		case s.servers.finder.Busy(idOf(p.stored)):
			kept = append(kept, p)
			continue
		default:
			s.probe(p, s.preview(p))
		}
		p.looking = false
	}
	clear(s.servers.looked[len(kept):])
	s.servers.looked = kept
}

// preview makes the record as it stands on arrival, to see what it needs.
func (s *session) preview(p *pending) *event.Reset {
	if p.stored == nil || !s.mayConcernZooKeeper(&p.raw, p.stored) {
		return nil
	}
	r, err := s.names.Reset(&p.raw, s.clock)
	if err != nil {
		return nil
	}
	r.Owner = p.stored
	return r
}

func (s *session) mayConcernZooKeeper(raw *probe.ResetEvent, p *event.Process) bool {
	if slices.Contains(s.servers.ports, raw.PeerPort) || slices.Contains(s.servers.ports, raw.LocalPort) {
		return true
	}
	// A ZooKeeper server on a port of its own configuration is a JVM, and so
	// are most clients.
	return mayBeJVM(p.Comm) || s.servers.configured(p, netip.AddrPortFrom(netip.AddrFrom16(raw.PeerAddr), raw.PeerPort))
}

func mayBeJVM(comm string) bool { return comm == "java" || comm == "jsvc" }

// look sees to it that the process is looked at, and tells whether the record
// should wait for that.
func (s *servers) look(p *event.Process) bool {
	id := idOf(p)
	s.finder.Want(id)
	return s.finder.Busy(id)
}

// configured tells whether the process's command line names the endpoint as a
// ZooKeeper server, so that it is worth a look even where nothing else says so.
func (s *servers) configured(p *event.Process, peer netip.AddrPort) bool {
	id := idOf(p)
	list, ok := s.named[id]
	if !ok {
		list = zk.EndpointsOf(s.procs.Argv(p.PID, p.StartBoot))
		s.remember(id, list)
	}
	return slices.ContainsFunc(list, func(e zk.Endpoint) bool { return e.Matches(peer) })
}

// remember keeps the servers that a process's command line names; where all of
// them are too many, none of the others.
func (s *servers) remember(id zk.ProcessID, list []zk.Endpoint) {
	if len(s.named) >= localMax || s.names+len(list) > namesMax {
		clear(s.named)
		s.names = 0
	}
	s.named[id] = list
	s.names += len(list)
}

// want starts a first probe where the record concerns a server of which
// nothing is known; it reports the key to wait for.
func (s *servers) want(r *event.Reset) (zk.Key, bool) {
	if s.prober == nil || r == nil {
		return zk.Key{}, false
	}
	p, ok := s.part(r)
	if !ok || !p.plain {
		return zk.Key{}, false
	}
	k := zk.Key{NetNS: r.NetNS, Addr: p.addr}
	_, have := s.prober.Lookup(k)
	if !enterable(r.NetNS, r.Owner.PID) {
		return k, false // its owner is gone: another process's reset may lead there later
	}
	s.prober.Want(zk.Target{NetNS: r.NetNS, NSPath: nsPath(r.Owner.PID), Addr: p.addr})
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

// waiting tells whether a record still waits for a look or a first answer.
func (s *servers) waiting(q queue) bool {
	for _, p := range q {
		if p.looking || p.zk != nil && !s.known(*p.zk) {
			return true
		}
	}
	return false
}
