package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
	"rstwhy/internal/lab"
)

// testJavaClient has a real Java client, correct but without luck: it connects
// again and again to a server that has no quorum. This is the shape in which
// operators meet resets every second. library is the release whose client
// runs: 3.4's cannot parse addresses on JDK 14 and later.
func (s *zkSite) testJavaClient(t *testing.T, tr *zkTrace, library *zkSite) {
	s.ownPorts(t)
	client, err := library.release.StartClient(library.jars, s.client, t.TempDir(), zkAddr(zkPortAlone))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Kill()

	mine := s.awaitOwned(t, tr, event.Received, client.PID(), 2)
	st := zkStimulus{name: "Java client", port: zkPortAlone, rule: "zookeeper-not-serving"}
	for i, r := range mine {
		one := mine[i : i+1]
		if r.Owner.Comm != "java" || !strings.Contains(r.Owner.Label, "ZooKeeperMain") {
			t.Errorf("owner %q %q, want \"java\" with %s:\n%s", r.Owner.Comm, r.Owner.Label, lab.ZKClientClass, zkDescribe(one))
		}
		// The client closes on the server's FIN; where it was faster than the
		// RST that follows, no rule need apply, but never another one.
		late := r.Cause == "peer-reset-after-close" && zkRule(r) == ""
		if r.ZooKeeper == nil || r.ZooKeeper.Role != event.RoleClient || zkRule(r) != st.rule && !late {
			t.Errorf("want role client and verdict %s:\n%s", st.rule, zkDescribe(one))
		}
		s.checkServer(t, st, r)
		s.checkSent(t, tr, st, zkAttempt{client: r.Local.AddrPort(), server: r.Peer.AddrPort()})
	}
	t.Logf("%d resets of the Java client, each explained on both hosts", len(mine))
}

// testKilledClient has a shell open a session, leave the answer unread, and
// kills it.
func (s *zkSite) testKilledClient(t *testing.T, tr *zkTrace) {
	s.ownPorts(t)
	addr := zkAddr(zkPort)
	var request strings.Builder
	for _, b := range lab.ZKConnectRequest(0) {
		fmt.Fprintf(&request, "\\x%02x", b)
	}
	script := fmt.Sprintf(`exec 3<>/dev/tcp/%s/%d && printf '%s' >&3 && exec sleep 60`, addr.Addr(), addr.Port(), &request)
	shell := exec.Command("bash", "-c", script)
	if err := s.client.Do(shell.Start); err != nil {
		t.Fatal(err)
	}
	zkAwaitUnread(t, shell.Process.Pid, addr.Port(), 41) // a ConnectResponse
	if err := shell.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = shell.Wait() // killed, as it should be

	r := s.awaitOwned(t, tr, event.Sent, shell.Process.Pid, 1)[0]
	one := zkDescribe([]event.Reset{r})
	if r.Cause != "unread-data" || zkRule(r) != "zookeeper-client-killed" || r.Owner.Comm != "sleep" {
		t.Errorf("cause %s, verdict %q, owner %q; want unread-data, zookeeper-client-killed, \"sleep\":\n%s", r.Cause, zkRule(r), r.Owner.Comm, one)
	}
	if e := r.EndedBy; e == nil || e.Kind != event.EndSignal || e.Signal == nil || *e.Signal != int(unix.SIGKILL) {
		t.Errorf("want ended by signal 9:\n%s", one)
	}
	if n := r.Evidence.UnreadBytes; !n.Known || n.N != 41 {
		t.Errorf("want 41 unread bytes, a ConnectResponse:\n%s", one)
	}
	s.checkServer(t, zkStimulus{port: zkPort}, r)

	// The server's host received it, on a connection that the JVM holds.
	received := tr.of(s.server, event.Received, addr, r.Local.AddrPort())
	if len(received) == 0 {
		t.Fatalf("the server's host shows no reset received from %s", r.Local)
	}
	if got := received[0]; got.Owner == nil || int(got.Owner.PID) != s.pids[zkPort] || got.Cause != "peer-reset" {
		t.Errorf("want the JVM %d as owner, and cause peer-reset:\n%s", s.pids[zkPort], zkDescribe([]event.Reset{got}))
	}
}

// zkAwaitUnread waits until a connection to the port, in the process's
// network namespace, holds so many unread bytes (proc_pid_net(5): the fifth
// field is tx_queue:rx_queue in hex).
func zkAwaitUnread(t *testing.T, pid int, port uint16, unread int) {
	t.Helper()
	remote, queues := fmt.Sprintf(":%04X", port), fmt.Sprintf(":%08X", unread)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) > 4 && strings.HasSuffix(f[2], remote) && strings.HasSuffix(f[4], queues) {
				return
			}
		}
	}
	t.Fatalf("process %d has no connection to port %d with %d unread bytes after 10 s", pid, port, unread)
}

// awaitOwned waits for resets of a process on the client's host.
func (s *zkSite) awaitOwned(t *testing.T, tr *zkTrace, dir event.Direction, pid, enough int) []event.Reset {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		var mine []event.Reset
		for _, r := range tr.in(s.client) {
			if r.Direction == dir && r.Owner != nil && int(r.Owner.PID) == pid {
				mine = append(mine, r)
			}
		}
		if len(mine) >= enough {
			time.Sleep(time.Second) // and the other host's records of them
			return mine
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d resets %s by process %d within 30 s, want %d", len(mine), dir, pid, enough)
		}
	}
}

// ownPorts has the client's host hand out other ports than by default during
// the test, so that checkOwnProbes can tell a client that does not choose its
// port from the tracer's probes.
func (s *zkSite) ownPorts(t *testing.T) {
	t.Helper()
	set := func(ports string) {
		err := s.client.Do(func() error {
			return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte(ports), 0o644)
		})
		if err != nil {
			t.Fatalf("set the local port range of the client's host: %v", err)
		}
	}
	set("30000 32700")
	t.Cleanup(func() { set("32768 60999") })
}
