package diagnose

import (
	"fmt"
	"io"
	"strings"
)

// zkEntry is what the catalogue of ZooKeeper's resets says beyond the rule.
type zkEntry struct {
	rule    string
	sender  string // whose host sends the RST
	shows   string // what the wire and the kernel show
	affects string // versions
}

// zkCatalogue: measured with Debian's 3.4.13, 3.8.0 and 3.9 and read in
// ZooKeeper's source; in the order in which a reader with constant resets should
// look. "consumed" is received minus unread bytes of the server's socket.
var zkCatalogue = []zkEntry{
	{"zookeeper-not-serving", "server", "a connection request of 48 or 49 bytes; the server consumed 4 (its length) and closed with 44 or 45 unread, without an answer; about one a second and client, for as long as it lasts", "NIO server, all versions. The Netty server reads everything and closes in order"},
	{"zookeeper-max-client-connections", "server", "consumed 0: closed at accept. Up to 3.4 the request lies unread or comes later, and meets TIME_WAIT; from 3.5 on SO_LINGER 0 resets at once, even before a byte was exchanged", "NIO server, all versions; Netty server from 3.6.0 (ZOOKEEPER-3146); SO_LINGER 0 from 3.5.0 (ZOOKEEPER-1504); maxCnxns, for all addresses together, from 3.6.0"},
	{"zookeeper-request-dropped", "server", "on the client's host only: 48 or 49 bytes sent, nothing received; zookeeper-not-serving or zookeeper-max-client-connections, which the server's host or its answer tells apart", "all versions"},
	{"zookeeper-1702", "server", "more than one request before the server had said a byte: consumed 48 or 49, the rest unread, nothing acknowledged. Only when the session has expired or is refused", "Java NIO clients up to 3.4.5 (fixed in 3.4.6 and 3.5.0); the Netty client from 3.5.1 to today. The server's version decides nothing but how often the pattern becomes a reset: 3.4 and JDK 8 nearly always, JDK 11 and later seldom"},
	{"zookeeper-c-client-close", "client", "20 unread bytes, the reply to closeSession, when the process closes", "C client from 3.5.7 and 3.6.0 on (ZOOKEEPER-1105)"},
	{"zookeeper-four-letter-newline", "server", "5 or 6 bytes received, 4 consumed, an answer sent, the line end unread; two or three RST packets", "NIO server, all versions; 3.4 always, later ones by a race of the JDK's close"},
	{"zookeeper-probe-closed-early", "client", "4 to 6 bytes sent, an answer received, part of it unread at close", "all versions; the monitor's habit"},
	{"zookeeper-health-check", "client", "SO_LINGER 0 before a connection request was sent", "all versions; the load balancer's habit"},
	{"zookeeper-dead-port", "server's kernel", "a SYN answered with RST+ACK and sequence number 0; no socket and no process", "all versions; one for each attempt of each client while a server restarts"},
	{"zookeeper-quorum-port", "either member", "refused SYNs to 3888 for each election round while a member is down; resets with few unread bytes on 2888 and 3888 at leader changes", "all versions"},
	{"zookeeper-client-killed", "client", "unread bytes at the end of a process that a signal ended", "all versions"},
	{"zookeeper-client-stalled", "client", "many unread bytes in an established session, closed by the SendThread after the server's FIN", "all versions; Java clients from 3.9.3 on give up without asking a server (ZOOKEEPER-4508)"},
	{"zookeeper-oversize-answer", "client", "much of an answer unread when the client closes, right after it had asked", "Java clients; jute.maxbuffer of 4 MiB up to 3.5, 1 MiB from 3.6 on"},
	{"zookeeper-server-killed", "server", "unread bytes at the end of the server's process", "all versions"},
	{"zookeeper-server-restarted", "server", "the peer's reset, then refused connections at its port", "all versions"},
	{"zookeeper-oversize-request", "server", "the connection request, n requests and 4 bytes consumed, a large rest unread; one RST+ACK and up to 22 RSTs", "limit of 1048575 bytes on servers; large-request limits of another kind from 3.6.0"},
	{"zookeeper-session-moved", "server", "a session with answers sent, requests unread at the server's close", "all versions"},
	{"zookeeper-tls-or-garbage", "server", "consumed 4, closed without an answer, and the rest unread is not 44 or 45 bytes: a TLS hello (some 517), HTTP, a scanner", "NIO server, all versions"},
	{"zookeeper-plaintext-on-tls", "server", "48 or 49 bytes at the secureClientPort", "3.5.0 and later"},
	{"zookeeper-tls-store", "server", "consumed 0 at the secureClientPort, for every connection", "3.5.0 and later"},
	{"zookeeper-late-server-data", "client", "the server's last bytes meet a socket that its process had closed: a bare RST without ACK from TIME_WAIT or from no socket", "all versions; C clients up to 3.4 and 3.5.6 at each close"},
	{"zookeeper-late-client-data", "server", "the echo of a close that came before: a bare RST from the listener or TIME_WAIT", "all versions"},
	{"zookeeper-client-reset", "client", "a reset that arrives at the server in an established session", "all versions"},
	{"zookeeper-reset-after-close", "server", "a reset that meets a socket whose process had closed it", "all versions"},
	{"zookeeper-old-server", "server", "nothing that decides; the server is below 3.5", "see zookeeper-1702"},
	{"zookeeper-network-or-server", "server, or between", "no known pattern", "all versions"},
}

// WriteZooKeeper writes the catalogue of ZooKeeper's resets as Markdown.
func WriteZooKeeper(w io.Writer) error {
	var b strings.Builder
	b.WriteString(zkPreface)
	b.WriteString("| verdict | who sends the RST | harmless |\n|---|---|---|\n")
	for _, e := range zkCatalogue {
		r, ok := LookupRule(e.rule)
		if !ok {
			return fmt.Errorf("catalogue of ZooKeeper: no rule %s", e.rule)
		}
		harmless := ""
		if r.Harmless {
			harmless = "yes"
		}
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s |\n", e.rule, e.rule, e.sender, harmless)
	}
	for _, e := range zkCatalogue {
		r, _ := LookupRule(e.rule)
		fmt.Fprintf(&b, "\n## %s\n\n*%s*\n\n- **Sent by:** the %s.\n- **Wire and kernel:** %s.\n- **Versions:** %s.\n", r.ID, r.Title, e.sender, e.shows, e.affects)
		confidence := []string{}
		for _, c := range r.Cases {
			confidence = append(confidence, fmt.Sprintf("%s (%s)", c.Confidence, c.View))
		}
		fmt.Fprintf(&b, "- **Confidence:** %s.\n\nWhat to do:\n\n", strings.Join(confidence, "; "))
		writeLines(&b, r.Do)
		if len(r.Raise) > 0 {
			b.WriteString("\nWhat would raise the confidence:\n\n")
			writeLines(&b, r.Raise)
		}
		writeSources(&b, r.Sources)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

const zkPreface = `# Resets around ZooKeeper

What resets connections between ZooKeeper clients and servers, how rstwhy tells the causes apart, and what to do. How a verdict is reached, condition by condition: [rules](reference/rules.md). How often it was right with real servers and clients: [accuracy](zookeeper-accuracy.md).

The server's version does not tell whether a reset is a known defect. ZOOKEEPER-1702 is a defect of the client library, was fixed in 3.4.6 as well as in 3.5.0, and lives on in the Netty client; and most resets that come all the time have other causes. What the server had read when it closed, in bytes, tells them apart, and that is known on the server's host. So run rstwhy there too.

Asking a server must not make a reset of its own: ` + "`echo srvr | nc`" + ` leaves a line end unread, which does on 3.4 servers; ` + "`printf srvr | nc`" + ` and ` + "`rstwhy zk`" + ` do not.

`
