package zk

import (
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rstwhy/internal/proctree"
)

func TestEndpoints(t *testing.T) {
	root := files(t, map[string]string{
		"etc/kafka/server.properties": "listeners=PLAINTEXT://h:9092\nzookeeper.connect=zk1:10245,zk2:10246/kafka\n",
		"etc/hbase.conf":              "hbase.zookeeper.property.clientPort=2222\n",
		"etc/other.properties":        "bootstrap.servers=k:9092\n",
	})
	const shell = "org.apache.zookeeper.ZooKeeperMain"
	tests := []struct {
		name string
		argv []string
		want []Endpoint
	}{
		{"ZooKeeper's shell", []string{"java", "-cp", "x", shell, "-server", "192.0.2.2:10245"}, []Endpoint{{"192.0.2.2", 10245}}},
		{"-server of another program", []string{"java", "-server", "Main", "-server", "192.0.2.2:10245"}, nil},
		{"property", []string{"java", "-Dapp.zkHosts=[2001:db8::1]:2182,b:2183", "Main"}, []Endpoint{{"2001:db8::1", 2182}, {"b", 2183}}},
		{"option with a value of its own", []string{"java", "Main", "--zookeeper", "zk:2185/x", "zk:1"}, []Endpoint{{"zk", 2185}}},
		{"URL", []string{"main", "--zk=zk://a:2181,b:2182/mesos"}, []Endpoint{{"a", 2181}, {"b", 2182}}},
		{"properties file", []string{"java", "kafka.Kafka", "/etc/kafka/server.properties"}, []Endpoint{{"zk1", 10245}, {"zk2", 10246}}},
		{"port alone", []string{"java", "Main", "--conf=/etc/hbase.conf"}, []Endpoint{{"", 2222}}},
		{"others' servers", []string{"java", "Main", "/etc/other.properties", "--bootstrap-server", "k:9092", "-Dblzkx=k:1"}, nil},
		{"no such file, no such port", []string{"java", "/etc/gone.properties", "--zk", "a:b,c:70000,:1,\x1b:2", "--zk"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree, err := proctree.Open(play(t, root, "/", tt.argv...))
			if err != nil {
				t.Fatal(err)
			}
			defer tree.Close()
			if d := cmp.Diff(tt.want, endpoints(tree, tt.argv)); d != "" {
				t.Error(d)
			}
		})
	}
}

// What is kept keeps neither the file nor the command line that it stands in.
func TestEndpointsAreSmall(t *testing.T) {
	const rounds = 32
	var kept [][]Endpoint
	var configs []Config
	before := heap()
	for range rounds {
		cmdline := strings.Repeat(" ", 256<<10) + "\x00--zk=a:1,b:2," + strings.Repeat("x", maxHost+1) + ":3"
		kept = append(kept, EndpointsOf(strings.Split(cmdline, "\x00")))
		text := "zk" + strings.Repeat(" ", 100<<10) + "= h:2181\nserver.1" + strings.Repeat(" ", 100<<10) + "= h:1:2;h:3\n"
		properties(text, func(key, value string) {
			if aboutZooKeeper(key) {
				kept = append(kept, appendEndpoints(nil, key, value))
			}
		})
		configs = append(configs, ParseConfig([]byte(text)))
	}
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("%d rounds keep %d bytes", rounds, grown)
	}
	if d := cmp.Diff([][]Endpoint{{{"a", 1}, {"b", 2}}, {{"h", 2181}}}, kept[:2]); d != "" || len(kept) != 2*rounds || len(configs[0].Peers) != 1 {
		t.Errorf("%s, %d lists, %+v", d, len(kept), configs[0])
	}
	runtime.KeepAlive(kept)
	runtime.KeepAlive(configs)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestEndpointMatches(t *testing.T) {
	for _, tt := range []struct {
		e    Endpoint
		addr string
		want bool
	}{
		{Endpoint{"192.0.2.2", 2181}, "192.0.2.2:2181", true},
		{Endpoint{"192.0.2.2", 2181}, "[::ffff:192.0.2.2]:2181", true},
		{Endpoint{"192.0.2.2", 2181}, "192.0.2.2:2182", false},
		{Endpoint{"192.0.2.2", 2181}, "192.0.2.3:2181", false},
		{Endpoint{"zk1", 2181}, "192.0.2.3:2181", true},
		{Endpoint{"", 2181}, "192.0.2.3:2181", true},
		{Endpoint{"localhost", 2181}, "192.0.2.3:2181", false},
		{Endpoint{"localhost", 2181}, "[::1]:2181", true},
	} {
		if got := tt.e.Matches(netip.MustParseAddrPort(tt.addr)); got != tt.want {
			t.Errorf("%v and %s: %v", tt.e, tt.addr, got)
		}
	}
}
