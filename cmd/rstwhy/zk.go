package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
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
	output    string
	timeout   time.Duration
	admin     bool
	adminPort uint16
	tls       zkTLSOptions
}

func newZKCommand() *cobra.Command {
	o := zkOptions{}
	cmd := &cobra.Command{
		Use:   "zk HOST[:PORT]...",
		Short: "Ask ZooKeeper servers for their version and state",
		Long: `Ask ZooKeeper servers for their version and state with the four-letter words
srvr, stat, ruok, envi, mntr, conf and isro, one connection at a time, four
bytes each and no newline (a newline left unread makes the server reset the
connection). No other word can be sent.

With --admin, what the server's whitelist refuses is asked of its AdminServer
(3.5 and later) by HTTP in plain text: the pages stats, monitor, configuration,
environment and is_read_only, and no other; GET is not safe there.

With --tls, a port that stays silent to plain text is asked inside TLS. Trust and
the client's certificate come from PEM files; rstwhy reads no key store.

Exit status 0 if every server told its version, 1 if one did not, 2 for a
mistake on the command line.`,
		Example: `  rstwhy zk zk1.example.org
  rstwhy zk -o json 192.0.2.7:10245 '[2001:db8::7]:2181'
  rstwhy zk --admin zk1.example.org
  rstwhy zk --tls --tls-ca ca.pem --tls-cert me.pem --tls-key me.key zk1.example.org:2281`,
		SilenceUsage: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("no server given: rstwhy zk HOST[:PORT]")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.admin = o.admin || cmd.Flags().Changed("admin-port")
			return runZK(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), o, args)
		},
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "output format: text or json (one object a line)")
	cmd.Flags().DurationVar(&o.timeout, "timeout", zk.DefaultTimeout, "limit of each connection attempt and of each answer")
	cmd.Flags().BoolVar(&o.admin, "admin", false, "ask the AdminServer where the whitelist or TLS keeps the words from telling")
	cmd.Flags().Uint16Var(&o.adminPort, "admin-port", 8080, "port of the AdminServer (admin.serverPort); implies --admin")
	o.tls.flags(cmd.Flags())
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	return cmd
}

func runZK(ctx context.Context, out, log io.Writer, o zkOptions, args []string) error {
	if o.output != "text" && o.output != "json" {
		return usageError{fmt.Errorf("--output %q: want text or json", o.output)}
	}
	if o.timeout < 10*time.Millisecond || o.timeout > time.Minute {
		return usageError{fmt.Errorf("--timeout %v: want 10ms to 1m", o.timeout)}
	}
	if o.adminPort == 0 {
		return usageError{errors.New("--admin-port 0: want 1 to 65535")}
	}
	config, err := o.tls.config()
	if err != nil {
		return usageError{err}
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
		if o.admin && port == o.adminPort {
			return usageError{fmt.Errorf("server %.80q: its port is that of the AdminServer (--admin-port %d), which takes no words: give both ports", arg, port)}
		}
		servers[i] = hostPort{host, port}
	}
	if o.tls.insecure {
		fmt.Fprintln(log, "rstwhy zk: --tls-insecure: no certificate is checked, so anybody on the way can answer in the server's place")
	}
	silent := 0
	for i, s := range servers {
		r := askServer(ctx, o, config, args[i], s.host, s.port)
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

// askServer asks the first address that takes connections.
func askServer(ctx context.Context, o zkOptions, config *tls.Config, target, host string, port uint16) zkReport {
	r := zkReport{Type: "zookeeper", Schema: event.Schema, Host: hostName(), Target: target, Port: port, Words: []zkWord{}, Pages: []zkPage{}}
	addrs, err := addresses(ctx, host, o.timeout)
	if err != nil {
		r.Outcome, r.Detail = event.OutcomeUnreachable, "the name has no address: "+quote(err.Error(), 120)
	}
	if config != nil {
		config = config.Clone()
		if config.ServerName == "" {
			config.ServerName = host
		}
	}
	for _, a := range addrs {
		r.Address, r.Words, r.TLS = a.String(), r.Words[:0], false
		if r.askWords(ctx, zk.Target{Addr: netip.AddrPortFrom(a, port)}, o.timeout, config) {
			if o.admin {
				r.askPages(ctx, zk.Target{Addr: netip.AddrPortFrom(a, o.adminPort)}, o.timeout)
			}
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

// askWords stops where the other words could tell nothing more, or would only
// provoke more resets; false means that there was no connection.
func (r *zkReport) askWords(ctx context.Context, t zk.Target, timeout time.Duration, config *tls.Config) bool {
	for i, w := range zk.Words() {
		if r.saysNotServing() && (w == zk.Stat || w == zk.Mntr || w == zk.Conf) {
			continue // they would say the same
		}
		answer := zk.Answer{Outcome: event.OutcomeTLSOnly}
		if !r.TLS {
			answer = zk.Ask(ctx, t, w, timeout)
		}
		// A TLS hello on a plaintext port would be answered by a reset, so TLS
		// is spoken only where plain text was met by silence.
		if config != nil && answer.Outcome == event.OutcomeTLSOnly {
			r.TLS = true
			answer = zk.AskTLS(ctx, t, w, timeout, config)
		}
		r.Words = append(r.Words, zkWord{w.String(), answer})
		switch answer.Outcome {
		case event.OutcomeRefused, event.OutcomeUnreachable, event.OutcomeTimeout, event.OutcomeDisabled:
			return i > 0 || r.TLS // which came after a connection in plain text
		case event.OutcomeTLSOnly, zk.OutcomeTLSFailed, event.OutcomeNotZooKeeper:
			return true
		case event.OutcomeReset:
			// Releases before 3.3 do not know srvr and close in order; they know stat.
			if !answer.UnknownWord() || w == zk.Stat && r.Words[0].Outcome == event.OutcomeReset {
				return true
			}
		}
	}
	return true
}

func (r *zkReport) saysNotServing() bool {
	return slices.ContainsFunc(r.Words, func(w zkWord) bool { return w.Outcome == event.OutcomeNotServing })
}

// askPages asks for what the words did not tell.
func (r *zkReport) askPages(ctx context.Context, t zk.Target, timeout time.Duration) {
	r.AdminPort = t.Addr.Port()
	for _, p := range zk.Pages() {
		if !r.refused(p) {
			continue
		}
		answer := zk.AskPage(ctx, t, p, timeout)
		r.Pages = append(r.Pages, zkPage{p.String(), answer})
		if answer.Outcome != event.OutcomeOK && answer.Outcome != event.OutcomeNotServing {
			return // the others are no better
		}
	}
}

// inTLS tells whether a word went inside TLS.
func (r *zkReport) inTLS() bool {
	return slices.ContainsFunc(r.Words, func(w zkWord) bool { return w.InsideTLS() })
}

// refused tells whether the whitelist kept back the word that tells what the
// page does, or TLS all words.
func (r *zkReport) refused(p zk.Page) bool {
	word := map[zk.Page]zk.Word{zk.Stats: zk.Stat, zk.Monitor: zk.Mntr, zk.Configuration: zk.Conf,
		zk.Environment: zk.Envi, zk.IsReadOnly: zk.Isro}[p]
	return r.TLS && !r.inTLS() || slices.ContainsFunc(r.Words, func(w zkWord) bool {
		return w.Outcome == event.OutcomeTLSOnly || w.Outcome == zk.OutcomeTLSFailed ||
			w.Outcome == event.OutcomeNotWhitelisted && w.Word == word.String()
	})
}
