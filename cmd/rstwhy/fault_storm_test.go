package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"rstwhy/internal/event"
	"rstwhy/internal/lab"
)

// faultRing: the tracer stands still in a storm, so that the ring buffer fills.
// What was lost is counted, to the last hit, and afterwards all is as before.
func faultRing(t *testing.T, bin string) {
	addr := cliAddr()
	r := cliTrace(t, bin, "-o", "json", "--no-probe", "--max-rate", "0", "-P", fmt.Sprint(lab.LoadPort))
	r.freeze(t)
	load, err := lab.RunLoad(context.Background(), lab.Linger, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	r.signal(t, syscall.SIGCONT)
	time.Sleep(1500 * time.Millisecond) // whatever counts storms ends its second
	for range 3 {
		refuse(t, addr, lab.LoadPort)
	}
	time.Sleep(700 * time.Millisecond)
	status, resets, sums := r.finish(t)
	if status != exitOK {
		t.Errorf("status %d\n%s", status, &r.stderr)
	}
	a := exact(t, resets, sums)
	t.Logf("%d resets sent while the tracer stood still: %+v", load.Resets, a)
	if a.Lost != a.LostRing+a.LostRecursion || a.LostRing+a.Aggregated == 0 {
		t.Errorf("a storm of %d resets left no trace: %+v", load.Resets, a)
	}
	// Each reset of the load is sent, and received in the same namespace.
	if told := a.Delivered + a.Joined + a.Aggregated + a.Lost; told < 2*load.Resets {
		t.Errorf("the load made %d resets, both ends here; the account knows of %d: %+v", load.Resets, told, a)
	}
	if got := ofPeer(resets, addr); len(got) != 3 || got[2].Owner == nil || got[2].Owner.PID != uint32(os.Getpid()) {
		t.Errorf("after the storm 3 resets were provoked, %d told", len(got))
	}
}

// faultTombstones: more sockets end uncleanly than the kernel side remembers.
// Whoever left a connection that draws a late reset is then named rightly or not
// at all.
func faultTombstones(t *testing.T, bin string) {
	addr := cliAddr()
	l, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := cliTrace(t, bin, "-o", "json", "--no-probe", "--max-rate", "0", "--addr", addr)
	var peers []net.Conn
	for range 10 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		peers = append(peers, s)
		c.Close() // FIN_WAIT2, and nobody's
	}
	ended := uint64(0)
	for ended < 70000 { // two sockets an operation; the map holds 65536
		load, err := lab.RunLoad(context.Background(), lab.Linger, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if ended += 2 * load.Ops; load.Ops == 0 {
			t.Fatal("the load did nothing")
		}
	}
	for _, s := range peers {
		_, _ = s.Write([]byte("late"))
	}
	time.Sleep(700 * time.Millisecond)
	status, resets, sums := r.finish(t)
	if exact(t, resets, sums); status != exitOK || len(resets) < 2*len(peers) {
		t.Errorf("status %d, %d resets of %d late segments\n%s", status, len(resets), len(peers), &r.stderr)
	}
	named := 0
	for _, x := range resets {
		if x.Owner != nil {
			named++
			if x.Owner.PID != uint32(os.Getpid()) {
				t.Errorf("wrong owner: %+v", x.Owner)
			}
		}
	}
	t.Logf("%d sockets ended, then %d late resets, %d of them with an owner", ended, len(resets), named)
}

// faultSecond: two tracers see the same, and each hides its own questions only.
func faultSecond(t *testing.T, bin string) {
	addr := cliAddr()
	port := closedPort(t, addr)
	a := cliTrace(t, bin, "-o", "json", "--addr", addr, "--zk-port", fmt.Sprint(port))
	b := cliTrace(t, bin, "-o", "json", "--addr", addr, "--zk-port", fmt.Sprint(port))
	for range 5 {
		refuse(t, addr, port)
		abort(t, addr)
	}
	time.Sleep(time.Second)
	var seen [2]map[string]int
	for i, r := range []*cliRun{a, b} {
		other := []*cliRun{b, a}[i]
		status, resets, sums := r.finish(t)
		if exact(t, resets, sums); status != exitOK {
			t.Errorf("status %d\n%s", status, &r.stderr)
		}
		pids := pidsOf(resets)
		if n := pids[uint32(r.cmd.Process.Pid)]; n > 0 {
			t.Errorf("tracer %d tells %d resets of its own questions", i, n)
		}
		delete(pids, uint32(other.cmd.Process.Pid))
		if delete(pids, uint32(os.Getpid())); len(pids) > 0 {
			t.Errorf("tracer %d names processes that did nothing: %v", i, pids)
		}
		seen[i] = map[string]int{}
		for _, x := range resets {
			if x.Owner != nil && x.Owner.PID == uint32(os.Getpid()) {
				seen[i][string(x.Direction)+" "+x.Local.String()+" "+x.Peer.String()]++
			}
		}
	}
	if len(seen[0]) != 15 || fmt.Sprint(seen[0]) != fmt.Sprint(seen[1]) {
		t.Errorf("one saw\n%v\nthe other\n%v", seen[0], seen[1])
	}
}

// faultSummaries: an interval's summary counts the interval, one that is asked
// for begins a new one, and the last one counts everything.
func faultSummaries(t *testing.T, bin string) {
	addr := cliAddr()
	r := cliTrace(t, bin, "-o", "json", "--no-probe", "--max-rate", "0", "--addr", addr, "--interval", "2s")
	began := time.Now()
	sweep(t, addr, 1000, 3)
	time.Sleep(600 * time.Millisecond)
	r.signal(t, syscall.SIGUSR1)
	time.Sleep(200 * time.Millisecond)
	sweep(t, addr, 2000, 4)
	time.Sleep(time.Until(began.Add(2500 * time.Millisecond)))
	status, resets, sums := r.finish(t)
	if status != exitOK || len(resets) != 14 || len(sums) < 3 {
		t.Fatalf("status %d, %d resets, %d summaries\n%s", status, len(resets), len(sums), &r.stderr)
	}
	var got []string
	for i, s := range sums {
		got = append(got, fmt.Sprintf("%s %d", s.Scope, s.Sent))
		if !s.Account.Balanced() || s.Account.Lost > 0 || i > 0 && s.Account.Delivered < sums[i-1].Account.Delivered {
			t.Errorf("account %d: %+v", i, s.Account)
		}
	}
	if got[0] != "interval 3" || got[1] != "interval 4" || got[len(got)-1] != "session 7" {
		t.Errorf("summaries: %q", got)
	}
	if last := sums[len(sums)-1]; last.Scope != event.ScopeSession || last.Account.Delivered != 14 {
		t.Errorf("the last one: %+v", last)
	}
}
