package zk

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fake is a listener that notes every byte it receives.
type fake struct {
	net.Listener
	addr netip.AddrPort

	mu       sync.Mutex
	received []string // by connection
	resets   int      // connections on which the peer reset us
	open     int
	most     int // connections at once
}

// listen serves each connection with handle, which gets the first four bytes.
// What comes after handle returned is noted too, until the peer's end.
func listen(t *testing.T, address string, handle func(c *net.TCPConn, word string)) *fake {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{Listener: l, addr: l.Addr().(*net.TCPAddr).AddrPort()}
	var wait sync.WaitGroup
	t.Cleanup(func() { l.Close(); wait.Wait() })
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { f.serve(c.(*net.TCPConn), handle) })
		}
	})
	return f
}

func (f *fake) serve(c *net.TCPConn, handle func(c *net.TCPConn, word string)) {
	defer c.Close()
	f.mu.Lock()
	i := len(f.received)
	f.received = append(f.received, "")
	f.open++
	f.most = max(f.most, f.open)
	f.mu.Unlock()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	word := make([]byte, 4)
	n, _ := io.ReadFull(c, word)
	f.note(i, word[:n])
	handle(c, string(word[:n]))
	rest, err := io.ReadAll(c)
	f.note(i, rest)
	f.mu.Lock()
	if errors.Is(err, unix.ECONNRESET) {
		f.resets++
	}
	f.open--
	f.mu.Unlock()
}

func (f *fake) note(i int, b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.received[i] += string(b)
}

func (f *fake) heard() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.received...)
}

// finish waits until the fake has closed all connections.
func (f *fake) finish(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		f.mu.Lock()
		open := f.open
		f.mu.Unlock()
		if open == 0 {
			return
		}
	}
	t.Fatal("connections are still open")
}

// answers replies with the captured files of a release and closes.
func answers(t *testing.T, dir string) func(c *net.TCPConn, word string) {
	return func(c *net.TCPConn, word string) {
		if text, err := os.ReadFile("testdata/answers/" + dir + "/" + word + ".txt"); err == nil {
			c.Write(text)
		}
		c.CloseWrite()
	}
}
