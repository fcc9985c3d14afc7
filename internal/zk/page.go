package zk

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
)

// OutcomeHTTPError is that of AskPage where an HTTP server answered with
// something else than the page. A trace asks no AdminServer, so it is none of
// internal/event's.
const OutcomeHTTPError event.Outcome = "http-error"

// Page is one of the AdminServer's pages that this package can ask for. GET is
// not safe there (stat_reset and set_trace_mask act on it), so this list is
// closed as that of the words is.
type Page struct {
	index uint8
}

// The pages, none of which changes anything.
var (
	Stats         = Page{1}
	Monitor       = Page{2}
	Configuration = Page{3}
	Environment   = Page{4}
	IsReadOnly    = Page{5}
)

var pages = [...]string{"", "stats", "monitor", "configuration", "environment", "is_read_only"}

// Pages gives every page.
func Pages() []Page { return []Page{Stats, Monitor, Configuration, Environment, IsReadOnly} }

// String gives the page's name, or nothing for the zero Page.
func (p Page) String() string {
	if int(p.index) >= len(pages) {
		return ""
	}
	return pages[p.index]
}

// AskPage asks a server's AdminServer for one page, by HTTP in plain text on a
// connection of its own. It follows no redirect. timeout is that of Ask.
func AskPage(ctx context.Context, t Target, p Page, timeout time.Duration) Answer {
	d := dialer{timeout: timeout}
	name := p.String()
	if name == "" {
		return Answer{Outcome: event.OutcomeDisabled, Detail: "no such page"}
	}
	host := netip.AddrPortFrom(unmap(t.Addr).Addr().WithZone(""), t.Addr.Port())
	request := "GET /commands/" + name + " HTTP/1.1\r\nHost: " + host.String() +
		"\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
	return d.over(ctx, t, func(conn *net.TCPConn, end time.Time) Answer {
		conn.SetDeadline(end)
		_, err := conn.Write([]byte(request))
		text, readErr := io.ReadAll(io.LimitReader(conn, maxAnswer))
		if readErr != nil {
			err = readErr
		}
		if err != nil || len(text) == maxAnswer {
			drain(conn)
		}
		return pageAnswer(p, text, err)
	})
}

// pageAnswer judges what came back until the end of the connection, or until
// an error; a server that keeps the connection open has answered all the same.
func pageAnswer(p Page, text []byte, err error) Answer {
	switch {
	case len(text) == 0 && errors.Is(err, os.ErrDeadlineExceeded):
		return Answer{Outcome: event.OutcomeTimeout, Detail: "connected, but no answer to the HTTP request"}
	case len(text) == 0 && (err == nil || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)):
		return Answer{Outcome: event.OutcomeReset, Detail: "closed without a byte of answer"}
	case len(text) == 0:
		return connectFailed(err)
	}
	response, bad := http.ReadResponse(bufio.NewReader(bytes.NewReader(text)), nil)
	if bad != nil {
		a := Answer{Bytes: len(text)}
		a.foreign(text)
		return a
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return Answer{Outcome: OutcomeHTTPError, Bytes: len(text), Detail: fmt.Sprintf(
			"HTTP status %d in place of /commands/%s", response.StatusCode, p)}
	}
	body, bad := io.ReadAll(response.Body)
	if bad != nil {
		return Answer{Outcome: event.OutcomeTimeout, Bytes: len(text), Detail: "the page was cut off"}
	}
	return ParsePage(p, body)
}
