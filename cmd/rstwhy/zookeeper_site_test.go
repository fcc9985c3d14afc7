package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/lab"
)

// Ports of every site; the addresses are the same in both, too, so that only
// the network namespace tells two servers apart.
const (
	zkPort        = 10245 // a standalone server
	zkPortAlone   = 10246 // one server of three: it runs and does not serve
	zkPortLimited = 10247 // a standalone server with maxClientCnxns=2
	zkPortDead    = 10248 // nobody listens
)

// The addresses of the two hosts, of TEST-NET-1 (RFC 5737).
var (
	zkClientHost = netip.MustParseAddr("192.0.2.1")
	zkHost       = netip.MustParseAddr("192.0.2.2")
)

func zkAddr(port uint16) netip.AddrPort { return netip.AddrPortFrom(zkHost, port) }

// zkSite is a client's host and a host with the servers of one release, joined
// by a link with 5 ms of round trip.
type zkSite struct {
	release        lab.ZKRelease
	client, server *lab.LinkNS
	link           *lab.Link
	jars           string
	pids           map[uint16]int       // JVM that listens, by port
	serves         map[uint16]time.Time // since when its server serves
	process        zkClient             // on the client's host
}

// newZKSite makes the hosts and starts the standalone server.
func newZKSite(t *testing.T, release lab.ZKRelease) *zkSite {
	t.Helper()
	s := newZKHosts(t, release)
	s.start(t, zkPort, lab.ZKConfig{MaxConns: 60})
	return s
}

// newZKHosts makes the hosts and the link, and fetches the release.
func newZKHosts(t *testing.T, release lab.ZKRelease) *zkSite {
	t.Helper()
	s := &zkSite{release: release, pids: map[uint16]int{}, serves: map[uint16]time.Time{}}
	for _, ns := range []**lab.LinkNS{&s.client, &s.server} {
		var err error
		if *ns, err = lab.NewLinkNS(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*ns).Close() })
	}
	var err error
	s.link, err = lab.NewLink(
		lab.LinkEnd{NS: s.client, Prefix: netip.PrefixFrom(zkClientHost, 30)},
		lab.LinkEnd{NS: s.server, Prefix: netip.PrefixFrom(zkHost, 30)}, 2500*time.Microsecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.link.Close() })
	s.process = startZKClient(t, s.client)
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatalf("find a cache directory for ZooKeeper's packages: %v (set HOME or XDG_CACHE_HOME)", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if s.jars, err = release.Fetch(ctx, filepath.Join(cache, "rstwhy")); err != nil {
		t.Fatal(err)
	}
	return s
}

// start runs one more server of the site.
func (s *zkSite) start(t *testing.T, port uint16, c lab.ZKConfig) {
	t.Helper()
	c.NS, c.Addr, c.Dir = s.server, zkAddr(port), t.TempDir()
	server, err := s.release.Start(context.Background(), s.jars, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Stop()
		if log, err := os.ReadFile(filepath.Join(c.Dir, "log")); t.Failed() {
			t.Logf("the log of ZooKeeper %s on port %d ends in (%v):\n%s", s.release.Version, port, err, log[max(0, len(log)-6000):])
		}
	})
	s.pids[port], s.serves[port] = server.PID(), time.Now()
}

// zkStimulus is one way to make a server's host send a reset.
type zkStimulus struct {
	name string
	port uint16
	send []byte // in one write, at once after connecting; nothing of the answer is read
	held int    // proper sessions that the client holds meanwhile

	refused bool   // the connection itself is refused
	rule    string // verdict on the server's host, and what both releases must agree on
	client  string // verdict on the client's host; empty: not this test's matter
	again   bool   // a race decides whether the reset has the bytes that prove the rule
}

var zkStimuli = []zkStimulus{
	{
		// What a client with ZOOKEEPER-1702 does when its session has expired.
		name: "pipelined", port: zkPort, send: lab.ZKPipelined(10),
		rule: "zookeeper-1702", client: "zookeeper-1702",
	},
	{
		name: "four-letter word with newline", port: zkPort, send: []byte("srvr\n"),
		rule: "zookeeper-four-letter-newline",
	},
	{
		name: "no quorum", port: zkPortAlone, send: lab.ZKConnectRequest(0),
		rule: "zookeeper-not-serving", client: "zookeeper-not-serving",
	},
	{
		// The accepting thread closes at once: the request may be there already
		// or not, and only one of them leaves a trace of its own.
		name: "over maxClientCnxns", port: zkPortLimited, send: lab.ZKConnectRequest(0), held: 2,
		rule: "zookeeper-max-client-connections", again: true,
	},
	{
		name: "dead port", port: zkPortDead, refused: true,
		client: "zookeeper-dead-port",
	},
}

// zkTries bounds how often a stimulus is repeated until its reset is seen.
const zkTries = 30

// zkAttempt is one provocation: the connection's ends and what was seen of it.
type zkAttempt struct {
	client, server netip.AddrPort
	wire           int // RSTs from the server when it ended
}

// provoke runs the stimulus once and waits, bounded, for its reset to cross
// the link. The client keeps its socket open until then, so that the first RST
// finds a socket.
func (s *zkSite) provoke(st zkStimulus) (a zkAttempt, err error) {
	a.server = zkAddr(st.port)
	for range st.held {
		held, err := s.session(a.server)
		for i := 0; err != nil && i < 20; i++ {
			// The sessions of the attempt before, or a probe, are still counted.
			time.Sleep(50 * time.Millisecond)
			held, err = s.session(a.server)
		}
		if err != nil {
			return a, err
		}
		defer s.process.close(held)
	}
	a.client, err = s.process.dial(a.server)
	if err == nil {
		defer s.process.close(a.client)
		if st.refused {
			return a, fmt.Errorf("a connection to the dead port %s was accepted", a.server)
		}
		// The reset may come first: then the write fails, as it should.
		if err := s.process.send(a.client, st.send, 0); err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
			return a, err
		}
	} else if !errors.Is(err, unix.ECONNREFUSED) || !st.refused {
		return a, err
	}
	a.wire = s.awaitRST(a, st)
	// Further RSTs answer what was still on its way.
	time.Sleep(30 * time.Millisecond)
	return a, nil
}

// awaitRST waits for an RST of the server to the attempt's client. JDK 11 and
// later only send FIN when a registered channel is closed, and really close
// the socket when its selector wakes up the next time (SocketChannelImpl,
// implCloseNonBlockingMode): on an idle server that is at the next connection,
// hence the well-behaved one here.
func (s *zkSite) awaitRST(a zkAttempt, st zkStimulus) int {
	for i := range 20 {
		if n := len(s.link.RSTs(a.server, a.client)); n > 0 {
			return n
		}
		time.Sleep(10 * time.Millisecond)
		if i == 3 && !st.refused && st.held == 0 {
			// Its answer, or the lack of one, is not what is tried here.
			_, _ = lab.ZKWord(s.client, a.server, "srvr")
		}
	}
	return 0
}

// session opens a ZooKeeper session as a correct client does, and reads the
// server's ConnectResponse (41 bytes).
func (s *zkSite) session(addr netip.AddrPort) (local netip.AddrPort, err error) {
	local, err = s.process.dial(addr)
	if err != nil {
		return local, err
	}
	if err := s.process.send(local, lab.ZKConnectRequest(0), 41); err != nil {
		s.process.close(local)
		return local, fmt.Errorf("open a session: %w", err)
	}
	return local, nil
}
