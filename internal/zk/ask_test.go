package zk

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"rstwhy/internal/event"
	"rstwhy/internal/netns"
)

const short = 200 * time.Millisecond

func TestAsk(t *testing.T) {
	srvr, err := os.ReadFile("testdata/answers/3.8.0/all/srvr.txt")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		handle  func(c *net.TCPConn, word string)
		outcome event.Outcome
		version string
	}{
		{"answer and close", answers(t, "3.8.0/default"), event.OutcomeOK, "3.8.0-${mvngit.commit.id}"},
		{"answer in pieces", func(c *net.TCPConn, _ string) {
			for _, b := range srvr[:90] {
				c.Write([]byte{b})
			}
			c.CloseWrite()
		}, event.OutcomeOK, "3.8.0-${mvngit.commit.id}"},
		{"reset behind the answer", func(c *net.TCPConn, _ string) {
			c.Write(srvr)
			c.SetLinger(0)
			c.Close()
		}, event.OutcomeOK, "3.8.0-${mvngit.commit.id}"},
		{"answer, then never closes", func(c *net.TCPConn, _ string) { c.Write(srvr) }, event.OutcomeOK, "3.8.0-${mvngit.commit.id}"},
		{"reset at once", func(c *net.TCPConn, _ string) { c.SetLinger(0); c.Close() }, event.OutcomeReset, ""},
		{"closed at once", func(c *net.TCPConn, _ string) { c.CloseWrite() }, event.OutcomeReset, ""},
		{"silent until our end", func(*net.TCPConn, string) {}, event.OutcomeTLSOnly, ""},
		{"speaks at our end", func(c *net.TCPConn, _ string) {
			io.Copy(io.Discard, c)
			c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			c.CloseWrite()
		}, event.OutcomeNotZooKeeper, ""},
		{"slow", func(c *net.TCPConn, _ string) {
			time.Sleep(short + drainTime/2)
			c.Write(srvr)
			c.CloseWrite()
		}, event.OutcomeOK, "3.8.0-${mvngit.commit.id}"},
		{"stopped", func(*net.TCPConn, string) { time.Sleep(short + drainTime + short) }, event.OutcomeTimeout, ""},
		{"banner and wait", func(c *net.TCPConn, _ string) { c.Write([]byte("220 mail\x1b[31m ESMTP\r\n")) }, event.OutcomeNotZooKeeper, ""},
		{"endless", func(c *net.TCPConn, _ string) {
			for junk := make([]byte, 64<<10); ; {
				if _, err := c.Write(junk); err != nil {
					return
				}
			}
		}, event.OutcomeNotZooKeeper, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := listen(t, "127.0.0.1:0", tt.handle)
			start := time.Now()
			a := Ask(context.Background(), Target{Addr: f.addr}, Srvr, short)
			if a.Outcome != tt.outcome || a.Version != tt.version || a.Detail == "" && a.Outcome != event.OutcomeOK {
				t.Errorf("got %q %q (%s), want %q %q", a.Outcome, a.Version, a.Detail, tt.outcome, tt.version)
			}
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("took %v", took)
			}
			wantHarmless(t, Srvr, a)
			if h := f.heard(); len(h) != 1 || h[0] != "srvr" {
				t.Errorf("the server heard %q", h)
			}
			if tt.name == "endless" {
				return // bounded: it gets a reset in the end
			}
			f.finish(t)
			if f.resets != 0 {
				t.Error("the question reset the server's connection")
			}
		})
	}
}

func TestAskWithoutServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	tests := []struct {
		name    string
		ctx     context.Context
		target  Target
		word    Word
		outcome event.Outcome
	}{
		{"closed port", context.Background(), Target{Addr: closed}, Srvr, event.OutcomeRefused},
		{"cancelled", cancelled, Target{Addr: closed}, Srvr, event.OutcomeDisabled},
		{"zero word", context.Background(), Target{Addr: closed}, Word{}, event.OutcomeDisabled},
		{"port 0", context.Background(), Target{Addr: netip.MustParseAddrPort("127.0.0.1:0")}, Srvr, event.OutcomeUnreachable},
		{"multicast", context.Background(), Target{Addr: netip.MustParseAddrPort("[ff02::1]:2181")}, Srvr, event.OutcomeUnreachable},
		{"broadcast", context.Background(), Target{Addr: netip.MustParseAddrPort("255.255.255.255:2181")}, Srvr, event.OutcomeUnreachable},
		{"unspecified", context.Background(), Target{Addr: netip.MustParseAddrPort("0.0.0.0:2181")}, Srvr, event.OutcomeUnreachable},
		{"no address", context.Background(), Target{}, Srvr, event.OutcomeUnreachable},
		{"unknown namespace", context.Background(), Target{NetNS: 1, Addr: closed}, Srvr, event.OutcomeUnreachable},
		{"namespace of another inode", context.Background(), Target{NetNS: 1, NSPath: "/proc/self/ns/net", Addr: closed}, Srvr, event.OutcomeUnreachable},
		{"no namespace at all", context.Background(), Target{NetNS: 1, NSPath: "/dev/null", Addr: closed}, Srvr, event.OutcomeUnreachable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := Ask(tt.ctx, tt.target, tt.word, short)
			if a.Outcome != tt.outcome || a.Detail == "" {
				t.Errorf("got %q (%s), want %q", a.Outcome, a.Detail, tt.outcome)
			}
		})
	}
}

// A listener whose backlog is full drops the SYN: no answer to the attempt.
func TestAskConnectTimeout(t *testing.T) {
	addr := fullBacklog(t)
	a := Ask(context.Background(), Target{Addr: addr}, Srvr, short)
	if a.Outcome != event.OutcomeTimeout {
		t.Errorf("got %q (%s)", a.Outcome, a.Detail)
	}
}

// The 4-tuple that is registered is the one that the server sees, and it is
// registered before the connection exists.
func TestRegisteredBeforeConnect(t *testing.T) {
	own, err := netns.Own()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		seen := make(chan netip.AddrPort, 1)
		f := listen(t, address, func(c *net.TCPConn, _ string) {
			seen <- c.RemoteAddr().(*net.TCPAddr).AddrPort()
			c.CloseWrite()
		})
		var local, remote netip.AddrPort
		released, ended := false, 0
		d := dialer{timeout: time.Second,
			register: func(l, r netip.AddrPort, ns uint32) func() {
				local, remote = l, r
				if len(f.heard()) != 0 {
					t.Error("connected before it was registered")
				}
				if ns != own {
					t.Errorf("netns %d, want %d", ns, own)
				}
				return func() { released = true }
			},
			ended: func(release func(), gone bool) {
				if ended++; gone {
					t.Error("a connection that the server took is called refused")
				}
				release()
			},
		}
		target := f.addr
		if target.Addr().Is4() {
			target = netip.AddrPortFrom(netip.AddrFrom16(target.Addr().As16()), target.Port()) // v4-mapped
		}
		d.ask(context.Background(), Target{Addr: target}, Ruok)
		if got := <-seen; got != local || remote != f.addr || local.Addr().Is4In6() {
			t.Errorf("registered %v -> %v, the server at %v saw %v", local, remote, f.addr, got)
		}
		if !released || ended != 1 {
			t.Errorf("released %v, %d times", released, ended)
		}
	}
}

// A refused attempt is registered as well: its RST is ours.
func TestRegisteredWhenRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	registered, ended := 0, 0
	d := dialer{timeout: time.Second,
		register: func(_, _ netip.AddrPort, _ uint32) func() { registered++; return func() {} },
		ended: func(_ func(), gone bool) {
			if ended++; !gone {
				t.Error("not told that it was refused")
			}
		},
	}
	d.ask(context.Background(), Target{Addr: addr}, Srvr)
	if registered != 1 || ended != 1 {
		t.Errorf("registered %d, ended %d", registered, ended)
	}
}

func TestPrintable(t *testing.T) {
	for _, tt := range []struct {
		in   string
		n    int
		want string
	}{
		{"plain \"text\"", 40, `plain "text"`},
		{"\x1b[2J\u202ea\xff\n", 40, `\x1b[2J\u202ea\xff\n`},
		{strings.Repeat("a", 50), 10, "aaaaaaa..."},
		{"ééééé", 8, "éé..."},
	} {
		if got := printable(tt.in, tt.n); got != tt.want || len(got) > tt.n {
			t.Errorf("printable(%q, %d) = %q, want %q", tt.in, tt.n, got, tt.want)
		}
	}
	if q := quoted(bytes.Repeat([]byte{0x1b}, 1<<20)); len(q) > maxDetail {
		t.Errorf("quoted: %d bytes", len(q))
	}
}
