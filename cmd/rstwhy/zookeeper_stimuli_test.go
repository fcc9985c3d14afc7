package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/lab"
)

// zkNoReset as an expectation: that end shows no reset.
const zkNoReset = "no reset"

// zkCase is a stimulus made by a real client, or by raw bytes where no client
// that Debian carries does it, and what rstwhy has to say of it.
type zkCase struct {
	name string
	sign string // signature in the catalogue: S1 to S13 on the server's host, C1 to C11 on the client's
	near string // rule whose near miss it is: that rule may be told at neither end

	// Rules expected for the first record of each connection at that end,
	// alternatives separated by "|"; empty: not judged.
	server, client string

	tls   bool // needs a release with TLS
	tries int  // a race decides whether a reset comes: repeat so often until it does; 0: once
	run   func(l *zkLab) error
}

const (
	zkAnySession = "0000000000000000"
	zkDead       = "7fffffffdeadbeef" // a session id that no server gives out
	zkNoPassword = "00000000000000000000000000000000"
)

func zkRenew(port uint16, operations int) string {
	return fmt.Sprintf("renew %s 10000 %s %s %d", zkAddr(port), zkDead, zkNoPassword, operations)
}

func zkOpen(port uint16) string { return fmt.Sprintf("open %s 10000", zkAddr(port)) }

var zkCases = []zkCase{
	{
		// Its process may have read the answer before the RST came: then the
		// client's counters are silent.
		name: "Netty client, expired session, operations queued", sign: "S1 C1", tries: 4,
		server: "zookeeper-1702", client: "zookeeper-1702|zookeeper-old-server|zookeeper-network-or-server",
		run: func(l *zkLab) error { return l.expired("netty", 50) },
	},
	{
		name: "raw, expired session, operations queued", sign: "S1 C1", tries: 8,
		server: "zookeeper-1702", client: "zookeeper-1702",
		run: func(l *zkLab) error { return l.raw(zkPort, lab.ZKPipelined(10)) },
	},
	{
		name: "raw, zxid ahead, operations queued", sign: "S1b", tries: 8,
		server: "zookeeper-1702", client: "zookeeper-1702|zookeeper-max-client-connections|zookeeper-network-or-server|zookeeper-old-server",
		run: func(l *zkLab) error {
			b := lab.ZKPipelined(10)
			b[8] = 0x7f // lastZxidSeen
			return l.raw(zkPort, b)
		},
	},
	{
		name: "NIO client, expired session, operations queued", near: "zookeeper-1702", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.expired("nio", 50) },
	},
	{
		name: "raw, expired session alone", near: "zookeeper-1702", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.raw(zkPort, lab.ZKPipelined(0)) },
	},
	{
		name: "Netty client, new session", near: "zookeeper-1702", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.ask("netty", zkOpen(zkPort), "gets 50 /", "get /", "close") },
	},
	{
		name: "not serving, Java NIO client", sign: "S2 C2", tries: 3,
		server: "zookeeper-not-serving", client: "zookeeper-not-serving",
		run: func(l *zkLab) error { return l.attempts("nio", zkPortAlone, 3*time.Second) },
	},
	{
		name: "not serving, kazoo", sign: "S2 C2", tries: 3,
		server: "zookeeper-not-serving", client: "zookeeper-not-serving",
		run: func(l *zkLab) error { return l.attempts("python", zkPortAlone, 3*time.Second) },
	},
	{
		name: "not serving, Go client", sign: "S2 C2", tries: 3,
		server: "zookeeper-not-serving", client: "zookeeper-not-serving",
		run: func(l *zkLab) error { return l.goSession(zkPortAlone, -1, 3*time.Second) },
	},
	{
		name: "not serving, C client", sign: "S2 C2", tries: 3,
		server: "zookeeper-not-serving", client: "zookeeper-not-serving",
		run: func(l *zkLab) error { return l.cSession(zkPortAlone, 2*time.Second) },
	},
	{
		name: "serving, Java NIO client closes", near: "zookeeper-not-serving", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.ask("nio", zkOpen(zkPort), "get /", "close") },
	},
	{
		name: "serving, kazoo closes", near: "zookeeper-not-serving", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.ask("python", zkOpen(zkPort), "get /zookeeper", "close") },
	},
	{
		name: "serving, Go client closes", near: "zookeeper-c-client-close", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.goSession(zkPort, 10, 0) },
	},
	{
		name: "third session of two, Go client", sign: "S3 C3", tries: 3,
		server: "zookeeper-max-client-connections|no verdict", client: "zookeeper-max-client-connections|zookeeper-network-or-server|zookeeper-old-server",
		run: func(l *zkLab) error { return l.goSessions(zkPortLimited, 3) },
	},
	{
		name: "third session of two, Java NIO client", sign: "S3 C3", tries: 3,
		server: "zookeeper-max-client-connections|no verdict", client: "zookeeper-max-client-connections|zookeeper-network-or-server|zookeeper-old-server",
		run: func(l *zkLab) error {
			return l.ask("nio", zkOpen(zkPortLimited), "get /", zkOpen(zkPortLimited), "get /", zkOpen(zkPortLimited), "wait 3000", "close", "close", "close")
		},
	},
	{
		name: "second session of two, Go client", near: "zookeeper-max-client-connections", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { time.Sleep(time.Second); return l.goSessions(zkPortLimited, 2) },
	},
	{
		name: "echo ruok", sign: "S4", tries: 8, server: "zookeeper-four-letter-newline", client: "zookeeper-four-letter-newline",
		run: func(l *zkLab) error { return l.word("echo srvr", "cat <&3") },
	},
	{
		name: "printf ruok", near: "zookeeper-four-letter-newline", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.word("printf srvr", "cat <&3") },
	},
	{
		name: "HTTP GET", sign: "S5", tries: 8, server: "zookeeper-tls-or-garbage",
		run: func(l *zkLab) error { return l.raw(zkPort, []byte("GET / HTTP/1.0\r\nHost: lab\r\n\r\n")) },
	},
	{
		name: "TLS hello on the plaintext port", sign: "S6", tries: 8, server: "zookeeper-tls-or-garbage",
		run: func(l *zkLab) error { return l.process.do("TLS", zkAddr(zkPort)) },
	},
	{
		name: "Java NIO client on the TLS port", sign: "S6", tls: true, tries: 2,
		server: "zookeeper-plaintext-on-tls", client: "zookeeper-plaintext-on-tls",
		run: func(l *zkLab) error { return l.attempts("nio", zkPortSecure, 3*time.Second) },
	},
	{
		name: "raw plaintext on the TLS port, a request and many operations", sign: "S6", tls: true, tries: 5,
		server: "zookeeper-plaintext-on-tls", client: "zookeeper-plaintext-on-tls",
		run: func(l *zkLab) error { return l.raw(zkPortSecure, lab.ZKPipelined(20000)) },
	},
	{
		// Its close_notify comes after the server's close.
		name: "TLS client on the TLS port", near: "zookeeper-plaintext-on-tls", tls: true,
		run: func(l *zkLab) error { return l.process.do("TLS", zkAddr(zkPortSecure)) },
	},
	{
		name: "plaintext client of a TLS server's plaintext port", near: "zookeeper-tls-store", tls: true, server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.ask("nio", zkOpen(zkPortTLS), "get /", "close") },
	},
	{
		name: "broken key store, TLS client", sign: "S11", tls: true, tries: 5, server: "zookeeper-tls-store", client: "zookeeper-tls-store|zookeeper-network-or-server",
		run: func(l *zkLab) error { return l.process.do("TLS", zkAddr(zkPortBrokenTLS)) },
	},
	{
		name: "broken key store, plaintext client", sign: "S11", tls: true, tries: 5, server: "zookeeper-tls-store", client: "zookeeper-tls-store|zookeeper-network-or-server",
		run: func(l *zkLab) error { return l.raw(zkPortBrokenTLS, lab.ZKConnectRequest(0)) },
	},
	{
		name: "1.2 MB request, Go client", sign: "S7", server: "zookeeper-oversize-request", client: "zookeeper-oversize-request", tries: 3,
		run: func(l *zkLab) error { return l.goSession(zkPort, 1_200_000, 0) },
	},
	{
		name: "2 MB request, Java NIO client", sign: "S7", server: "zookeeper-oversize-request", client: "zookeeper-oversize-request", tries: 3,
		run: func(l *zkLab) error { return l.ask("nio", zkOpen(zkPort), "set / 2000000", "close") },
	},
	{
		name: "2 MB request, kazoo", sign: "S7", server: "zookeeper-oversize-request", client: "zookeeper-oversize-request", tries: 3,
		run: func(l *zkLab) error { return l.ask("python", zkOpen(zkPort), "set /zookeeper 2000000", "close") },
	},
	{
		name: "100 kB request, Java NIO client", near: "zookeeper-oversize-request", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.ask("nio", zkOpen(zkPort), "set / 100000", "set / 0", "close") },
	},
	{
		name: "authentication refused with requests behind it, Java NIO client", sign: "S8", tries: 5, server: "zookeeper-auth-failed", client: "zookeeper-auth-failed",
		run: func(l *zkLab) error {
			return l.ask("nio", zkOpen(zkPort), "get /", "auth nosuch x 200", "wait 500", "close")
		},
	},
	{
		name: "authentication accepted, Java NIO client", near: "zookeeper-auth-failed", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error {
			return l.ask("nio", zkOpen(zkPort), "get /", "auth digest u:p 200", "get /", "close")
		},
	},
	{
		name: "server killed with unread requests, Java NIO client", sign: "S10", tries: 2, server: "zookeeper-server-killed", client: "zookeeper-server-killed|zookeeper-server-restarted",
		run: func(l *zkLab) error { return l.endServer(unix.SIGKILL, true) },
	},
	{
		name: "server stopped and started, idle Java NIO client", sign: "S12 C4", near: "zookeeper-server-killed", client: "zookeeper-server-restarted|zookeeper-dead-port",
		run: func(l *zkLab) error { return l.endServer(unix.SIGTERM, false) },
	},
	{
		name: "dead port, Java NIO client", sign: "S12 C4", client: "zookeeper-dead-port",
		run: func(l *zkLab) error { return l.attempts("nio", zkPortDead, 2*time.Second) },
	},
	{
		name: "Java NIO client killed with unread data", sign: "C5", client: "zookeeper-client-killed",
		run: func(l *zkLab) error { return l.stop("nio", unix.SIGKILL) },
	},
	{
		name: "kazoo killed with unread data", sign: "C5", client: "zookeeper-client-killed",
		run: func(l *zkLab) error { return l.stop("python", unix.SIGKILL) },
	},
	{
		name: "idle Java NIO client killed", near: "zookeeper-client-killed", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.killIdle("nio") },
	},
	{
		name: "Java NIO client stalled longer than its session", sign: "C6", client: "zookeeper-client-stalled",
		run: func(l *zkLab) error { return l.stop("nio", unix.SIGCONT) },
	},
	{
		name: "Netty client stalled longer than its session", sign: "C6", client: "zookeeper-client-stalled",
		run: func(l *zkLab) error { return l.stop("netty", unix.SIGCONT) },
	},
	{
		name: "kazoo stalled longer than its session", sign: "C6", client: "zookeeper-client-stalled",
		run: func(l *zkLab) error { return l.stop("python", unix.SIGCONT) },
	},
	{
		name: "Java NIO client stalled for a moment", near: "zookeeper-client-stalled", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.pause("nio") },
	},
	{
		name: "C client closes", sign: "C7", client: "zookeeper-c-client-close|zookeeper-late-server-data", tries: 3,
		run: func(l *zkLab) error { return l.cSession(zkPort, 0) },
	},
	{
		name: "word, closed before the answer", sign: "C8", tries: 3, server: "zookeeper-probe-closed-early", client: "zookeeper-probe-closed-early",
		run: func(l *zkLab) error { return l.word("printf srvr", "true") },
	},
	{
		name: "word, closed with the answer unread", sign: "C8", tries: 3, server: "zookeeper-probe-closed-early", client: "zookeeper-probe-closed-early",
		run: func(l *zkLab) error { return l.word("printf srvr", "sleep 0.1") },
	},
	{
		name: "word, answer read, closed with SO_LINGER 0", sign: "C8", tries: 3, server: "zookeeper-probe-closed-early|zookeeper-health-check", client: "zookeeper-probe-closed-early|zookeeper-health-check",
		run: func(l *zkLab) error { return l.abort([]byte("ruok"), 4) },
	},
	{
		name: "TCP check that closes with SO_LINGER 0", sign: "C9", server: "zookeeper-health-check", client: "zookeeper-health-check",
		run: func(l *zkLab) error { return l.abort(nil, 0) },
	},
	{
		name: "TCP check that closes in order", near: "zookeeper-health-check", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.word("true", "true") },
	},
	{
		name: "answer over the client's own jute.maxbuffer, Java NIO client", sign: "C10", tries: 2,
		run: func(l *zkLab) error { return l.ownLimit() },
	},
	{
		name: "server's answer after the client's close", sign: "S13 C7b", tries: 8, client: "zookeeper-late-server-data",
		run: func(l *zkLab) error { return l.late(0) },
	},
	{
		name: "close after the answer", near: "zookeeper-late-server-data", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.late(1) },
	},
	{
		name: "RST made by a middlebox", sign: "C11", server: "zookeeper-network-or-server|zookeeper-old-server|", client: "zookeeper-network-or-server|zookeeper-old-server",
		run: func(l *zkLab) error { return l.middlebox() },
	},
}

// expired renews a session that no server knows, with operations in the queue.
func (l *zkLab) expired(kind string, operations int) error {
	if err := l.ask(kind, zkRenew(zkPort, operations), "wait 300"); err != nil {
		return err
	}
	l.nudge(zkPort)
	return l.ask(kind, "close")
}

// nudge has a server's selector look again, see awaitRST.
func (l *zkLab) nudge(port uint16) { _, _ = lab.ZKWord(l.client, zkAddr(port), "srvr") }

// raw sends bytes in one write, waits and closes in order.
func (l *zkLab) raw(port uint16, b []byte) error {
	c, err := l.process.dial(zkAddr(port))
	if err != nil {
		return err
	}
	defer l.process.close(c)
	if err := zkIgnoreReset(l.process.send(c, b, 0)); err != nil {
		return err
	}
	time.Sleep(100 * time.Millisecond)
	if port == zkPort {
		l.nudge(port)
		time.Sleep(30 * time.Millisecond)
	}
	return zkIgnoreReset(l.process.do("Drain", c))
}

func zkIgnoreReset(err error) error {
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EAGAIN) {
		return nil
	}
	return err
}

// attempts has a client try to connect for a while.
func (l *zkLab) attempts(kind string, port uint16, d time.Duration) error {
	return l.ask(kind, zkOpen(port), fmt.Sprintf("wait %d", d.Milliseconds()), "close")
}

// goSession opens a session of the Go library, writes so many bytes and
// closes.
func (l *zkLab) goSession(port uint16, size int, d time.Duration) error {
	if err := l.process.goOpen(zkAddr(port)); err != nil {
		return err
	}
	if size >= 0 {
		// What is too much is refused by ending the connection.
		err := l.process.do("GoSet", ZKSetArgs{"/go", size})
		if err != nil && !strings.Contains(err.Error(), "zk: connection closed") {
			return err
		}
	}
	time.Sleep(d)
	return l.process.do("GoClose", 0)
}

// goSessions opens sessions one after the other.
func (l *zkLab) goSessions(port uint16, n int) error {
	for range n {
		if err := l.process.goOpen(zkAddr(port)); err != nil {
			return err
		}
		time.Sleep(300 * time.Millisecond)
	}
	time.Sleep(time.Second)
	for range n {
		if err := l.process.do("GoClose", 0); err != nil {
			return err
		}
	}
	return nil
}

// cSession has the C library's shell connect, read a node and quit.
func (l *zkLab) cSession(port uint16, d time.Duration) error {
	p, err := l.shell(port)
	if err != nil {
		return err
	}
	defer p.Kill()
	if d > 0 {
		time.Sleep(d)
		return nil
	}
	if _, err := p.Await("Watcher SESSION_EVENT state = CONNECTED_STATE", 10*time.Second); err != nil {
		return err
	}
	for _, line := range []string{"ls /", "quit"} {
		if err := p.Say(line); err != nil {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
	return nil
}

// word sends what a shell command prints, and then does something.
func (l *zkLab) word(send, then string) error {
	script := fmt.Sprintf("exec 3<>/dev/tcp/%s/%d && %s >&3; %s", zkHost, zkPort, send, then)
	err := l.bash(script + " >/dev/null")
	l.nudge(zkPort)
	return err
}

// abort sends bytes, reads so many and closes with SO_LINGER 0.
func (l *zkLab) abort(b []byte, read int) error {
	c, err := l.process.dial(zkAddr(zkPort))
	if err != nil {
		return err
	}
	if err := l.process.send(c, b, read); err != nil {
		return err
	}
	time.Sleep(20 * time.Millisecond)
	return l.process.do("Abort", c)
}

// late asks for a node and closes without reading its answer, or with.
func (l *zkLab) late(read int) error {
	c, err := l.session(zkAddr(zkPort))
	if err != nil {
		return err
	}
	defer l.process.close(c)
	// An answer is 16 bytes of header, the length of the data and 68 bytes of
	// statistics, behind a length.
	err = l.process.send(c, lab.ZKGetData(1), read*(4+16+4+68))
	if read == 0 {
		// A server that finds the FIN behind the request throws the answer away:
		// close while the answer is on its way.
		time.Sleep(2 * time.Millisecond)
	}
	return err
}

// middlebox has the link reset a session in the middle.
func (l *zkLab) middlebox() error {
	c, err := l.session(zkAddr(zkPort))
	if err != nil {
		return err
	}
	defer l.process.close(c)
	l.link.Cut(c, zkAddr(zkPort))
	if err := l.process.send(c, lab.ZKGetData(1), 0); err != nil {
		return err
	}
	return zkIgnoreReset(l.process.send(c, lab.ZKGetData(2), 1))
}
