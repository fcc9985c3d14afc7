package zk

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
)

// certificate makes one for zk.example and 127.0.0.1 that is its own authority.
func certificate(t *testing.T, end time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "zk\x1b[31m"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: end, IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{"zk.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// tlsFake is a server that answers srvr inside TLS and closes at once, as
// ZooKeeper does. It tells what its socket saw last.
func tlsFake(t *testing.T, config *tls.Config, answer string) (netip.AddrPort, chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	saw := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		saw <- talkTLS(c.(*net.TCPConn), config, answer)
	}()
	return l.Addr().(*net.TCPAddr).AddrPort(), saw
}

// talkTLS gives an error where the client reset the connection, or sent
// anything beyond its word and TLS's own bytes: a server that has closed would
// have answered that with a reset.
func talkTLS(c *net.TCPConn, config *tls.Config, answer string) error {
	inside := tls.Server(c, config)
	err := inside.Handshake()
	word := make([]byte, 4)
	if err == nil {
		_, err = io.ReadFull(inside, word)
	}
	if err == nil {
		io.WriteString(inside, answer)
		inside.CloseWrite() // the alert
	}
	c.CloseWrite()
	rest, end := io.ReadAll(c)
	switch {
	case errors.Is(end, unix.ECONNRESET):
		return errors.New("the client reset the connection")
	case err == nil && len(rest) > 0:
		return errors.New("the client sent more after the server's end")
	case err == nil && string(word) != "srvr":
		return errors.New("the client sent " + string(word))
	}
	return nil
}

func TestAskTLS(t *testing.T) {
	good, pool := certificate(t, time.Now().Add(time.Hour))
	old, oldPool := certificate(t, time.Now().Add(-time.Minute))
	text, err := os.ReadFile("testdata/answers/3.9.3/all/srvr.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name           string
		server, client *tls.Config
		outcome        event.Outcome
		detail         string
	}{
		{"trusted", &tls.Config{Certificates: []tls.Certificate{good}}, &tls.Config{RootCAs: pool, ServerName: "zk.example"}, event.OutcomeOK, ""},
		{"by address", &tls.Config{Certificates: []tls.Certificate{good}}, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}, event.OutcomeOK, ""},
		{"TLS 1.2", &tls.Config{Certificates: []tls.Certificate{good}, MaxVersion: tls.VersionTLS12}, &tls.Config{RootCAs: pool, ServerName: "zk.example"}, event.OutcomeOK, ""},
		{"insecure", &tls.Config{Certificates: []tls.Certificate{old}}, &tls.Config{InsecureSkipVerify: true}, event.OutcomeOK, ""},
		{"unknown authority", &tls.Config{Certificates: []tls.Certificate{good}}, &tls.Config{RootCAs: oldPool, ServerName: "zk.example"}, OutcomeTLSFailed, "not accepted"},
		{"another name", &tls.Config{Certificates: []tls.Certificate{good}}, &tls.Config{RootCAs: pool, ServerName: "other.example"}, OutcomeTLSFailed, "other.example"},
		{"expired", &tls.Config{Certificates: []tls.Certificate{old}}, &tls.Config{RootCAs: oldPool, ServerName: "zk.example"}, OutcomeTLSFailed, "expired"},
		{"client certificate", &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool},
			&tls.Config{RootCAs: pool, ServerName: "zk.example", Certificates: []tls.Certificate{good}}, event.OutcomeOK, ""},
		{"client certificate only asked for", &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequestClientCert},
			&tls.Config{RootCAs: pool, ServerName: "zk.example"}, event.OutcomeOK, ""},
		{"no client certificate", &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert},
			&tls.Config{RootCAs: pool, ServerName: "zk.example"}, OutcomeTLSFailed, "certificate required"},
		{"no client certificate, TLS 1.2", &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12},
			&tls.Config{RootCAs: pool, ServerName: "zk.example"}, OutcomeTLSFailed, "alert"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr, saw := tlsFake(t, tt.server, string(text))
			a := AskTLS(context.Background(), Target{Addr: addr}, Srvr, 2*time.Second, tt.client)
			if a.Outcome != tt.outcome || !strings.Contains(a.Detail, tt.detail) || (tt.outcome == event.OutcomeOK) != (a.Release() == "3.9.3") {
				t.Errorf("got %q %q (%s), want %q", a.Outcome, a.Version, a.Detail, tt.outcome)
			}
			wantHarmless(t, Srvr, a)
			if err := <-saw; err != nil {
				t.Error(err)
			}
		})
	}
}

// The time in which a server may refuse a certificate leaves some for the answer.
func TestAskTLSInLittleTime(t *testing.T) {
	good, pool := certificate(t, time.Now().Add(time.Hour))
	var a Answer
	for range 20 { // on a busy machine it may take longer
		addr, saw := tlsFake(t, &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool},
			"Zookeeper version: 3.9.3-x, built on y\nMode: leader\n")
		a = AskTLS(context.Background(), Target{Addr: addr}, Srvr, refusalTime,
			&tls.Config{RootCAs: pool, ServerName: "zk.example", Certificates: []tls.Certificate{good}})
		if err := <-saw; err != nil {
			t.Error(err)
		}
		if a.Outcome == event.OutcomeOK && a.InsideTLS() {
			return
		}
	}
	t.Errorf("never answered; the last time %q (%s)", a.Outcome, a.Detail)
}

func TestAskTLSOfOthers(t *testing.T) {
	for _, tt := range []struct {
		name    string
		handle  func(c *net.TCPConn, _ string)
		outcome event.Outcome
	}{
		{"plain text", func(c *net.TCPConn, _ string) { c.Write([]byte("220 mail ESMTP\r\n")); c.CloseWrite() }, OutcomeTLSFailed},
		{"closes", func(c *net.TCPConn, _ string) { c.CloseWrite() }, OutcomeTLSFailed},
		{"resets", func(c *net.TCPConn, _ string) { c.SetLinger(0); c.Close() }, OutcomeTLSFailed},
		{"silent", func(*net.TCPConn, string) {}, event.OutcomeTimeout},
	} {
		f := listen(t, "127.0.0.1:0", tt.handle)
		a := AskTLS(context.Background(), Target{Addr: f.addr}, Srvr, short, &tls.Config{InsecureSkipVerify: true})
		if a.Outcome != tt.outcome || a.Detail == "" || a.InsideTLS() {
			t.Errorf("%s: got %q (%s), want %q", tt.name, a.Outcome, a.Detail, tt.outcome)
		}
		wantHarmless(t, Srvr, a)
		f.finish(t)
		if f.resets != 0 {
			t.Errorf("%s: the question reset the server's connection", tt.name)
		}
	}
}
