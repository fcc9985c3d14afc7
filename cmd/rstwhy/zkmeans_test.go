package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// adminServer serves the pages captured from 3.9.3 and notes what it is asked.
func adminServer(t *testing.T) (port string, asked func() []string) {
	t.Helper()
	var mu sync.Mutex
	var requests []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		requests = append(requests, r.Method+" "+r.RequestURI)
		mu.Unlock()
		http.ServeFile(w, r, "../../internal/zk/testdata/admin/3.9.3/"+filepath.Base(r.URL.Path)+".json")
	}))
	t.Cleanup(s.Close)
	_, port, _ = net.SplitHostPort(s.Listener.Addr().String())
	return port, func() []string { mu.Lock(); defer mu.Unlock(); return requests }
}

// What the whitelist refuses is asked of the AdminServer, and nothing else is.
func TestZKAdmin(t *testing.T) {
	words := map[string]string{"srvr": "Zookeeper version: " + zkDebian + "Mode: leader\n", "ruok": "imok", "envi": "Environment:\nzookeeper.version=" + zkDebian}
	for _, w := range []string{"stat", "mntr", "conf", "isro"} {
		words[w] = w + zkRefuses
	}
	addr, _ := zkListen(t, words)
	port, asked := adminServer(t)
	out, err := zkRun("--admin-port", port, addr)
	for _, want := range []string{"ZooKeeper 3.4.13-6--1", "one client address may have 60 (maxClientCnxns)", "last zxid     0x2",
		"latency       0/13.4/65 ms", "AdminServer   asked on port " + port, "  configuration ok\n", "  is_read_only  ok\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if err != nil || strings.Contains(out, "--admin asks") {
		t.Errorf("%v\n%s", err, out)
	}
	want := []string{"GET /commands/stats", "GET /commands/monitor", "GET /commands/configuration", "GET /commands/is_read_only"}
	if got := asked(); !slices.Equal(got, want) {
		t.Errorf("the AdminServer was asked %q, want %q", got, want)
	}
	if out, err := zkRun(addr); err != nil || len(asked()) != len(want) || !strings.Contains(out, "--admin asks") {
		t.Errorf("without --admin: %v, asked %q\n%s", err, asked(), out)
	}
}

// tlsListen is a server that answers inside TLS, and stays silent to anything
// else.
func tlsListen(t *testing.T) (addr, caFile string, heard func() []string) {
	t.Helper()
	made := httptest.NewTLSServer(nil)
	made.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var words []string
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
				inside := tls.Server(c, &tls.Config{Certificates: made.TLS.Certificates})
				word := make([]byte, 4)
				if _, err := io.ReadFull(inside, word); err != nil {
					return
				}
				mu.Lock()
				words = append(words, string(word))
				mu.Unlock()
				answer := string(word) + zkRefuses
				if string(word) == "srvr" {
					answer = "Zookeeper version: " + zkDebian + "Mode: leader\n"
				}
				io.WriteString(inside, answer)
				inside.CloseWrite()
				io.Copy(io.Discard, c)
			})
		}
	})
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pemOf(made.Certificate()), 0o600); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String(), caFile, func() []string { mu.Lock(); defer mu.Unlock(); return slices.Clone(words) }
}

func pemOf(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func TestZKTLS(t *testing.T) {
	addr, ca, heard := tlsListen(t)
	out, err := zkRun("--timeout", "500ms", addr)
	if !errors.Is(err, errNoVersion) || !strings.Contains(out, "tls-only") || !strings.Contains(out, "ask with --tls") || len(heard()) != 0 {
		t.Errorf("without --tls: %v\n%s", err, out)
	}
	out, err = zkRun("--timeout", "2s", "--tls", addr)
	if !errors.Is(err, errNoVersion) || !strings.Contains(out, "tls-failed") || !strings.Contains(out, "--tls-ca") || len(heard()) != 0 {
		t.Errorf("without trust: %v\n%s", err, out)
	}
	for _, args := range [][]string{{"--tls-ca", ca}, {"--tls-ca", ca, "--tls-server-name", "example.com"}, {"--tls-insecure"}} {
		out, err = zkRun(append(args, "--tls", "--timeout", "2s", addr)...)
		if err != nil || !strings.Contains(out, "ZooKeeper 3.4.13-6--1 (vendor build), leader") || !strings.Contains(out, "the words went inside TLS") {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
	if h := heard(); len(h) != 3*7 {
		t.Errorf("the server heard %q", h)
	}
}

// A port that answers plain text is never sent a TLS hello, which would make
// ZooKeeper reset the connection.
func TestZKTLSOnPlainPort(t *testing.T) {
	addr, heard := zkListen(t, map[string]string{"srvr": "Zookeeper version: " + zkDebian})
	if out, err := zkRun("--tls", addr); err != nil || strings.Contains(out, "inside TLS") {
		t.Errorf("%v\n%s", err, out)
	}
	for _, h := range heard() {
		if len(h) != 4 || strings.ContainsAny(h, "\x16") {
			t.Errorf("the server heard %q", h)
		}
	}
}

// A port that speaks TLS only has an AdminServer that may tell.
func TestZKAdminOfTLSPort(t *testing.T) {
	addr, _, _ := tlsListen(t)
	port, asked := adminServer(t)
	out, err := zkRun("-o", "json", "--timeout", "500ms", "--admin", "--admin-port", port, addr)
	var r struct {
		Version, Outcome string
		Zxid             *string
		Pages            []struct{ Page, Outcome string }
	}
	if err != nil || json.Unmarshal([]byte(out), &r) != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.HasPrefix(r.Version, "3.9.3") || r.Outcome != "tls-only" || r.Zxid == nil || *r.Zxid != "0x2" || len(r.Pages) != 5 || len(asked()) != 5 {
		t.Errorf("got %+v, asked %q", r, asked())
	}
}

// A port that never answers the TLS hello had no word inside TLS; its
// AdminServer may tell.
func TestZKNoAnswerToHello(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	t.Cleanup(func() { l.Close(); wait.Wait() })
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { io.Copy(io.Discard, c); c.Close() })
		}
	})
	port, asked := adminServer(t)
	out, err := zkRun("--timeout", "300ms", "--tls", "--tls-insecure", "--admin-port", port, l.Addr().String())
	if err != nil || !strings.Contains(out, "no answer to the TLS hello") || strings.Contains(out, "inside TLS") || !strings.Contains(out, "ZooKeeper 3.9.3") {
		t.Errorf("%v\n%s", err, out)
	}
	if len(asked()) != 5 {
		t.Errorf("the AdminServer was asked %q", asked())
	}
}

// A server that resets is not asked again and again; one that closes in order
// may be old and know stat.
func TestZKClosing(t *testing.T) {
	addr, heard := zkListen(t, map[string]string{})
	if _, err := zkRun(addr); !errors.Is(err, errNoVersion) {
		t.Error(err)
	}
	if got := heard(); !slices.Equal(got, []string{"srvr", "stat"}) {
		t.Errorf("the server heard %q", got)
	}
}
