package sink

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rstwhy/internal/event"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (make it with go test ./internal/sink -update)", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

func end(s string) event.Endpoint {
	ap := netip.MustParseAddrPort(s)
	return event.Endpoint{Address: ap.Addr(), Port: ap.Port()}
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t
}

var kafka = &event.Process{
	PID: 2211, StartTime: at("2026-11-20T08:00:00Z"), Comm: "java", Label: "kafka.Kafka",
	Exe: "/usr/lib/jvm/java-17/bin/java", Cmdline: "java -Xmx1G kafka.Kafka /etc/kafka/server.properties",
}

// sample is one reset with its explanation.
type sample struct {
	r event.Reset
	x Explained
}

func base(id, when string, dir event.Direction, local, peer string) event.Reset {
	hook, effect := event.HookSend, (*event.Effect)(nil)
	if dir == event.Received {
		hook, effect = event.HookReceive, new(event.EffectKilled)
	}
	return event.Reset{
		Hook: hook, Effect: effect, Packets: 1,
		Type: "reset", Schema: event.Schema, Host: "h", ID: id, Time: at(when), Direction: dir,
		Local: end(local), Peer: end(peer), NetNS: 4026531840, Socket: event.SocketFull, OwnerSource: event.SourceNone,
	}
}

// samples are one record of each shape that the text distinguishes.
func samples() []sample {
	late := base("1", "2026-11-23T16:38:33.018Z", event.Sent, "192.168.1.143:52574", "192.168.2.171:10245")
	late.Socket, late.Cause, late.Owner = event.SocketNone, "late-data", kafka
	late.OwnerSource, late.OwnerProven = event.SourceTombstone, true
	late.Facts = event.Facts{TombstoneHit: true, ActiveOpen: true, ActiveOpenKnow: true}
	late.Evidence.SegmentBytes = event.Num(20)
	late.ZooKeeper = &event.ZooKeeper{
		Role: event.RoleClient,
		Server: &event.Server{Address: late.Peer.Address, Port: 10245, Version: "3.4.13-6--1", Mode: "follower",
			Outcome: event.OutcomeOK, AgeNS: int64(125 * time.Second)},
		Client: &event.Client{Version: "3.4.6", Transport: "nio", Source: "fd -> zookeeper-3.4.6.jar: MANIFEST.MF", Handshake: new(event.HandshakeWaits)},
		Pause:  &event.Pause{Collector: "G1 full collection pauses", Start: at("2026-11-23T16:38:20.5Z"), DurationNS: 9.5e9},
	}
	late.Verdict = &event.Verdict{Rule: "late-data-at-close", Title: "Harmless: one at each close",
		Confidence: event.Proven, Because: []string{"the data came after close()"}, Do: []string{"nothing"}, Raise: []string{}, Harmless: true}

	established := "ESTABLISHED"
	curl := base("2", "2026-11-23T23:59:59.63Z", event.Received, "192.168.1.143:52089", "10.195.88.73:80")
	curl.State, curl.Cause = &established, "peer-reset"
	curl.Owner = &event.Process{PID: 881, StartTime: at("2026-11-23T23:59:58Z"), Comm: "curl"}
	curl.OwnerSource = event.SourceSocket

	closed := base("3", "2026-11-24T00:00:07.002Z", event.Sent, "192.168.1.143:8080", "192.168.4.9:40112")
	closed.Socket, closed.Cause = event.SocketNone, "closed-port"

	request := "SYN_RECV"
	six := base("4", "2026-11-24T00:00:08Z", event.Received, "[2001:db8:85a3:8d3:1319:8a2e:370:7348]:2181",
		"[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535")
	six.Socket, six.State, six.Cause = event.SocketRequest, &request, "peer-reset-handshake"
	six.ZooKeeper = &event.ZooKeeper{Role: event.RoleServer,
		Server:   &event.Server{Address: six.Local.Address, Port: 2181, Outcome: event.OutcomeNotServing},
		PortKind: new(event.PortSecureClient)}

	timewait := "TIME_WAIT"
	again := base("5", "2026-11-24T00:00:09Z", event.Sent, "192.168.1.143:52575", "192.168.2.171:10245")
	again.Socket, again.State, again.Cause, again.Owner = event.SocketTimewait, &timewait, "late-data", kafka
	again.OwnerSource, again.Facts = event.SourceTombstone, late.Facts
	return []sample{
		{late, Explained{"the peer's last 20 bytes came after this process had closed the socket", "late-data"}},
		{curl, Explained{"the peer reset the connection 12 ms after our 78-byte request, nothing was answered", "peer-reset"}},
		{closed, Explained{"nobody listens on port 8080", ""}},
		{six, Explained{"the peer gave up before the connection was established", "peer-reset-handshake"}},
		{again, Explained{"the peer's last 20 bytes came after this process had closed the socket", "late-data"}},
	}
}

// squall is a storm of refused connection attempts.
func squall() event.Storm {
	return event.Storm{
		Type: "storm", Schema: event.Schema, Host: "h", Time: at("2026-11-24T00:00:10.5Z"), DurationNS: 998_000_000, Count: 4213,
		Direction: event.Sent, Cause: "closed-port", LocalPort: 8080, Remote: netip.MustParsePrefix("192.168.4.9/32"), NetNS: 4026531840,
	}
}

const evil = "a\x1b]0;pwned\x07\n2026 SENT\tgood[1]\x9b31m\u009b2J\u202egnp.exe\u2066x\u200b\ufeff\xff\xfe e\u0301\u0301\u0301\u0301 \u3164日本語"

// hostile is a record in which every string that others write attacks the
// reader's terminal.
func hostile(s string) sample {
	r := samples()[0].r
	r.State, r.Owner = &s, &event.Process{PID: 4294967295, Comm: s, Label: s, Exe: s, Cmdline: s, Cgroup: s, ContainerID: s}
	r.Socket, r.OwnerProven, r.Facts.TombstoneHit = event.SocketFull, false, false
	r.Local = end("[2001:db8:85a3:8d3:1319:8a2e:370:7348]:65535")
	r.Peer = event.Endpoint{Address: netip.MustParseAddr("fe80::1").WithZone(s), Port: 1}
	r.Host, r.ID, r.Cause, r.Thread, r.Reason = s, s, s, &s, &s
	r.ZooKeeper = &event.ZooKeeper{Role: event.RoleClient,
		Server:   &event.Server{Version: s, Mode: s, Outcome: event.Outcome(s), Zxid: &s},
		Client:   &event.Client{Version: s, Transport: s, Source: s, Handshake: new(event.Handshake(s))},
		PortKind: new(event.PortKind(s)), Pause: &event.Pause{Collector: s, Start: r.Time}}
	evilOne := event.Process{PID: 1, Comm: s, Label: s, Exe: s, Cmdline: s, Cgroup: s, ContainerID: s}
	r.DropReason, r.Twin, r.TwinOwner, r.Others = &s, &s, &evilOne, []event.Process{evilOne, evilOne}
	r.Actor = &event.Actor{Kind: event.ActorKind(s), Process: &evilOne}
	r.Verdict = &event.Verdict{Rule: s, Title: s, Confidence: event.Confidence(s), Because: []string{s}, Do: []string{s, s}, Raise: []string{s}}
	return sample{r, Explained{s, ""}}
}
