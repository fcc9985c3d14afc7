package report

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"rstwhy/internal/diagnose"
	"rstwhy/internal/event"
	"rstwhy/internal/sink"
)

var began = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

func at(s string) event.Endpoint {
	ap := netip.MustParseAddrPort(s)
	return event.Endpoint{Address: ap.Addr(), Port: ap.Port()}
}

func java(pid uint32, label string) *event.Process {
	return &event.Process{PID: pid, StartTime: began.Add(-time.Hour), Comm: "java", Label: label}
}

// recorded plays records into a session as a replay does.
type recorded struct {
	session Session
	tally   sink.Tally
	n       uint64
}

func newRecorded() *recorded { return &recorded{tally: sink.Tally{Start: began, Host: "app-7"}} }

func (p *recorded) reset(t *testing.T, after time.Duration, r event.Reset) {
	t.Helper()
	r.Type, r.Schema, r.Host, r.Time, r.Packets = "reset", event.Schema, "app-7", began.Add(after), 1
	r.ID, r.NetNS = fmt.Sprint(p.n), max(r.NetNS, 4026531840)
	p.tally.Add(&r)
	p.n++
	if err := p.session.Reset(&r, sink.Explained{}); err != nil {
		t.Fatal(err)
	}
}

func (p *recorded) storm(t *testing.T, after time.Duration, s event.Storm) {
	t.Helper()
	s.Time = began.Add(after)
	p.tally.AddStorm(&s)
	if err := p.session.Storm(&s); err != nil {
		t.Fatal(err)
	}
}

// end gives the summary, which change may change first.
func (p *recorded) end(t *testing.T, after time.Duration, change func(*event.Summary)) *Session {
	t.Helper()
	sum := p.tally.Summary(began.Add(after))
	sum.Account = event.Account{Seen: p.n, Delivered: p.n}
	if change != nil {
		change(&sum)
	}
	if err := p.session.Summary(&sum); err != nil {
		t.Fatal(err)
	}
	return &p.session
}

// The verdicts of the incident. Their words are not those of the rules today, so
// that a better rule changes no golden file here.
var (
	lateVerdict = event.Verdict{
		Rule: "zookeeper-late-server-data", Title: "the server's last bytes came after the client had closed: harmless, about one at each close", Confidence: event.Likely, Harmless: true,
		Because: []string{"20 bytes from the peer came when the client's socket was closed already, so nobody could read them"},
		Do:      []string{"nothing, if it comes once at each close of a client"},
	}
	newlineVerdict = event.Verdict{
		Rule: "zookeeper-four-letter-newline", Title: "a four-letter command was sent with a line end, which makes the server's close a reset: harmless", Confidence: event.Likely, Harmless: true,
		Because: []string{"the process sent 5 bytes, a four-letter word and a line end by its size, and got 146 bytes as an answer"},
		Do:      []string{"send the four bytes alone: printf srvr | nc, not echo srvr | nc; or rstwhy zk 192.168.2.172:10245"},
	}
	deadVerdict = event.Verdict{
		Rule: "zookeeper-dead-port", Title: "nobody listens on the ZooKeeper port, or a firewall rejects the connection", Confidence: event.Proven,
		Because: []string{"the attempt to connect to 192.168.2.173:10245 was answered with a reset"},
		Do:      []string{"on the server's host, see whether it listens: ss -ltnp 'sport = :10245'", "if it does, look for a firewall rule that rejects with tcp-reset; if it does not, start the server or take it out of the client's list"},
	}
	defectVerdict = event.Verdict{
		Rule: "zookeeper-1702", Title: "ZOOKEEPER-1702: the client sent operations before the server had answered its connection request",
		Because: []string{"the server had read 49 bytes, exactly one connection request, and left 180 bytes unread when it closed", "the client had acknowledged no byte of an answer, so it sent the rest without waiting: the byte pattern is proven"},
		Do:      []string{"find the client on 192.168.7.20: ss -tnp 'dport = :2181'", "there, see which library it has open: ls -l /proc/PID/fd | grep -i zookeeper"},
	}
)

// incident is a session like the one that rstwhy was first written for: a
// Kafka that talks to ZooKeeper, on the client's host.
func incident(t *testing.T) *Session {
	t.Helper()
	kafka, monitor := java(2211, "kafka.Kafka"), &event.Process{PID: 901, StartTime: began, Comm: "telegraf", ContainerName: "metrics", ContainerID: "4f1c"}
	server := java(4778, "org.apache.zookeeper.server.quorum.QuorumPeerMain")
	client := event.Facts{ActiveOpenKnow: true, ActiveOpen: true}
	established, finWait := "ESTABLISHED", "FIN_WAIT1"
	ok := func(where, version string, library *event.Client) *event.ZooKeeper {
		e := at(where)
		return &event.ZooKeeper{Role: event.RoleClient, Client: library, Server: &event.Server{Address: e.Address, Port: e.Port, Version: version, Mode: "follower", Outcome: event.OutcomeOK, AgeNS: int64(31 * time.Second)}}
	}
	p := newRecorded()
	for i := range 41 { // late data: harmless
		p.reset(t, time.Duration(i*i)*50*time.Millisecond, event.Reset{
			Direction: event.Sent, Local: at("192.168.1.143:52574"), Peer: at("192.168.2.171:10245"), Cause: diagnose.LateData, Verdict: &lateVerdict, Owner: kafka, OwnerProven: true,
			Facts: client, ZooKeeper: ok("192.168.2.171:10245", "3.4.13-6--1", &event.Client{Version: "3.4.6", Transport: "nio"}),
		})
	}
	for i := range 12 { // the known defect, seen on the server's host
		verdict := defectVerdict
		verdict.Confidence = event.Proven
		if i%3 == 2 {
			verdict.Confidence = event.Likely
		}
		p.reset(t, 30*time.Second+time.Duration(i)*700*time.Millisecond, event.Reset{
			Direction: event.Sent, Local: at("192.168.1.143:2181"), Peer: at(fmt.Sprintf("192.168.7.%d:4100", 20+i%4)), Cause: diagnose.UnreadData, Verdict: &verdict, State: &finWait, Owner: server, OwnerProven: true,
			ZooKeeper: &event.ZooKeeper{Role: event.RoleServer, Server: &event.Server{Address: netip.MustParseAddr("192.168.1.143"), Port: 2181, Version: "3.8.0", Mode: "standalone", Outcome: event.OutcomeOK, AgeNS: int64(12 * time.Second)}},
		})
	}
	for i := range 5 { // a monitor that sends a newline
		p.reset(t, time.Duration(i*15)*time.Second, event.Reset{
			Direction: event.Received, Local: at("192.168.1.143:40000"), Peer: at("192.168.2.172:10245"), Cause: diagnose.PeerReset, Verdict: &newlineVerdict, State: &established, Owner: monitor,
			Facts:     client,
			ZooKeeper: ok("192.168.2.172:10245", "3.4.13-6--1", nil),
		})
	}
	for i := range 3 {
		p.reset(t, 70*time.Second+time.Duration(i)*time.Second, event.Reset{
			Direction: event.Received, Local: at("192.168.1.143:40001"), Peer: at("192.168.2.173:10245"), Cause: diagnose.ConnectRefused, Verdict: &deadVerdict, Owner: kafka, Facts: client,
			ZooKeeper: &event.ZooKeeper{Role: event.RoleClient, Server: &event.Server{Address: netip.MustParseAddr("192.168.2.173"), Port: 10245, Outcome: event.OutcomeRefused, AgeNS: int64(40 * time.Second)}},
		})
	}
	p.reset(t, 71*time.Second, event.Reset{Direction: event.Sent, Local: at("[2001:db8:85a3:8d3:1319:8a2e:370:7348]:8080"), Peer: at("[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:40112"), Cause: diagnose.ClosedPort, Socket: event.SocketNone})
	p.storm(t, 72*time.Second, event.Storm{Count: 140, Direction: event.Sent, Cause: diagnose.ClosedPort, LocalPort: 8080, Remote: netip.MustParsePrefix("10.9.0.0/16")})
	again := event.Reset{ // the same server, as another network namespace sees it
		Direction: event.Received, Local: at("192.168.1.143:40001"), Peer: at("192.168.2.173:10245"), Cause: diagnose.ConnectRefused, Verdict: &deadVerdict, Owner: kafka, Facts: client,
		ZooKeeper: ok("192.168.2.173:10245", "3.9.3", nil),
	}
	again.NetNS = 4026532001
	p.reset(t, 73*time.Second, again)
	return p.end(t, 96*time.Second, func(s *event.Summary) {
		s.Account = event.Account{Seen: 208, Joined: 2, Delivered: p.n, Aggregated: 140, Lost: 3, LostRing: 3}
		s.Checks = []event.CounterCheck{{NetNS: 4026531840, Counter: "OutRsts", Kernel: 200, Seen: 193, Agree: new(false), Explanation: "7 were sent while a hook was not attached"}, {Counter: "EstabResets", Agree: new(true)}}
		s.Gaps = []event.Gap{{Hook: "kfree_skb", From: began.Add(50 * time.Second), DurationNS: int64(10 * time.Second), Why: "more than 50000 dropped packets a second", Without: "resets that arrived and were not accepted"}}
		s.Warnings = []string{"tcp_destroy_sock could not be attached: sockets that moved between processes keep the name of the first"}
	})
}

const evil = "a\x1b]0;pwned\x07\n<script>alert(1)</script>\"'><img src=x onerror=y>`|[x](http://e.example) www.e.example **b** \u202egnp \xff &lt; {{.}}"

// hostile is a session in which every string that others write attacks the
// reader.
func hostile(t *testing.T, s string) *Session {
	t.Helper()
	p := newRecorded()
	p.tally.Host = s
	owner := &event.Process{PID: 1, Comm: s, Label: s, Pod: s, PodNamespace: s, ContainerName: s}
	server := func(role event.Role) *event.ZooKeeper {
		return &event.ZooKeeper{Role: role, Server: &event.Server{Address: netip.MustParseAddr("10.0.0.9").WithZone(""), Port: 2181, Version: s, Mode: s, Outcome: event.Outcome(s)},
			Client: &event.Client{Version: s, Transport: s}}
	}
	peer := event.Endpoint{Address: netip.MustParseAddr("fe80::1").WithZone(s), Port: 1}
	verdict := &event.Verdict{Rule: s, Title: s, Confidence: event.Confidence(s), Because: []string{s, s}, Do: []string{s, s}}
	for _, role := range []event.Role{event.RoleClient, event.RoleServer} {
		for i := range 2 {
			p.reset(t, 0, event.Reset{Direction: event.Sent, Local: at("10.0.0.1:1"), Peer: peer, Cause: s, Owner: owner, ZooKeeper: server(role), Verdict: verdict})
			other := peer
			other.Address = peer.Address.WithZone(s + fmt.Sprint(i))
			p.reset(t, 0, event.Reset{Direction: event.Received, Local: at("10.0.0.1:1"), Peer: other, Cause: s, Owner: owner, ZooKeeper: server(role), Verdict: verdict})
		}
	}
	p.storm(t, time.Second, event.Storm{Count: 3, Direction: event.Direction(s), Cause: s + "2", Owner: owner, Remote: netip.MustParsePrefix("10.0.0.0/8")})
	return p.end(t, time.Second, func(sum *event.Summary) {
		sum.Checks = []event.CounterCheck{{Counter: s, Explanation: s}}
		sum.Gaps = []event.Gap{{Hook: s, Why: s, Without: s}, {Hook: s}}
		sum.Warnings = []string{s, s}
	})
}
