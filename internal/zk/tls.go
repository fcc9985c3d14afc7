package zk

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
)

// OutcomeTLSFailed is that of AskTLS where the two could not agree on TLS. A
// trace never speaks TLS, so it is none of internal/event's.
const OutcomeTLSFailed event.Outcome = "tls-failed"

// refusalTime is how long a server has to refuse a missing or wrong client
// certificate, or half of the time that is left where that is less: the other
// half is for the answer.
const refusalTime = 500 * time.Millisecond

// AskTLS is Ask inside TLS. A hello of TLS on a plaintext port makes the server
// reset the connection, so ask such a port with Ask before: only one that
// stayed silent (OutcomeTLSOnly) should be asked here.
func AskTLS(ctx context.Context, t Target, w Word, timeout time.Duration, config *tls.Config) Answer {
	d := dialer{timeout: timeout, tls: config}
	return d.ask(ctx, t, w)
}

// secure does the handshake. Where it fails it gives no stream, and leaves
// nothing unread, so that closing resets nothing.
func secure(conn *net.TCPConn, config *tls.Config, end time.Time) (stream, Answer) {
	conn.SetDeadline(end)
	config = config.Clone()
	var asked atomic.Bool
	certificates := config.Certificates
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked.Store(true)
		if len(certificates) == 0 {
			return &tls.Certificate{}, nil
		}
		return &certificates[0], nil
	}
	inside := tls.Client(conn, config)
	err := inside.Handshake()
	// In TLS 1.3 the client is done before the server has looked at its
	// certificate (RFC 8446, section 4.4.2.4). A word sent to a server that is
	// about to refuse it would stay unread there, and be answered by a reset.
	if err == nil && asked.Load() && inside.ConnectionState().Version == tls.VersionTLS13 {
		conn.SetReadDeadline(time.Now().Add(min(refusalTime, time.Until(end)/2)))
		if _, err = inside.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil
		}
	}
	if err == nil {
		return ended{inside, conn}, Answer{}
	}
	drain(conn)
	return nil, tlsFailed(err)
}

// ended is a TLS connection that half-closes both layers: TLS's own end is not
// that of TCP.
type ended struct {
	*tls.Conn
	tcp *net.TCPConn
}

// CloseWrite says goodbye in TLS and in TCP.
func (e ended) CloseWrite() error { return errors.Join(e.Conn.CloseWrite(), e.tcp.CloseWrite()) }

// alerted tells whether the peer sent a TLS alert.
func alerted(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// tlsFailed names the outcome of a handshake that failed. Certificates are the
// server's own bytes.
func tlsFailed(err error) Answer {
	a := Answer{Outcome: OutcomeTLSFailed}
	var header tls.RecordHeaderError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &header):
		a.Detail = "answered the TLS hello with something else: no TLS port"
	case errors.As(err, &certificate):
		a.Detail = "the server's certificate is not accepted: " + certificate.Err.Error()
	case alerted(err):
		a.Detail = "the server ended TLS with an alert: " + err.Error()
	case errors.Is(err, os.ErrDeadlineExceeded):
		a.Outcome, a.Detail = event.OutcomeTimeout, "no answer to the TLS hello"
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		a.Detail = "the server closed the connection within the TLS handshake, as one with a broken key store does"
	default:
		a.Detail = fmt.Sprintf("the TLS handshake failed: %v", err)
	}
	a.Detail = printable(a.Detail, maxDetail)
	return a
}
