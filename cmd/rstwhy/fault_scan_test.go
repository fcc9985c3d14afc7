package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"rstwhy/internal/event"
	"rstwhy/internal/lab"
)

// faultScan: two processes of this host scan 6,000 ports each, many times over,
// while a third ends connections with resets of its own. Each of these keeps its
// owner, told or counted, the scanners theirs, and a filter by process finds all
// of its own.
func faultScan(t *testing.T, bin string) {
	const ended = 800
	addr := cliAddr()
	all := cliTrace(t, bin, "-o", "json", "--no-probe")
	mine := cliTrace(t, bin, "-o", "json", "--no-probe", "--pid", fmt.Sprint(os.Getpid()))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var scanners sync.WaitGroup
	var pids []int
	var made [2]lab.LoadResult
	for i := range made {
		l, err := lab.PrepareLoad(ctx, lab.Scan, 3*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		pids = append(pids, l.PID())
		scanners.Go(func() {
			if made[i], err = l.Run(); err != nil {
				t.Error(err)
			}
		})
	}
	for range ended {
		abort(t, addr)
		time.Sleep(3 * time.Millisecond)
	}
	scanners.Wait()
	time.Sleep(1500 * time.Millisecond)

	status, resets, sums := all.finish(t)
	storms := stormsOf(t, all.stdout.Bytes())
	a := exact(t, resets, sums)
	if status != exitOK || a.Lost > 0 {
		t.Errorf("status %d, account %+v\n%s", status, a, &all.stderr)
	}
	told, counted := resetsOf(event.Sent, os.Getpid(), resets, storms)
	if told == 0 || told+counted != ended {
		t.Errorf("%d resets of this process told and %d counted, want %d in all, some of them told", told, counted, ended)
	}
	scanned := uint64(0)
	for i, pid := range pids {
		told, counted := resetsOf(event.Received, pid, resets, storms)
		if told+counted != made[i].Ops {
			t.Errorf("scanner %d: %d of %d refused connects have their owner", pid, told+counted, made[i].Ops)
		}
		scanned += made[i].Ops
	}
	for _, s := range storms {
		if s.Merged {
			t.Errorf("counted without owner: %+v", s)
		}
	}
	t.Logf("%d ports scanned; of %d resets %d told; account %+v", scanned, ended, told, a)

	status, resets, _ = mine.finish(t)
	told, counted = resetsOf(event.Sent, os.Getpid(), resets, stormsOf(t, mine.stdout.Bytes()))
	if status != exitOK || told == 0 || told+counted != ended {
		t.Errorf("--pid: status %d, %d told and %d counted of %d\n%s", status, told, counted, ended, &mine.stderr)
	}
}

// faultFalseReceives: data come to sockets that were shut down both ways, so that
// tcp_receive_reset fires at the server's end without a RST. None may be told or
// counted as received there, however many there are.
func faultFalseReceives(t *testing.T, bin string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, flags := range [][]string{
		{"--max-rate", "2000"}, {"--max-rate", "0"},
		// the filter leaves out the server's end, and with it what was no reset
		{"--max-rate", "200", "-D", fmt.Sprint(lab.LoadPort)},
	} {
		r := cliTrace(t, bin, append([]string{"-o", "json", "--no-probe"}, flags...)...)
		l, err := lab.PrepareLoad(ctx, lab.Shut, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		// An inode number may have been that of another load a moment ago, at whose
		// server RSTs did arrive: of open connections, though.
		ns, cause := netnsOf(t, l.PID()), "peer-reset-after-close"
		made, err := l.Run()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond)
		status, resets, sums := r.finish(t)
		storms := stormsOf(t, r.stdout.Bytes())
		a := exact(t, resets, sums)
		// One for each operation; a further one may be sent to a client that is gone.
		none, sent, received := uint64(0), uint64(0), uint64(0)
		for _, x := range resets {
			if x.NetNS == ns && x.Local.Port == lab.LoadPort && x.Direction == event.Received && x.Cause == cause {
				none++
			}
		}
		for _, x := range resets {
			if x.NetNS == ns && x.Peer.Port == lab.LoadPort && x.Direction == event.Received {
				received++
			}
		}
		for _, s := range storms {
			if s.NetNS == ns && s.RemotePort == lab.LoadPort && s.Direction == event.Received {
				received += s.Count
			}
			if s.NetNS == ns && s.LocalPort == lab.LoadPort && s.Direction == event.Received && s.Cause == cause {
				none += s.Count
			}
			if s.NetNS == ns && s.LocalPort == lab.LoadPort && s.Direction == event.Sent {
				sent += s.Count
			}
		}
		t.Logf("%v: %d RSTs sent, %d counted as sent, %d received, %d at the wrong end; account %+v", flags, made.Resets, sent, received, none, a)
		if status != exitOK || none > 0 || received+a.Lost < made.Ops || len(flags) == 2 && a.Joined < made.Resets-a.Lost {
			t.Errorf("status %d\n%s", status, &r.stderr)
		}
	}
}

// faultPrefork: the listener's process never holds the connections that its
// worker accepted. It may be a candidate for their resets, and not the owner.
func faultPrefork(t *testing.T, bin string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r := cliTrace(t, bin, "-o", "json", "--no-probe", "--max-rate", "20")
	l, err := lab.PrepareLoad(ctx, lab.Prefork, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	made, err := l.Run()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond)
	status, resets, sums := r.finish(t)
	exact(t, resets, sums)
	master, candidate := uint32(l.PID()), uint64(0)
	for _, x := range resets {
		// before accept() it is the listener's
		if x.Direction == event.Received && x.Cause != "peer-reset-before-accept" && x.Local.Port == lab.LoadPort && x.Owner != nil && x.Owner.PID == master {
			t.Fatalf("the listener's process is named: %+v", x)
		}
	}
	for _, s := range stormsOf(t, r.stdout.Bytes()) {
		if s.LocalPort != lab.LoadPort || s.Direction != event.Received || s.Cause == "peer-reset-before-accept" {
			continue
		}
		if s.Owner != nil && s.Owner.PID == master {
			t.Errorf("the listener's process is named: %+v", s)
		}
		if len(s.Others) > 0 && s.Others[0].PID == master {
			candidate += s.Count
		}
	}
	t.Logf("%d resets; %d counted with the listener's process as a candidate", made.Resets, candidate)
	if status != exitOK || candidate == 0 {
		t.Errorf("status %d\n%s", status, &r.stderr)
	}
}

// netnsOf is the inode number of a process's network namespace.
func netnsOf(t *testing.T, pid int) uint32 {
	t.Helper()
	info, err := os.Stat(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		t.Fatal(err)
	}
	return uint32(info.Sys().(*syscall.Stat_t).Ino)
}

// resetsOf counts the resets of one direction that have the process as their
// owner, told one by one and counted.
func resetsOf(d event.Direction, pid int, resets []event.Reset, storms []event.Storm) (told, counted uint64) {
	for _, r := range resets {
		if r.Direction == d && r.Owner != nil && r.Owner.PID == uint32(pid) {
			told++
		}
	}
	for _, s := range storms {
		if s.Direction == d && s.Owner != nil && s.Owner.PID == uint32(pid) {
			counted += s.Count
		}
	}
	return told, counted
}

func stormsOf(t *testing.T, out []byte) (storms []event.Storm) {
	t.Helper()
	for line := range bytes.Lines(out) {
		if !bytes.HasPrefix(line, []byte(`{"type":"storm"`)) {
			continue
		}
		storms = append(storms, event.Storm{})
		if err := json.Unmarshal(line, &storms[len(storms)-1]); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
	}
	return storms
}
