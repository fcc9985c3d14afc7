package zk

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseConfig(t *testing.T) {
	tests := []struct {
		name, text string
		want       Config
	}{
		{"plain", "# comment\ntickTime=2000\ndataDir=/var/lib/zookeeper\nclientPort=10245\n",
			Config{Ports: []ClientPort{{Port: 10245}}, DataDir: "/var/lib/zookeeper"}},
		{"3.4 members have no client port", "clientPort = 2181\nserver.1=zk1:2888:3888\nserver.2=zk2:2888:3888:observer\n",
			Config{Ports: []ClientPort{{Port: 2181}}}},
		{"addresses and TLS", "clientPort: 2181\nclientPortAddress 10.0.0.1\nsecureClientPort=2281\nsecureClientPortAddress=::1\r\n",
			Config{Ports: []ClientPort{{Address: "10.0.0.1", Port: 2181}, {Address: "::1", Port: 2281, Secure: true}}}},
		{"rewritten by 3.5+", "dataDir=/data\ndynamicConfigFile=/conf/zoo.cfg.dynamic.100000000\n",
			Config{Dynamic: "/conf/zoo.cfg.dynamic.100000000", DataDir: "/data"}},
		{"dynamic lines", "server.1=h1:2888:3888:participant;0.0.0.0:2181\nserver.2=h2:2888:3888;2182\n" +
			"server.3=a:2888:3888|b:2889:3889:observer;[2001:db8::3]:2183\nversion=100000000\n",
			Config{Members: map[int64]ClientPort{1: {Address: "0.0.0.0", Port: 2181}, 2: {Port: 2182}, 3: {Address: "2001:db8::3", Port: 2183}}}},
		{"later wins, continued, escaped", "clientPort=1\nclientPort=\\\n   21\\\n   81\ndataDir=C\\:\\\\data\\u0041\n",
			Config{Ports: []ClientPort{{Port: 2181}}, DataDir: `C:\dataA`}},
		{"comment does not continue", "# clientPort=1 \\\nclientPort=2181", Config{Ports: []ClientPort{{Port: 2181}}}},
		{"nonsense ports", "clientPort=65536\nsecureClientPort=-1\nserver.1=h:1:2;x\nserver.x=h:1:2;2181\n", Config{}},
		{"port 0 is not configured", "clientPort=0\n", Config{}},
		{"nothing", "", Config{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want.Members == nil {
				tt.want.Members = map[int64]ClientPort{}
			}
			if d := cmp.Diff(tt.want, ParseConfig([]byte(tt.text))); d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte("clientPort=2181\nserver.1=h:2888:3888;[::1]:2181\ndataDir=\\u00"))
	f.Add([]byte("secureClientPort : 2281\\\n\\"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c := ParseConfig(text)
		if len(c.Members) > maxMembers || len(c.Ports) > 2 || len(c.Dynamic) > maxPath || len(c.DataDir) > maxPath {
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
