package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"rstwhy/internal/probe"
)

// TestVersion compares both forms with each other and with what made this test.
func TestVersion(t *testing.T) {
	var text, encoded strings.Builder
	if err := writeVersion(&text, "text"); err != nil {
		t.Fatal(err)
	}
	if err := writeVersion(&encoded, "json"); err != nil {
		t.Fatal(err)
	}
	var b buildInfo
	if err := json.Unmarshal([]byte(encoded.String()), &b); err != nil {
		t.Fatalf("decode %q: %v", encoded.String(), err)
	}
	hash, size := probe.LayoutID()
	if b.Go != runtime.Version() || b.Arch != runtime.GOARCH || b.Record != (recordLayout{hash, size}) || len(hash) != 12 {
		t.Errorf("got %+v, want %s, %s and layout %q of %d bytes", b, runtime.Version(), runtime.GOARCH, hash, size)
	}
	if text.String() != b.text() {
		t.Errorf("text and JSON differ:\n%s%s", text.String(), b.text())
	}
}

// TestAnnounce is what systemd waits for before `systemctl start` returns.
func TestAnnounce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	f := traceFlags{ready: filepath.Join(dir, "ready")}
	if err := f.announce(); err != nil {
		t.Fatal(err)
	}
	if err := l.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 100)
	n, err := l.Read(said)
	if err != nil || string(said[:n]) != "READY=1" {
		t.Errorf("systemd was told %q (%v), want READY=1", said[:n], err)
	}
	if _, err := os.Stat(f.ready); err != nil {
		t.Errorf("the ready file: %v", err)
	}
	if v, ok := os.LookupEnv("NOTIFY_SOCKET"); ok {
		t.Errorf("NOTIFY_SOCKET is still %q", v)
	}

	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "nobody"))
	if err := f.announce(); err == nil || !strings.Contains(err.Error(), "systemd") {
		t.Errorf("with nobody at the socket: %v, want an error that names systemd", err)
	}
}
