package diagnose

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"rstwhy/internal/event"
)

// A mutation takes one fact away from a true hit. The rule must then let go.
type mutation struct {
	name    string
	applies func(rule, file string, r *event.Reset) bool
	change  func(*event.Reset)
}

func always(string, string, *event.Reset) bool { return true }

func serverHit(rule, _ string, r *event.Reset) bool {
	return r.ZooKeeper.Role == event.RoleServer && !slices.Contains([]string{"zookeeper-server-killed", "zookeeper-dead-port", "zookeeper-quorum-port"}, rule)
}

// clientOrServer: members of the ensemble are both.
func clientOrServer(rule, _ string, _ *event.Reset) bool { return rule != "zookeeper-quorum-port" }

// plainPort: rules that do not argue with a TLS port.
func plainPort(rule, file string, r *event.Reset) bool {
	return readsBytes(rule, file, r) && !slices.Contains([]string{
		"zookeeper-tls-store", "zookeeper-plaintext-on-tls", "zookeeper-late-client-data", "zookeeper-client-reset", "zookeeper-reset-after-close",
	}, rule)
}

// readsBytes: rules that argue with byte counts or with Apache's code.
func readsBytes(rule, _ string, _ *event.Reset) bool {
	return !slices.Contains([]string{"zookeeper-dead-port", "zookeeper-client-killed", "zookeeper-late-server-data", "zookeeper-network-or-server",
		"zookeeper-health-check", "zookeeper-quorum-port", "zookeeper-server-killed"}, rule)
}

func is1702(view string) func(string, string, *event.Reset) bool {
	return func(rule, file string, _ *event.Reset) bool {
		return rule == "zookeeper-1702" && strings.HasPrefix(file, "hit-"+view)
	}
}

func outcome(o event.Outcome) func(*event.Reset) {
	return func(r *event.Reset) {
		if r.ZooKeeper.Server == nil {
			r.ZooKeeper.Server = &event.Server{}
		}
		r.ZooKeeper.Server.Outcome = o
	}
}

func clientIs(transport, version string) func(*event.Reset) {
	return func(r *event.Reset) { r.ZooKeeper.Client = &event.Client{Transport: transport, Version: version} }
}

func portKindIs(k event.PortKind) func(*event.Reset) {
	return func(r *event.Reset) { r.ZooKeeper.PortKind = &k }
}

var mutations = []mutation{
	{"no ZooKeeper", always, func(r *event.Reset) { r.ZooKeeper = nil }},
	{"the other role", clientOrServer, func(r *event.Reset) {
		if r.ZooKeeper.Role == event.RoleServer {
			r.ZooKeeper.Role = event.RoleClient
		} else {
			r.ZooKeeper.Role = event.RoleServer
		}
	}},
	{"the other direction", always, func(r *event.Reset) {
		if r.Direction == event.Sent {
			r.Direction = event.Received
		} else {
			r.Direction = event.Sent
		}
	}},
	{"another cause", always, func(r *event.Reset) { r.Cause = ConnectUnspec }},
	{"an unknown cause", always, func(r *event.Reset) { r.Cause = Unknown }},
	{"the server was killed", serverHit, func(r *event.Reset) { r.EndedBy = sigkill }},
	{"the server exited", serverHit, func(r *event.Reset) { r.EndedBy = exit3 }},
	{"a TLS port", plainPort, outcome(event.OutcomeTLSOnly)},
	{"not ZooKeeper", readsBytes, outcome(event.OutcomeNotZooKeeper)},
	{"ClickHouse Keeper", plainPort, outcome(event.OutcomeKeeper)},

	{"the fixed NIO client", is1702(""), clientIs("nio", "3.4.6")},
	{"the C client", is1702(""), clientIs("c", "3.8.0")},
	{"the Go client", is1702(""), clientIs("go", "1.0.4")},
	{"kazoo", is1702(""), clientIs("python", "2.8.0")},
	{"a vendor's build with the fix", is1702(""), func(r *event.Reset) {
		r.ZooKeeper.Client = &event.Client{Transport: "nio", Version: "3.4.5-cdh5.16.2", Handshake: new(event.HandshakeWaits)}
	}},
	{"a port between members", is1702(""), portKindIs(event.PortQuorum)},
	{"the AdminServer's port", is1702(""), portKindIs(event.PortAdmin)},
	{"a TLS port by its configuration", is1702(""), portKindIs(event.PortSecureClient)},
	{"one byte more consumed", is1702(""), func(r *event.Reset) { r.Evidence.ReceivedBytes.N++ }},
	{"two bytes fewer consumed", is1702("server"), func(r *event.Reset) { r.Evidence.ReceivedBytes.N -= 2 }},
	{"received unknown", is1702(""), func(r *event.Reset) { r.Evidence.ReceivedBytes = event.Number{} }},
	{"unread unknown", is1702("server"), func(r *event.Reset) { r.Evidence.UnreadBytes = event.Number{} }},
	{"nothing unread", is1702("server"), func(r *event.Reset) {
		r.Evidence.ReceivedBytes.N -= r.Evidence.UnreadBytes.N
		r.Evidence.UnreadBytes.N = 0
	}},
	{"a request and no more", is1702("client"), func(r *event.Reset) { r.Evidence.SentBytes = event.Num(49) }},
	{"sent unknown", is1702("client"), func(r *event.Reset) { r.Evidence.SentBytes = event.Number{} }},
	{"answered twice", is1702("server-likely"), func(r *event.Reset) { r.Evidence.SentBytes = event.Num(61) }},
	{"a minute old", is1702("server-likely"), func(r *event.Reset) { r.Evidence.AgeNS = event.Num(60e9) }},
	{"a ping unread", is1702("server-likely"), func(r *event.Reset) {
		r.Evidence.ReceivedBytes, r.Evidence.UnreadBytes = event.Num(61), event.Num(12)
	}},
	{"the library unknown after all", is1702("client-affected"), func(r *event.Reset) { r.ZooKeeper.Client = nil }},
	{"the server not serving", is1702("client-affected"), outcome(event.OutcomeNotServing)},
	{"our own question reset too", is1702("client-affected"), outcome(event.OutcomeReset)},
}

// TestNearMisses changes one fact of every ZooKeeper hit: a rule that still
// claims the record does not depend on what it says it depends on.
func TestNearMisses(t *testing.T) {
	applied := map[string]int{}
	for path, f := range fixtures(t) {
		rule, file := filepath.Base(filepath.Dir(path)), filepath.Base(path)
		if !strings.HasPrefix(rule, "zookeeper-") || !strings.HasPrefix(file, "hit") {
			continue
		}
		whole, err := json.Marshal(f.Reset)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range mutations {
			var r event.Reset
			if err := json.Unmarshal(whole, &r); err != nil {
				t.Fatal(err)
			}
			if !m.applies(rule, file, &r) {
				continue
			}
			applied[m.name]++
			m.change(&r)
			if v := Judge(&r); v != nil && v.Rule == rule {
				t.Errorf("%s: still %s (%s) with: %s", path, rule, v.Confidence, m.name)
			}
		}
	}
	for _, m := range mutations {
		if applied[m.name] == 0 {
			t.Errorf("mutation %q met no hit", m.name)
		}
	}
}

// TestProvenNeedsProof: an acknowledged or unmeasured answer never proves
// ZOOKEEPER-1702, and an unconfirmed server never does on the client's host.
func TestProvenNeedsProof(t *testing.T) {
	for _, c := range []struct {
		file   string
		change func(*event.Reset)
	}{
		{"hit-server-proven", func(r *event.Reset) { r.Evidence.AckedBytes = event.Num(41) }},
		{"hit-server-proven", func(r *event.Reset) { r.Evidence.AckedBytes = event.Number{} }},
		{"hit-client-proven", outcome(event.OutcomeTimeout)},
		{"hit-client-proven", func(r *event.Reset) { r.ZooKeeper.Server = nil }},
	} {
		f := fixtures(t)["testdata/zookeeper-1702/"+c.file+".json"]
		if v := Judge(&f.Reset); v == nil || v.Confidence != event.Proven {
			t.Fatalf("%s is not proven to begin with: %+v", c.file, v)
		}
		c.change(&f.Reset)
		if v := Judge(&f.Reset); v == nil || v.Rule != "zookeeper-1702" || v.Confidence != event.Likely {
			t.Errorf("%s without its proof: %+v, want likely", c.file, v)
		}
	}
}
