package zk

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rstwhy/internal/event"
)

func page(t testing.TB, name string) Page {
	t.Helper()
	for _, p := range Pages() {
		if p.String() == name {
			return p
		}
	}
	t.Fatalf("no page %q", name)
	return Page{}
}

func TestParsePageOfRealServers(t *testing.T) {
	files, err := filepath.Glob("testdata/admin/*/*.json")
	if err != nil || len(files) != 10 {
		t.Fatalf("found %d captured pages, want 10 (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name, release := strings.TrimSuffix(filepath.Base(file), ".json"), filepath.Base(filepath.Dir(file))
			a := ParsePage(page(t, name), text)
			if a.Outcome != event.OutcomeOK || a.Bytes != len(text) {
				t.Errorf("outcome %q (%s)", a.Outcome, a.Detail)
			}
			complete := true
			switch name {
			case "stats":
				complete = a.Zxid == "0x2" && a.ReadOnly != nil && !*a.ReadOnly && a.Nodes == event.Num(5)
			case "monitor":
				complete = a.Rejected == event.Num(0) && a.Nodes == event.Num(5)
			case "configuration":
				complete = a.PerAddress == event.Num(60)
			case "environment":
				complete = a.Java == "17.0.15"
			case "is_read_only":
				complete = a.ReadOnly != nil && !*a.ReadOnly
			}
			if name == "stats" || name == "monitor" {
				complete = complete && a.Mode == "standalone" && a.Connections == event.Num(0) && a.Outstanding == event.Num(0) &&
					a.Latency != nil && a.Latency.MaxMS >= 2 && a.UptimeMS.N > 50000 && a.Received == event.Num(5) && a.Sent == event.Num(6)
			}
			if name != "configuration" && name != "is_read_only" {
				complete = complete && a.Release() == release && a.VendorBuild
			}
			if !complete {
				t.Errorf("incomplete: %+v", a)
			}
		})
	}
}

func TestParsePage(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		page       Page
		outcome    event.Outcome
	}{
		{"not serving", `{"command":"stats","error":"This ZooKeeper instance is not currently serving requests"}`, Stats, event.OutcomeNotServing},
		{"another error", `{"command":"stats","error":"\u001b[31mno"}`, Stats, OutcomeHTTPError},
		{"another page", `{"command":"monitor","version":"3.8.0-1, built on x"}`, Stats, event.OutcomeNotZooKeeper},
		{"an array", `[]`, Stats, event.OutcomeNotZooKeeper},
		{"null", `null`, Stats, event.OutcomeNotZooKeeper},
		{"no JSON", `<html>`, Stats, event.OutcomeNotZooKeeper},
		{"deep", strings.Repeat("[", 20000), Stats, event.OutcomeNotZooKeeper},
		{"no version", `{"command":"stats"}`, Stats, event.OutcomeNotZooKeeper},
		{"other types", `{"command":"stats","version":3,"server_stats":[],"read_only":"x"}`, Stats, event.OutcomeNotZooKeeper},
		{"zero page", `{"command":""}`, Page{}, event.OutcomeNotZooKeeper},
		{"read-only", `{"command":"is_read_only","read_only":true,"error":null}`, IsReadOnly, event.OutcomeOK},
		{"huge numbers", `{"command":"configuration","tick_time":2000,"max_client_cnxns":1e400}`, Configuration, event.OutcomeOK},
	} {
		a := ParsePage(tt.page, []byte(tt.text))
		if a.Outcome != tt.outcome || tt.outcome != event.OutcomeOK && a.Detail == "" {
			t.Errorf("%s: %q (%s), want %q", tt.name, a.Outcome, a.Detail, tt.outcome)
		}
		wantHarmless(t, Conf, a)
	}
}

// serve answers a request, once it is complete, with bytes and closes.
func serve(text string) func(c *net.TCPConn, _ string) {
	return func(c *net.TCPConn, _ string) {
		c.SetReadDeadline(time.Now().Add(time.Second))
		for request := ""; !strings.HasSuffix(request, "\r\n\r\n"); {
			b := make([]byte, 1024)
			n, err := c.Read(b)
			if err != nil {
				break
			}
			request += string(b[:n])
		}
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		c.Write([]byte(text))
		c.CloseWrite()
	}
}

func TestAskPage(t *testing.T) {
	body, err := os.ReadFile("testdata/admin/3.9.3/stats.json")
	if err != nil {
		t.Fatal(err)
	}
	broken, err := os.ReadFile("testdata/admin/3.9.6/stats.html")
	if err != nil {
		t.Fatal(err)
	}
	good := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	for _, tt := range []struct {
		name    string
		handle  func(*net.TCPConn, string)
		outcome event.Outcome
		detail  string
	}{
		{"a page", serve(good), event.OutcomeOK, ""},
		{"chunked", serve(fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)), event.OutcomeOK, ""},
		{"keeps the connection", func(c *net.TCPConn, _ string) { c.Write([]byte(good)) }, event.OutcomeOK, ""},
		{"cut off", serve(good[:len(good)-9]), event.OutcomeTimeout, "cut off"},
		{"broken class path", serve("HTTP/1.1 500 Server Error\r\n\r\n" + string(broken)), OutcomeHTTPError, "status 500"},
		{"redirect", serve("HTTP/1.1 302 Found\r\nLocation: /commands/stat_reset\r\nContent-Length: 0\r\n\r\n"), OutcomeHTTPError, "status 302"},
		{"ZooKeeper's own port", serve(""), event.OutcomeReset, "without a byte"},
		{"no HTTP", serve("SSH-2.0-x\x1b\r\n"), event.OutcomeNotZooKeeper, "SSH"},
		{"silent", func(*net.TCPConn, string) {}, event.OutcomeTimeout, "no answer"},
		{"another server", serve("HTTP/1.0 200 OK\r\n\r\n{}"), event.OutcomeNotZooKeeper, "{}"},
		{"endless header", serve("HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 1<<18)), event.OutcomeNotZooKeeper, "HTTP"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := listen(t, "127.0.0.1:0", tt.handle)
			a := AskPage(context.Background(), Target{Addr: f.addr}, Stats, short)
			if a.Outcome != tt.outcome || !strings.Contains(a.Detail, tt.detail) || tt.outcome != event.OutcomeOK && a.Detail == "" {
				t.Errorf("got %q (%s), want %q", a.Outcome, a.Detail, tt.outcome)
			}
			wantHarmless(t, Stat, a)
			if h := f.heard(); len(h) != 1 {
				t.Errorf("the server heard %q", h)
			}
			if tt.name == "endless header" {
				return // bounded: it may get a reset
			}
			f.finish(t)
			if f.resets != 0 {
				t.Error("the question reset the server's connection")
			}
		})
	}
}

func FuzzPage(f *testing.F) {
	files, _ := filepath.Glob("testdata/admin/*/*.json")
	if len(files) == 0 {
		f.Fatal("no captured pages")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(page(f, strings.TrimSuffix(filepath.Base(file), ".json")).index, text)
	}
	f.Fuzz(func(t *testing.T, i uint8, text []byte) {
		p := Page{i%5 + 1}
		w := Stat
		if p == Configuration || p == IsReadOnly {
			w = Conf // tells no version
		}
		wantHarmless(t, w, ParsePage(p, text))
	})
}

func FuzzPageResponse(f *testing.F) {
	for _, seed := range []string{"", "HTTP/1.1 200 OK\r\n\r\n{}", "HTTP/1.1 302 Found\r\nLocation: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) { wantHarmless(t, Stat, pageAnswer(Stats, text, nil)) })
}
