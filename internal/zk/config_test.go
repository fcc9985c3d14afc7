package zk

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rstwhy/internal/event"
)

func TestParseConfig(t *testing.T) {
	tests := []struct {
		name, text string
		want       Config
	}{
		{"plain", "# comment\ntickTime=2000\ndataDir=/var/lib/zookeeper\nclientPort=10245\n",
			Config{Ports: []ClientPort{{Port: 10245}}, DataDir: "/var/lib/zookeeper"}},
		{"3.4 members have no client port", "clientPort = 2181\nserver.1=zk1:2888:3888\nserver.2=zk2:2888:3888:observer\n",
			Config{Ports: []ClientPort{{Port: 2181}}, Peers: map[int64]Peer{1: peer("zk1", 2888, 3888), 2: peer("zk2", 2888, 3888)}}},
		{"addresses and TLS", "clientPort: 2181\nclientPortAddress 10.0.0.1\nsecureClientPort=2281\nsecureClientPortAddress=::1\r\n",
			Config{Ports: []ClientPort{{Address: "10.0.0.1", Port: 2181}, {Address: "::1", Port: 2281, Secure: true}}}},
		{"rewritten by 3.5+", "dataDir=/data\ndynamicConfigFile=/conf/zoo.cfg.dynamic.100000000\n",
			Config{Dynamic: "/conf/zoo.cfg.dynamic.100000000", DataDir: "/data"}},
		{"dynamic lines", "server.1=h1:2888:3888:participant;0.0.0.0:2181\nserver.2=h2:2888:3888;2182\n" +
			"server.3=a:2888:3888|b:2889:3889:observer;[2001:db8::3]:2183\nversion=100000000\n",
			Config{Members: map[int64]ClientPort{1: {Address: "0.0.0.0", Port: 2181}, 2: {Port: 2182}, 3: {Address: "2001:db8::3", Port: 2183}},
				Peers: map[int64]Peer{1: peer("h1", 2888, 3888), 2: peer("h2", 2888, 3888),
					3: {[]Endpoint{{"a", 2888}, {"b", 2889}}, []Endpoint{{"a", 3888}, {"b", 3889}}}}}},
		{"member with an IPv6 address", "server.7=[2001:db8::7]:2888:3888\n",
			Config{Peers: map[int64]Peer{7: peer("2001:db8::7", 2888, 3888)}}},
		{"admin", "admin.serverPort=8081\nadmin.enableServer=false\n", Config{AdminServerPort: "8081", AdminEnableServer: "false"}},
		{"later wins, continued, escaped", "clientPort=1\nclientPort=\\\n   21\\\n   81\ndataDir=C\\:\\\\data\\u0041\n",
			Config{Ports: []ClientPort{{Port: 2181}}, DataDir: `C:\dataA`}},
		{"comment does not continue", "# clientPort=1 \\\nclientPort=2181", Config{Ports: []ClientPort{{Port: 2181}}}},
		{"nonsense ports", "clientPort=65536\nsecureClientPort=-1\nserver.1=h:1:2;x\nserver.x=h:1:2;2181\nserver.2=h:1:70000\n", Config{Peers: map[int64]Peer{1: peer("h", 1, 2)}}},
		{"port 0 is not configured", "clientPort=0\n", Config{}},
		{"nothing", "", Config{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want.Members == nil {
				tt.want.Members = map[int64]ClientPort{}
			}
			if tt.want.Peers == nil {
				tt.want.Peers = map[int64]Peer{}
			}
			if d := cmp.Diff(tt.want, ParseConfig([]byte(tt.text))); d != "" {
				t.Error(d)
			}
		})
	}
}

func peer(host string, quorum, election uint16) Peer {
	return Peer{[]Endpoint{{host, quorum}}, []Endpoint{{host, election}}}
}

func TestKindOf(t *testing.T) {
	c := ParseConfig([]byte("clientPort=10245\nsecureClientPort=2281\nadmin.serverPort=8081\n" +
		"server.1=192.0.2.1:2888:3888\nserver.2=192.0.2.2:2889:3889\nserver.3=zk3:2890:3890\n"))
	kinds := func() map[uint16]event.PortKind {
		all := map[uint16]event.PortKind{}
		for _, p := range []uint16{10245, 2281, 8080, 8081, 8082, 2888, 3888, 2889, 3889, 40000} {
			if k := c.KindOf(p); k != "" {
				all[p] = k
			}
		}
		return all
	}
	c.adminPort([]string{"java", "-Dzookeeper.admin.serverPort=8082"})
	want := map[uint16]event.PortKind{
		10245: event.PortClient, 2281: event.PortSecureClient, 8081: event.PortAdmin,
		2888: event.PortQuorum, 3888: event.PortElection, 2889: event.PortQuorum, 3889: event.PortElection,
	}
	if d := cmp.Diff(want, kinds()); d != "" {
		t.Error("without myid, every member's ports:", d)
	}
	c.own("1\n")
	c.AdminServerPort = ""
	c.adminPort([]string{"java", "-Dzookeeper.admin.serverPort=8082"})
	want = map[uint16]event.PortKind{
		10245: event.PortClient, 2281: event.PortSecureClient, 8082: event.PortAdmin,
		2888: event.PortQuorum, 3888: event.PortElection,
	}
	if d := cmp.Diff(want, kinds()); d != "" {
		t.Error("its own ports alone:", d)
	}
	c.adminPort([]string{"-Dzookeeper.admin.enableServer=false"})
	if c.Admin != 0 {
		t.Errorf("an admin port %d that is turned off", c.Admin)
	}
	for addr, want := range map[string]event.PortKind{
		"192.0.2.2:2889": event.PortQuorum, "192.0.2.2:3889": event.PortElection,
		"192.0.2.9:2889": "", "192.0.2.9:2890": event.PortQuorum, "192.0.2.2:2181": "",
	} {
		if got := c.KindOfPeer(netip.MustParseAddrPort(addr)); got != want {
			t.Errorf("%s of another member: %q, want %q", addr, got, want)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte("clientPort=2181\nserver.1=h:2888:3888;[::1]:2181\ndataDir=\\u00"))
	f.Add([]byte("secureClientPort : 2281\\\n\\"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c := ParseConfig(text)
		if len(c.Peers) > maxMembers || len(c.Members) > maxMembers || len(c.Ports) > 2 || len(c.Dynamic) > maxPath || len(c.DataDir) > maxPath {
			t.Errorf("unbounded: %d members, %d ports", len(c.Members), len(c.Ports))
		}
		for _, p := range c.Ports {
			if p.Port == 0 {
				t.Error("port 0")
			}
		}
	})
}

func TestServerFromCmdline(t *testing.T) {
	const peer, single = "org.apache.zookeeper.server.quorum.QuorumPeerMain", "org.apache.zookeeper.server.ZooKeeperServerMain"
	tests := []struct {
		name string
		argv []string
		want Location
		ok   bool
	}{
		{"Debian", []string{"/usr/bin/java", "-cp", "/etc/zookeeper/conf:/usr/share/java/zookeeper.jar", "-Dzookeeper.log.dir=/var/log/zookeeper", peer, "/etc/zookeeper/conf/zoo.cfg"}, Location{Path: "/etc/zookeeper/conf/zoo.cfg"}, true},
		{"zkServer.sh", []string{"java", "-Dzookeeper.log.dir=/l", "-server", "-XX:OnOutOfMemoryError=kill -9 %p", "-cp", "a:b", "-Xmx1g", peer, "/opt/zk/bin/../conf/zoo.cfg"}, Location{Path: "/opt/zk/bin/../conf/zoo.cfg"}, true},
		{"module options", []string{"java", "--add-opens", "java.base/java.lang=ALL-UNNAMED", "@args", single, "zoo.cfg"}, Location{Path: "zoo.cfg"}, true},
		{"port and directory", []string{"java", "-cp", "x", single, "2182", "/data", "2000"}, Location{ClientPort: 2182, DataDir: "/data"}, true},
		{"slashes", []string{"java", "org/apache/zookeeper/server/ZooKeeperServerMain", "z"}, Location{Path: "z"}, true},
		{"jsvc", []string{"jsvc.exec", "-user", "zk", "-cp", "x", peer, "/c"}, Location{Path: "/c"}, true},
		{"purge is no server", []string{"java", "-cp", "x", "org.apache.zookeeper.server.PurgeTxnLog", "/data", "/data"}, Location{}, false},
		{"client", []string{"java", "-cp", "x", "org.apache.zookeeper.ZooKeeperMain", "-server", "h:2181"}, Location{}, false},
		{"class as an argument of another", []string{"java", "-cp", "x", "Launcher", peer, "zoo.cfg"}, Location{}, false},
		{"class as class path", []string{"java", "-cp", peer, "Main"}, Location{}, false},
		{"jar", []string{"java", "-jar", "app.jar", peer}, Location{}, false},
		{"grep", []string{"grep", peer, "file"}, Location{}, false},
		{"shell", []string{"sh", "-c", "java " + peer + " zoo.cfg"}, Location{}, false},
		{"nothing", nil, Location{}, false},
		{"kernel thread", []string{""}, Location{}, false},
		{"longer name", []string{"java", peer + "2", "zoo.cfg"}, Location{}, false},
		{"empty arguments", []string{"java", "", "", strings.Repeat("x", 1<<16)}, Location{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := ServerFromCmdline(tt.argv)
			if got != tt.want || ok != tt.ok {
				t.Errorf("got %+v %v, want %+v %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}
