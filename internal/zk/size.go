package zk

// size is about how many bytes an answer takes, for the bound of all of them.
// It holds as long as no kept text is a part of a longer one.
func (p *Process) size() int {
	const fixed, entry = 1 << 10, 64 // the look itself; a place in a slice or map
	n := fixed + len(p.Config.Dynamic) + len(p.Config.DataDir) + len(p.Config.AdminServerPort) + len(p.Config.AdminEnableServer)
	hosts := func(list []Endpoint) {
		for _, e := range list {
			n += entry + len(e.Host)
		}
	}
	peer := func(q Peer) {
		n += 2 * entry
		hosts(q.Quorum)
		hosts(q.Election)
	}
	hosts(p.Endpoints)
	for _, q := range p.Config.Ports {
		n += entry + len(q.Address)
	}
	for _, q := range p.Config.Members {
		n += 2*entry + len(q.Address)
	}
	for _, q := range p.Config.Peers {
		peer(q)
	}
	if p.Config.Self != nil {
		peer(*p.Config.Self)
	}
	if p.Client != nil {
		n += len(p.Client.Version) + len(p.Client.Source)
	}
	for _, q := range p.Pauses {
		n += entry + len(q.Collector)
	}
	return n
}
