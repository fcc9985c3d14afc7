package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"rstwhy/internal/event"
	"rstwhy/internal/hsperf"
	"rstwhy/internal/lab"
	"rstwhy/internal/proctree"
	"rstwhy/internal/zk"
)

// zkPortOwn is a port that no option of the tracer names: only the client's
// command line and the server's configuration do.
const zkPortOwn = 12345

// TestZooKeeperDiscovery looks at real clients and servers: their versions and
// transports are found, and what is found is in the records of resets on a port
// that nobody told rstwhy.
func TestZooKeeperDiscovery(t *testing.T) {
	if testing.Short() {
		t.Skip("fetches and runs real ZooKeeper servers and clients: left out by -short")
	}
	zkNeedRoot(t)
	old := newZKSite(t, lab.ZKReleases[0])
	s := newZKSite(t, lab.ZKReleases[len(lab.ZKReleases)-1])
	t.Run("servers", func(t *testing.T) {
		for _, site := range []*zkSite{old, s} {
			p, err := zk.Look(processID(t, site.pids[zkPort]))
			if err != nil || !p.Server || p.Config.KindOf(zkPort) != event.PortClient || p.Config.KindOf(zkPortOwn) != "" {
				t.Errorf("server %s: %+v %v", site.release.Version, p, err)
			}
			// The library is the same jar, and no client runs.
			if p.Client == nil || !strings.HasPrefix(p.Client.Version, site.release.Version) {
				t.Errorf("library of server %s: %+v", site.release.Version, p.Client)
			}
		}
	})
	const netty = "-Dzookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNetty"
	for _, c := range []struct {
		name, options, transport, source string
		site                             *zkSite
	}{
		{"3.4 NIO", "", "nio", "fd -> zookeeper-3.4.13.jar: MANIFEST.MF", old},
		{"3.9 NIO", "", "nio", "fd -> zookeeper-3.9.", s},
		// In the environment, where the command line does not show it.
		{"3.9 Netty", netty, "netty", "thread zkNetty-", s},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("JAVA_TOOL_OPTIONS", c.options)
			client, err := c.site.release.StartClient(c.site.jars, s.client, t.TempDir(), zkAddr(zkPort))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Kill()
			got := awaitClient(t, client.PID(), c.transport, c.source)
			want := event.HandshakeWaits
			if c.transport == "netty" {
				want = ""
			}
			var handshake event.Handshake
			if got.Handshake != nil {
				handshake = *got.Handshake
			}
			if !strings.HasPrefix(got.Version, c.site.release.Version) || handshake != want {
				t.Errorf("%+v, want version %s, handshake %q", got, c.site.release.Version, want)
			}
			t.Logf("%+v", got)
			checkCounters(t, client.PID(), c.options)
		})
	}
	t.Run("trace", func(t *testing.T) { s.testDiscovered(t) })
}

// testDiscovered ends a server under a client, whose attempts to come back are
// refused then.
func (s *zkSite) testDiscovered(t *testing.T) {
	dir := t.TempDir()
	server, err := s.release.Start(t.Context(), s.jars, lab.ZKConfig{NS: s.server, Addr: zkAddr(zkPortOwn), Dir: dir, MaxConns: 60})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Kill()
	tr := startZKTrace(t, buildTracer(t))
	client, err := s.release.StartClient(s.jars, s.client, t.TempDir(), zkAddr(zkPortOwn))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Kill()
	awaitClient(t, client.PID(), "nio", "SendThread")
	server.Kill()
	mine := s.awaitOwned(t, tr, event.Received, client.PID(), 4)
	for i, r := range mine {
		// A young client's transport is not told yet: rstwhy looks again after
		// three seconds, and the attempts come about once a second.
		late := i == len(mine)-1
		z := r.ZooKeeper
		if z == nil || z.Role != event.RoleClient || z.Server == nil || z.Server.Port != zkPortOwn || z.Client == nil ||
			!strings.HasPrefix(z.Client.Version, s.release.Version) || z.Client.Transport != "nio" && (late || z.Client.Transport != "") {
			t.Errorf("the record does not tell client %s NIO of port %d: %+v\n%s", s.release.Version, zkPortOwn, z, zkDescribe(mine[i:i+1]))
		}
	}
	tr.stop(t)
	if t.Failed() {
		t.Logf("log of rstwhy:\n%s", &tr.stderr)
	}
}

// awaitClient looks at a process until its client is known by that: a JVM takes
// its time to load classes and to start threads.
func awaitClient(t *testing.T, pid int, transport, source string) event.Client {
	t.Helper()
	var got *event.Client
	for until := time.Now().Add(60 * time.Second); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		var err error
		if got, err = zk.FindClient(uint32(pid)); err != nil {
			t.Fatal(err)
		}
		if got != nil && got.Transport == transport && strings.Contains(got.Source, source) {
			return *got
		}
	}
	t.Fatalf("no client with transport %s was found in process %d by %q: %+v", transport, pid, source, got)
	return event.Client{}
}

// checkCounters reads what the client's JVM tells of itself.
func checkCounters(t *testing.T, pid int, options string) {
	t.Helper()
	tree, err := proctree.Open(uint32(pid))
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	c, err := hsperf.Read(tree)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(c.Command, lab.ZKClientClass+" -server ") || c.Version == "" || !strings.Contains(c.Arguments, options) {
		t.Errorf("command %q, Java %q, options %q", c.Command, c.Version, c.Arguments)
	}
	for _, g := range c.Collectors {
		if !strings.HasSuffix(g.Name, " pauses") && g.Name != "Copy" && g.Name != "MSC" {
			t.Errorf("the serial collector is called %q here: is it known to stop all threads?", g.Name)
		}
	}
	// A pause is told in our time only where the JVM's clock agrees with it.
	age := time.Duration(float64(c.Ticks) / float64(c.Frequency) * 1e9)
	if off := time.Since(c.Begin) - age; len(c.Collectors) == 0 || off < -time.Minute || off > time.Minute {
		t.Errorf("%d collectors; by its clock the JVM is %v old, by ours %v", len(c.Collectors), age, time.Since(c.Begin))
	}
}

// processID adds the start time to a pid.
func processID(t *testing.T, pid int) zk.ProcessID {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ticks, err := strconv.ParseUint(fields[19], 10, 64) // field 22: starttime
	if err != nil {
		t.Fatal(err)
	}
	return zk.ProcessID{PID: uint32(pid), Start: ticks * 10_000_000}
}
