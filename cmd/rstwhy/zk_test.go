package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"rstwhy/internal/event"
)

// zkListen answers each word from the table, unknown ones with nothing, and
// gives its address and the words that it heard, one a connection.
func zkListen(t *testing.T, answers map[string]string) (string, func() []string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var words []string
	busy := false
	var wait sync.WaitGroup
	t.Cleanup(func() { l.Close(); wait.Wait() })
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() {
				defer c.Close()
				mu.Lock()
				if busy {
					t.Error("two connections at once")
				}
				busy = true
				mu.Unlock()
				c.SetDeadline(time.Now().Add(5 * time.Second))
				word := make([]byte, 4)
				io.ReadFull(c, word)
				mu.Lock()
				busy = false
				mu.Unlock()
				io.WriteString(c, answers[string(word)])
				c.(*net.TCPConn).CloseWrite()
				rest, _ := io.ReadAll(c)
				mu.Lock()
				words = append(words, string(word)+string(rest))
				mu.Unlock()
			})
		}
	})
	return l.Addr().String(), func() []string {
		l.Close()
		wait.Wait()
		return words
	}
}

// zkRun runs the command and gives its output and error.
func zkRun(args ...string) (string, error) {
	cmd := newZKCommand()
	var out bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	cmd.SilenceErrors = true
	err := cmd.ExecuteContext(context.Background())
	return out.String(), err
}

const (
	zkDebian  = "3.4.13-6--1, built on Sat, 28 Oct 2023 23:16:44 +0200\n"
	zkRefuses = " is not executed because it is not in the whitelist.\n"
	zkIdle    = "This ZooKeeper instance is not currently serving requests\n"
)

func TestZKText(t *testing.T) {
	addr, heard := zkListen(t, map[string]string{
		"srvr": "Zookeeper version: " + zkDebian + "Latency min/avg/max: 0/1/30\nConnections: 7\nOutstanding: 2\nZxid: 0x1f\nMode: follower\n",
		"stat": "stat" + zkRefuses, "ruok": "imok", "isro": "rw", "mntr": "mntr" + zkRefuses,
		"conf": "clientPort=2181\ntickTime=2000\nmaxClientCnxns=60\nserverId=1\n",
		"envi": "Environment:\nzookeeper.version=" + zkDebian + "java.version=17.0.15\n",
	})
	out, err := zkRun(addr)
	if err != nil {
		t.Error(err)
	}
	want := addr + `  ZooKeeper 3.4.13-6--1 (vendor build), follower
  connections   7 of all clients; one client address may have 60 (maxClientCnxns)
  latency       0/1/30 ms (min/avg/max)
  outstanding   2 requests
  last zxid     0x1f
  read-only     no
  srvr          ok
  stat          not-whitelisted  the server's whitelist refuses stat (so it is 3.4.10 or later)
  ruok          ok               imok
  envi          ok               java 17.0.15
  mntr          not-whitelisted  the server's whitelist refuses mntr (so it is 3.4.10 or later)
  conf          ok
  isro          ok
  note          the server's version proves nothing about ZOOKEEPER-1702`
	if !strings.HasPrefix(out, want) || !strings.Contains(out, "Netty client of any version") || !strings.Contains(out, "--admin asks") {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
	// One connection a word: the server's goroutines may note them in another order.
	if got := slices.Sorted(slices.Values(heard())); !slices.Equal(got, []string{"conf", "envi", "isro", "mntr", "ruok", "srvr", "stat"}) {
		t.Errorf("the server heard %q", got)
	}
}

func TestZKNotServing(t *testing.T) {
	addr, heard := zkListen(t, map[string]string{"srvr": zkIdle, "ruok": "imok", "isro": "null",
		"envi": "Environment:\nzookeeper.version=" + zkDebian})
	out, err := zkRun(addr)
	if err != nil || !strings.Contains(out, "ZooKeeper 3.4.13-6--1 (vendor build), not serving\n") {
		t.Errorf("%v\n%s", err, out)
	}
	if got := slices.Sorted(slices.Values(heard())); !slices.Equal(got, []string{"envi", "isro", "ruok", "srvr"}) {
		t.Errorf("the server heard %q", got)
	}
}

func TestZKJSON(t *testing.T) {
	good, _ := zkListen(t, map[string]string{"srvr": "Zookeeper version: " + zkDebian + "Mode: leader\n"})
	evil, _ := zkListen(t, map[string]string{"srvr": "\x1b]0;owned\x07\xff" + strings.Repeat("A", 4<<20)})
	out, err := zkRun("-o", "json", "--timeout", "1s", good, evil)
	if !errors.Is(err, errNoVersion) || errors.As(err, new(usageError)) {
		t.Errorf("error %v, want errNoVersion", err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 || len(out) > 12<<10 || strings.ContainsAny(out, "\x1b\x07") || !utf8.ValidString(out) {
		t.Fatalf("%d lines, %d bytes", len(lines), len(out))
	}
	var r [2]struct {
		Type, Target, Version, Mode, Outcome, Detail string
		Words                                        []map[string]any
	}
	for i, l := range lines {
		if err := json.Unmarshal([]byte(l), &r[i]); err != nil {
			t.Fatal(err)
		}
	}
	if r[0].Type != "zookeeper" || r[0].Target != good || r[0].Version != "3.4.13-6--1" || r[0].Mode != "leader" ||
		r[0].Outcome != string(event.OutcomeOK) || len(r[0].Words) != 7 {
		t.Errorf("got %+v", r[0])
	}
	if r[1].Version != "" || r[1].Outcome != string(event.OutcomeNotZooKeeper) || !strings.Contains(r[1].Detail, `\x1b]0;owned`) {
		t.Errorf("got %+v", r[1])
	}
}

// A server that nobody can reach is asked one word, not four.
func TestZKRefused(t *testing.T) {
	addr, heard := zkListen(t, nil)
	heard()
	out, err := zkRun(addr)
	if !errors.Is(err, errNoVersion) || strings.Count(out, "refused") != 2 || strings.Contains(out, "stat") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestZKUsage(t *testing.T) {
	for _, args := range [][]string{
		{}, {"-o", "yaml", "h"}, {"--timeout", "0s", "h"}, {"--timeout", "x", "h"}, {"--word", "kill", "h"},
		{"--admin-port", "0", "h"}, {"--admin-port", "65536", "h"},
		{"--admin-port", "2181", "h"}, {"--admin", "h:8080"}, {"--admin-port", "7000", "h", "h:7000"}, {"--tls-ca", "/etc/hostname", "h"}, {"--tls", "--tls-cert", "x", "h"},
		{"--tls", "--tls-ca", "/nonexistent", "h"}, {"--tls", "--tls-ca", "/etc/hostname", "h"}, {"--tls-insecure", "h"},
		{"--tls", "--tls-insecure", "--tls-ca", "/etc/hostname", "h"},
		{"h:0"}, {"h:65536"}, {"h:x"}, {":2181"}, {""}, {"a:b:c"}, {"[::1"}, {strings.Repeat("h", 300)},
		{"127.0.0.1:1", "h:\x1b[31m"},
	} {
		out, err := zkRun(args...)
		if !errors.As(err, new(usageError)) || out != "" {
			t.Errorf("%q: error %v, output %q", args, err, out)
		} else if s := err.Error(); strings.Contains(s, "\x1b") || len(s) > 300 {
			t.Errorf("%.40q: error %q", args, s)
		}
	}
}

func TestSplitServer(t *testing.T) {
	for arg, want := range map[string]struct {
		host string
		port uint16
	}{
		"zk1": {"zk1", 2181}, "zk1:10245": {"zk1", 10245}, "192.0.2.7": {"192.0.2.7", 2181},
		"192.0.2.7:1": {"192.0.2.7", 1}, "2001:db8::7": {"2001:db8::7", 2181},
		"[2001:db8::7]": {"2001:db8::7", 2181}, "[2001:db8::7]:65535": {"2001:db8::7", 65535},
	} {
		host, port, err := splitServer(arg)
		if host != want.host || port != want.port || err != nil {
			t.Errorf("%s: %s %d %v", arg, host, port, err)
		}
	}
}

func TestZKName(t *testing.T) {
	addr, _ := zkListen(t, map[string]string{"srvr": "Zookeeper version: " + zkDebian})
	_, port, _ := net.SplitHostPort(addr)
	out, err := zkRun("localhost:" + port)
	if err != nil || !strings.HasPrefix(out, "localhost:"+port+" ("+addr+")  ZooKeeper 3.4.13-6--1") {
		t.Errorf("%v\n%s", err, out)
	}
}
