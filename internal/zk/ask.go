package zk

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
	"rstwhy/internal/netns"
)

const (
	// DefaultTimeout bounds the connection attempt, and again the answer.
	DefaultTimeout = 2500 * time.Millisecond

	maxAnswer = 1 << 20 // kept of an answer; stat grows with the clients
	maxDrain  = 4 << 20 // read beyond it, so that close() leaves nothing unread
	drainTime = 500 * time.Millisecond
)

// Target is a server as one network namespace sees it.
type Target struct {
	NetNS  uint32         // inode of the namespace; 0 is this process's own
	NSPath string         // /proc/PID/ns/net of a process in it; may be empty for the own one
	Addr   netip.AddrPort // numeric: nothing here ever looks a name up
}

// Ask sends one word to one server on a connection of its own and waits for
// the answer. timeout bounds the connection attempt and the answer, each; zero
// means DefaultTimeout.
func Ask(ctx context.Context, t Target, w Word, timeout time.Duration) Answer {
	d := dialer{timeout: timeout}
	return d.ask(ctx, t, w)
}

// dialer asks, and has each of its connections registered before the first
// packet leaves.
type dialer struct {
	timeout  time.Duration
	whole    bool        // the timeout is that of the whole question
	tls      *tls.Config // nil: plain text
	register func(local, remote netip.AddrPort, netns uint32) (release func())
	// ended takes over the release of a connection that ended; gone: the server
	// refused it.
	ended func(release func(), gone bool)
}

func (d *dialer) limit() time.Duration {
	if d.timeout <= 0 {
		return DefaultTimeout
	}
	return d.timeout
}

func (d *dialer) ask(ctx context.Context, t Target, w Word) Answer {
	word := w.String()
	if len(word) != 4 {
		return Answer{Outcome: event.OutcomeDisabled, Detail: "no such four-letter word"}
	}
	return d.over(ctx, t, func(conn *net.TCPConn, end time.Time) Answer {
		if d.tls == nil {
			return exchange(conn, w, word, end)
		}
		inside, refused := secure(conn, d.tls, end)
		if inside == nil {
			return refused
		}
		a := exchange(inside, w, word, end)
		a.insideTLS = true
		return a
	})
}

// over connects to the server and has talk use the connection until the time
// that it is given.
func (d *dialer) over(ctx context.Context, t Target, talk func(conn *net.TCPConn, end time.Time) Answer) Answer {
	t.Addr = unmap(t.Addr)
	if why := unaskable(t.Addr); why != "" {
		return Answer{Outcome: event.OutcomeUnreachable, Detail: why}
	}
	end := time.Now().Add(d.limit())
	conn, done, err := d.dial(ctx, t)
	defer done()
	if err != nil {
		return connectFailed(err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if !d.whole {
		end = time.Now().Add(d.limit())
	}
	a := talk(conn, end)
	if ctx.Err() != nil {
		return connectFailed(context.Canceled)
	}
	return a
}

// stream is what a word goes over: TCP, or TLS above it.
type stream interface {
	net.Conn
	CloseWrite() error
}

// exchange writes the four bytes and reads to the end of the answer.
func exchange(conn stream, w Word, word string, end time.Time) Answer {
	start := time.Now()
	conn.SetDeadline(end)
	_, err := conn.Write([]byte(word))
	text, readErr := io.ReadAll(io.LimitReader(conn, maxAnswer))
	if readErr != nil {
		err = readErr
	}
	if len(text) > 0 {
		// Where the server has closed there is nothing to read, and TLS's
		// goodbye would be answered by a reset.
		if errors.Is(err, os.ErrDeadlineExceeded) || len(text) == maxAnswer {
			drain(conn)
		}
		return partial(ParseAnswer(w, text), text, err)
	}
	switch {
	case err == nil:
		return ParseAnswer(w, nil)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return silent(conn, w, time.Since(start).Round(10*time.Millisecond))
	case errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE):
		return Answer{Outcome: event.OutcomeReset, Detail: "reset without a byte of answer"}
	case alerted(err):
		return tlsFailed(err)
	}
	return connectFailed(err)
}

// partial judges an answer whose end is an error: servers before 3.5 may reset
// behind a complete answer, and some stall in the middle of one.
func partial(a Answer, text []byte, err error) Answer {
	if err == nil || a.Outcome != event.OutcomeNotZooKeeper {
		return a
	}
	ours := func(whole string) bool { return begins(text, whole) }
	if slices.ContainsFunc(beginnings, ours) {
		return Answer{Outcome: event.OutcomeTimeout, Detail: "began to answer as ZooKeeper does, and was cut off", Bytes: a.Bytes}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		a.Detail += ", and the connection stays open"
	}
	return a
}

// beginnings of what ZooKeeper answers.
var beginnings = []string{"Zookeeper version: ", notServing, keeperVersion, "Environment:\n", "zk_version\t", "clientPort="}

// begins: the one is the beginning of the other.
func begins(text []byte, whole string) bool {
	n := min(len(text), len(whole))
	return string(text[:n]) == whole[:n]
}

// silent tells a port that waits for more than four bytes, as TLS does (a TLS
// record header has five), from a process that does not run: the former closes
// when it sees the end of our side, the latter does nothing. Some speak only
// then. A server that waits for a whole line closes alike: only a TLS hello
// could tell it from TLS, and a hello makes servers of plain text reset.
func silent(conn stream, w Word, waited time.Duration) Answer {
	conn.CloseWrite()
	conn.SetDeadline(time.Now().Add(drainTime))
	text, err := io.ReadAll(io.LimitReader(conn, maxAnswer))
	_, plain := conn.(*net.TCPConn)
	switch {
	case len(text) > 0:
		if err != nil || len(text) == maxAnswer {
			drain(conn)
		}
		return partial(ParseAnswer(w, text), text, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Answer{Outcome: event.OutcomeTimeout, Detail: fmt.Sprintf(
			"connected, but no answer in %v and no reaction to our end: stopped, overloaded or cut off", waited)}
	case !plain:
		return Answer{Outcome: event.OutcomeTimeout, Detail: fmt.Sprintf("spoke TLS, but gave no answer in %v", waited)}
	}
	return Answer{Outcome: event.OutcomeTLSOnly, Detail: fmt.Sprintf(
		"took the four bytes and stayed silent for %v until our end, as a TLS port does (or any that waits for more)", waited)}
}

// drain reads what is left. Closing with unread data would reset the server
// (RFC 2525, section 2.17).
func drain(conn stream) {
	conn.CloseWrite()
	conn.SetDeadline(time.Now().Add(drainTime))
	io.Copy(io.Discard, io.LimitReader(conn, maxDrain))
}

// connectFailed names the outcome of a connection that did not come about.
func connectFailed(err error) Answer {
	var timeout net.Error
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return Answer{Outcome: event.OutcomeRefused, Detail: "nobody listens there, or a firewall rejects"}
	case errors.Is(err, unix.ECONNRESET):
		return Answer{Outcome: event.OutcomeReset, Detail: "reset while connecting"}
	case errors.Is(err, netns.ErrEnter):
		return Answer{Outcome: event.OutcomeUnreachable, Detail: printable(err.Error(), maxDetail)}
	case errors.Is(err, context.Canceled):
		return Answer{Outcome: event.OutcomeDisabled, Detail: "the request was cancelled"}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return Answer{Outcome: event.OutcomeTimeout, Detail: "no answer to the connection attempt"}
	}
	return Answer{Outcome: event.OutcomeUnreachable, Detail: printable(reason(err), maxDetail)}
}

// reason is the kernel's word for the failure where there is one; the net
// package's text repeats the addresses around it.
func reason(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// unaskable says why an address can be no server.
func unaskable(a netip.AddrPort) string {
	switch ip := a.Addr(); {
	case !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "not the address of one host"
	case a.Port() == 0:
		return "port 0"
	}
	return ""
}
