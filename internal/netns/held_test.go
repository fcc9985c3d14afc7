package netns

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// Only our own ends of open connections to the endpoint count.
func TestConnections(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		to := l.Addr().(*net.TCPAddr).AddrPort()
		want := func(n int) {
			t.Helper()
			got, whole, err := Connections(0, "", to)
			if got != n || !whole || err != nil {
				t.Errorf("%s: %d connections (%v, %v), want %d", address, got, whole, err, n)
			}
		}
		want(0)
		var clients []net.Conn
		for range 3 {
			c, err := net.Dial("tcp", to.String())
			if err != nil {
				t.Fatal(err)
			}
			s, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			clients = append(clients, c)
		}
		want(3)
		clients[0].(*net.TCPConn).SetLinger(0)
		clients[0].Close() // gone at once
		clients[1].Close() // FIN_WAIT2: the server has not closed
		want(2)
		for _, c := range clients {
			c.Close()
		}
	}
	if _, whole, err := Connections(1, "/proc/self/ns/net", netip.MustParseAddrPort("127.0.0.1:1")); err == nil || whole {
		t.Error("counted in a namespace that does not exist")
	}
}

// Java's sockets are IPv6 with v4-mapped addresses.
func TestProcEndpoints(t *testing.T) {
	for _, tt := range []struct{ to, tcp, tcp6 string }{
		{"127.0.0.1:10245", "0100007F:2805", "0000000000000000FFFF00000100007F:2805"},
		{"[::ffff:127.0.0.1]:10245", "0100007F:2805", "0000000000000000FFFF00000100007F:2805"},
		{"[2001:db8::7]:2181", "", "B80D0120000000000000000007000000:0885"},
	} {
		got := procEndpoints(netip.MustParseAddrPort(tt.to))
		if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 && (got["tcp"] != tt.tcp || got["tcp6"] != tt.tcp6) {
			t.Errorf("%s: %v", tt.to, got)
		}
	}
}

func TestCountHeld(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2805 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:9C40 0100007F:2805 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
   2: 0100007F:2805 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 20 4 30 10 -1
   3: 0100007F:9C41 0100007F:2805 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0
10000: 0100007F:9C42 0100007F:2805 08 00000000:00000000 00:00000000 00000000     0        0 5 1 0 20 4 30 10 -1
`
	if n := countHeld(strings.NewReader(table), "0100007F:2805"); n != 2 {
		t.Errorf("%d, want 2", n)
	}
}
