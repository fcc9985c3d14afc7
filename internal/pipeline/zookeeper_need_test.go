package pipeline

import (
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"rstwhy/internal/diagnose"
	"rstwhy/internal/event"
	"rstwhy/internal/zk"
)

// A verdict about the limit has conf asked, once srvr was answered; other
// verdicts and other records have nothing asked.
func TestNeededWords(t *testing.T) {
	for id := range needed {
		if !slices.ContainsFunc(diagnose.Rules(), func(r diagnose.Rule) bool { return r.ID == id }) {
			t.Errorf("no rule %s", id)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan string, 16)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			word := make([]byte, 4)
			io.ReadFull(c, word)
			heard <- string(word)
			if string(word) == "srvr" {
				io.WriteString(c, "Zookeeper version: 3.4.6-1569965, built on x\nMode: follower\n")
			} else {
				io.WriteString(c, "tickTime=2000\nserverId=1\nmaxClientCnxns=10\n")
			}
			c.Close()
		}
	}()
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	s := servers{prober: zk.NewProber(zk.Options{}), finder: &fakeFinder{}}
	defer s.close()
	record := func(rule string) *event.Reset {
		return &event.Reset{Verdict: &event.Verdict{Rule: rule},
			ZooKeeper: &event.ZooKeeper{Server: &event.Server{Address: addr.Addr(), Port: addr.Port()}}}
	}
	s.prober.Want(zk.Target{Addr: addr})
	for _, r := range []*event.Reset{nil, {}, {Verdict: &event.Verdict{Rule: "zookeeper-max-client-connections"}}, record("zookeeper-1702")} {
		s.need(r)
	}
	(&servers{}).need(record("zookeeper-max-client-connections")) // --no-probe
	for _, want := range []string{"srvr", ""} {
		got := ""
		select {
		case got = <-heard:
		case <-time.After(map[string]time.Duration{"srvr": 10 * time.Second, "": 200 * time.Millisecond}[want]):
		}
		if got != want {
			t.Errorf("the server heard %q, want %q", got, want)
		}
	}
	s.need(record("zookeeper-max-client-connections"))
	select {
	case got := <-heard:
		if got != "conf" {
			t.Errorf("the server heard %q, want conf", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("conf was not asked")
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		snap, _ := s.prober.Lookup(zk.Key{Addr: addr})
		if snap.Server.MaxConnections == event.Num(10) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the limit did not arrive: %+v", snap)
		}
	}
}
