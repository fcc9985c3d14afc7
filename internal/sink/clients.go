package sink

import (
	"cmp"
	"net/netip"
	"slices"

	"rstwhy/internal/event"
)

// clientKey is a ZooKeeper client: a process of this host, or an address.
type clientKey struct {
	process processKey // zero: not known
	address netip.Addr // where the process is not known
	server  netip.AddrPort
}

type client struct {
	counts
	place   string
	library *event.Client
}

// addClient counts for the client of a record: the local process, or the peer
// of a local server.
func (t *Tally) addClient(r *event.Reset, n counts) {
	z := r.ZooKeeper
	key := clientKey{server: netip.AddrPortFrom(z.Server.Address, z.Server.Port)}
	p := r.Owner
	switch z.Role {
	case event.RoleClient:
	case event.RoleServer:
		p = r.TwinOwner
	default:
		return
	}
	switch {
	case p != nil:
		key.process = processOf(p)
	case z.Role == event.RoleServer:
		key.address = r.Peer.Address
	default:
		key.address = r.Local.Address
	}
	c := t.clients[key]
	if c == nil {
		if len(t.clients) >= MaxKeys {
			t.clientsRest.add(n)
			return
		}
		if t.clients == nil {
			t.clients = make(map[clientKey]*client)
		}
		c = &client{place: place(p)}
		t.clients[key] = c
	}
	c.add(n)
	if z.Client != nil && (z.Client.Version != "" || z.Client.Transport != "") {
		library := *z.Client
		c.library = &library
	}
}

// clientRows are the clients with the most resets, and the rest as one row.
func (t *Tally) clientRows() []event.ClientTally {
	type row struct {
		event.ClientTally
		start int64
	}
	rows := make([]row, 0, len(t.clients))
	for key, c := range t.clients {
		r := row{event.ClientTally{Host: t.Host, Place: c.place, Library: c.library, Server: key.server.String(), Sent: c.sent, Received: c.received}, key.process.start}
		if key.process != (processKey{}) {
			r.Process = key.process.String()
		} else {
			r.Host = key.address.String()
		}
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(b.Sent+b.Received, a.Sent+a.Received), cmp.Compare(a.Process, b.Process), cmp.Compare(a.Host, b.Host),
			cmp.Compare(a.Server, b.Server), cmp.Compare(a.start, b.start), cmp.Compare(b.Sent, a.Sent))
	})
	rows, rest := cut(rows, maxPairs, t.clientsRest, func(r *row) counts { return counts{r.Sent, r.Received} })
	out := make([]event.ClientTally, 0, len(rows)+1)
	for _, r := range rows {
		out = append(out, r.ClientTally)
	}
	if rest != (counts{}) {
		out = append(out, event.ClientTally{Process: Others, Sent: rest.sent, Received: rest.received})
	}
	return out
}
