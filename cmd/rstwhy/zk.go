package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rstwhy/internal/event"
	"rstwhy/internal/zk"
)

// errNoVersion ends rstwhy zk with status 1.
var errNoVersion = errors.New("not every server told its version")

const (
	zkDefaultPort  = "2181"
	zkMaxAddresses = 8 // of one name
)

type zkOptions struct {
	output  string
	timeout time.Duration
}

func newZKCommand() *cobra.Command {
	o := zkOptions{}
	cmd := &cobra.Command{
		Use:   "zk HOST[:PORT]...",
		Short: "Ask ZooKeeper servers for their version and state",
		Long: `Ask ZooKeeper servers for their version and state with the four-letter words
srvr, stat, ruok and envi, one connection at a time, four bytes each and no
newline (a newline left unread makes the server reset the connection). No other
word can be sent.

Exit status 0 if every server told its version, 1 if one did not, 2 for a
mistake on the command line.`,
		Example: `  rstwhy zk zk1.example.org
  rstwhy zk -o json 192.0.2.7:10245 '[2001:db8::7]:2181'`,
		SilenceUsage: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("no server given: rstwhy zk HOST[:PORT]")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return runZK(cmd.Context(), cmd.OutOrStdout(), o, args)
		},
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "output format: text or json (one object a line)")
	cmd.Flags().DurationVar(&o.timeout, "timeout", zk.DefaultTimeout, "limit of each connection attempt and of each answer")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	return cmd
}

func runZK(ctx context.Context, out io.Writer, o zkOptions, args []string) error {
	if o.output != "text" && o.output != "json" {
		return usageError{fmt.Errorf("--output %q: want text or json", o.output)}
	}
	if o.timeout < 10*time.Millisecond || o.timeout > time.Minute {
		return usageError{fmt.Errorf("--timeout %v: want 10ms to 1m", o.timeout)}
	}
	if ctx == nil {
		ctx = context.Background()
	}
	type hostPort struct {
		host string
		port uint16
	}
	servers := make([]hostPort, len(args))
	for i, arg := range args {
		host, port, err := splitServer(arg)
		if err != nil {
			return usageError{err}
		}
		servers[i] = hostPort{host, port}
	}
	silent := 0
	for i, s := range servers {
		r := askServer(ctx, args[i], s.host, s.port, o.timeout)
		if r.Version == "" {
			silent++
		}
		write := r.writeText
		if o.output == "json" {
			write = r.writeJSON
		}
		if err := write(out); err != nil {
			return fmt.Errorf("write the answers: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("stopped: %w", err)
		}
	}
	if silent > 0 {
		return fmt.Errorf("%w: %d of %d did not", errNoVersion, silent, len(args))
	}
	return nil
}

// splitServer reads HOST, HOST:PORT, IPv4:PORT, [IPv6]:PORT or a bare IPv6
// address.
func splitServer(arg string) (string, uint16, error) {
	host, port := arg, zkDefaultPort
	inner, bracket := strings.CutPrefix(arg, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	if bracket && closed {
		host = inner
	} else if a, err := netip.ParseAddr(arg); err == nil {
		host = a.String()
	} else if strings.Contains(arg, ":") {
		if host, port, err = net.SplitHostPort(arg); err != nil {
			return "", 0, fmt.Errorf("server %.80q: want HOST, HOST:PORT or [IPV6]:PORT", arg)
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || n == 0:
		return "", 0, fmt.Errorf("server %.80q: port %.20q is none of 1 to 65535", arg, port)
	case host == "" || len(host) > 253: // RFC 1035, section 2.3.4
		return "", 0, fmt.Errorf("server %.80q: no host before the port", arg)
	}
	return host, uint16(n), nil
}

// askServer asks every word of the first address that takes connections.
func askServer(ctx context.Context, target, host string, port uint16, timeout time.Duration) zkReport {
	r := zkReport{Type: "zookeeper", Schema: event.Schema, Host: hostName(), Target: target, Port: port, Words: []zkWord{}}
	addrs, err := addresses(ctx, host, timeout)
	if err != nil {
		r.Outcome, r.Detail = event.OutcomeUnreachable, "the name has no address: "+quote(err.Error(), 120)
	}
	for _, a := range addrs {
		r.Address, r.Words = a.String(), r.Words[:0]
		if r.askWords(ctx, netip.AddrPortFrom(a, port), timeout) {
			break
		}
	}
	r.conclude()
	return r
}

func addresses(ctx context.Context, host string, timeout time.Duration) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*timeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs[:min(len(addrs), zkMaxAddresses)], err
}

// askWords stops where the other words could tell nothing more; false means
// that there was no connection.
func (r *zkReport) askWords(ctx context.Context, a netip.AddrPort, timeout time.Duration) bool {
	for _, w := range zk.Words() {
		answer := zk.Ask(ctx, zk.Target{Addr: a}, w, timeout)
		r.Words = append(r.Words, zkWord{w.String(), answer})
		switch answer.Outcome {
		case event.OutcomeTLSOnly:
			return true
		case event.OutcomeRefused, event.OutcomeUnreachable, event.OutcomeTimeout, event.OutcomeDisabled:
			return false
		}
	}
	return true
}
