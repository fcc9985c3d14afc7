package zk

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"rstwhy/internal/event"
	"rstwhy/internal/netns"
)

func dead(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 7, byte(i >> 8), byte(i)}), 1)
}

// A process that connects to 200 dead addresses does not keep another waiting,
// not even where it named the other's server first.
func TestQueueIsFair(t *testing.T) {
	own, err := netns.Own()
	if err != nil {
		t.Fatal(err)
	}
	begun, full := make(chan bool, 1), make(chan bool)
	gate := listen(t, "127.0.0.1:0", func(c *net.TCPConn, _ string) { begun <- true; <-full; c.Write([]byte("x\n")); c.CloseWrite() })
	live := listen(t, "127.0.0.1:0", answers(t, "3.4.13/default"))
	p := NewProber(Options{Timeout: 5 * time.Second})
	defer p.Close()
	greedy := Target{NetNS: own, NSPath: "/proc/self/ns/net"}
	want := func(by Target, addr netip.AddrPort) { by.Addr = addr; p.Want(by) }
	want(greedy, gate.addr)
	<-begun
	for i := range 200 {
		want(greedy, dead(i))
		if i == 190 {
			want(greedy, live.addr)
		}
	}
	for range 3 {
		want(Target{NetNS: own, NSPath: "/proc/thread-self/ns/net"}, live.addr)
	}
	close(full)
	next(t, p) // the gate
	one, two := next(t, p), next(t, p)
	if one.Outcome != event.OutcomeOK && two.Outcome != event.OutcomeOK {
		t.Errorf("%v (%s) and %v (%s) came before %v", one.Key.Addr, one.Outcome, two.Key.Addr, two.Outcome, live.addr)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.queue.size > maxWaiting || len(p.servers) > maxWaiting+10 {
		t.Errorf("%d questions of one process wait, %d servers are remembered", p.queue.size, len(p.servers))
	}
	queued := 0
	for _, s := range p.servers {
		for _, a := range s.asking {
			queued += a.queued
		}
	}
	if queued != p.queue.size {
		t.Errorf("%d questions are marked as waiting, %d wait", queued, p.queue.size)
	}
	if h := live.heard(); len(h) != 1 {
		t.Errorf("the server that two processes wanted heard %q", h)
	}
}

func TestQueue(t *testing.T) {
	u := queue{lines: map[requester][]question{}}
	push := func(path string, i int) (*question, bool) {
		return u.push(question{Target{NSPath: path, Addr: dead(i)}, Srvr})
	}
	for i := range maxWaiting {
		push("a", i)
	}
	if _, ok := push("a", 3); ok {
		t.Error("one question waits twice")
	}
	if d, ok := push("a", maxWaiting); !ok || d == nil || d.target.Addr != dead(0) {
		t.Errorf("the oldest did not make room for the newest: %v", d)
	}
	push("b", 1)
	push("c", 1)
	var got string
	for range 6 {
		q, _ := u.pop()
		got += fmt.Sprintf("%s%d ", q.target.NSPath, q.target.Addr.Addr().As4()[3])
	}
	if want := "a1 b1 c1 a2 a3 a4 "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for i := range 2 * maxServers {
		push(fmt.Sprint(i), 9)
	}
	n := 0
	for _, ok := u.pop(); ok; _, ok = u.pop() {
		n++
	}
	if n != maxServers || u.size != 0 || len(u.lines) != 0 {
		t.Errorf("%d questions waited; of none are left %d in %d lines", n, u.size, len(u.lines))
	}
}
