package sink

import (
	"fmt"
	"strings"

	"rstwhy/internal/event"
)

// ServerCounts gives the resets sent and received with each ZooKeeper server,
// by address:port.
func ServerCounts(clients []event.ClientTally) map[string]event.Tally {
	out := make(map[string]event.Tally)
	for _, c := range clients {
		n := out[c.Server]
		n.Sent += c.Sent
		n.Received += c.Received
		out[c.Server] = n
	}
	return out
}

// servers prints which ZooKeeper servers are concerned, and what they told.
func (r *report) servers(s *event.Summary) {
	if len(s.Servers) == 0 {
		return
	}
	r.heading("ZOOKEEPER SERVER")
	counts := ServerCounts(s.Clients)
	said := map[string]bool{} // one server may have been asked from several network namespaces
	counted := map[string]bool{}
	for i := range s.Servers {
		server := &s.Servers[i]
		at := event.Endpoint{Address: server.Address, Port: server.Port}.String()
		words := ServerWords(server)
		if said[at+words] {
			continue
		}
		said[at+words] = true
		mark := fmt.Sprintf("%17s  ", "")
		if n := counts[at]; !counted[at] && n != (event.Tally{}) {
			mark = fmt.Sprintf("%8d %8d  ", n.Sent, n.Received)
		}
		counted[at] = true
		r.item(mark+Escape(at, 64)+"  ", words)
	}
}

// clients prints who talked to them.
func (r *report) clients(clients []event.ClientTally) {
	if len(clients) == 0 {
		return
	}
	r.heading("ZOOKEEPER CLIENT")
	for i := range clients {
		if i == topRows && len(clients) > topRows+1 {
			var rest uint64
			for _, c := range clients[i:] {
				rest += c.Sent + c.Received
			}
			r.line(fmt.Sprintf("%17s  ... and %d more rows with %s", "", len(clients)-i, Plural(rest, "reset")))
			return
		}
		c := &clients[i]
		r.item(fmt.Sprintf("%8d %8d  ", c.Sent, c.Received), ClientWords(c))
	}
}

// ClientWords says who a client is and which server it talked to, escaped.
func ClientWords(c *event.ClientTally) string {
	if c.Server == "" {
		return Escape(c.Process, maxLabel)
	}
	return ClientName(c) + ", " + clientLibrary(c) + ", with " + Escape(c.Server, 64)
}

// ClientName is the client's process and host, escaped.
func ClientName(c *event.ClientTally) string {
	if c.Process == "" {
		return "a client on " + Escape(c.Host, 64)
	}
	words := []string{Escape(c.Process, maxComm+maxLabel)}
	if c.Place != "" {
		words = append(words, Escape(c.Place, 2*maxLabel))
	}
	words = append(words, "on this host")
	if c.Host != "" {
		words[len(words)-1] = "on " + Escape(c.Host, 64)
	}
	return strings.Join(words, " ")
}

func clientLibrary(c *event.ClientTally) string {
	if text := LibraryWords(c.Library); text != "" {
		return text
	}
	return "client library unknown"
}

func (r *report) heading(name string) {
	r.line("")
	r.line(r.paint(bold, fmt.Sprintf("%8s %8s  %s", "SENT", "RECEIVED", name)))
}
