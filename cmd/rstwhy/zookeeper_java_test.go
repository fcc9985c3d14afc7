package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"rstwhy/internal/event"
	"rstwhy/internal/lab"
)

// testJavaClient has a real Java client, correct but without luck: it connects
// again and again to a server that has no quorum. This is the shape in which
// operators meet resets every second. library is the release whose client
// runs: 3.4's cannot parse addresses on JDK 14 and later.
func (s *zkSite) testJavaClient(t *testing.T, tr *zkTrace, library *zkSite) {
	// Its ports are the kernel's choice: keep them apart from those of the
	// tracer's own probes, for checkOwnProbes.
	s.portRange(t, "30000 32700")
	defer s.portRange(t, "32768 60999")
	client, err := library.release.StartClient(library.jars, s.client, t.TempDir(), zkAddr(zkPortNoQuora), "ls", "/")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Kill()

	const enough = 2
	var mine []event.Reset
	for deadline := time.Now().Add(30 * time.Second); len(mine) < enough; time.Sleep(100 * time.Millisecond) {
		mine = nil
		for _, r := range tr.in(s.client) {
			if r.Direction == event.Received && r.Owner != nil && int(r.Owner.PID) == client.PID() {
				mine = append(mine, r)
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d resets of the Java client %d within 30 s, want %d:\n%s", len(mine), client.PID(), enough, zkDescribe(tr.in(s.client)))
		}
	}
	st := zkStimulus{name: "Java client", port: zkPortNoQuora, rule: "zookeeper-not-serving"}
	for i, r := range mine {
		one := mine[i : i+1]
		if r.Owner.Comm != "java" || !strings.Contains(r.Owner.Label, "ZooKeeperMain") {
			t.Errorf("owner %q %q, want \"java\" with %s:\n%s", r.Owner.Comm, r.Owner.Label, lab.ZKClientClass, zkDescribe(one))
		}
		if r.ZooKeeper == nil || r.ZooKeeper.Role != event.RoleClient || zkRule(r) != st.rule {
			t.Errorf("want role client and verdict %s:\n%s", st.rule, zkDescribe(one))
		}
		s.checkServer(t, st, r)
		s.checkSent(t, tr, st, zkAttempt{client: r.Local.AddrPort(), server: r.Peer.AddrPort()})
	}
	t.Logf("%d resets of the Java client, each explained on both hosts", len(mine))
}

// portRange sets the range of ports that the client's host hands out.
func (s *zkSite) portRange(t *testing.T, ports string) {
	t.Helper()
	err := s.client.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte(ports), 0o644)
	})
	if err != nil {
		t.Fatalf("set the local port range of the client's host: %v", err)
	}
}
