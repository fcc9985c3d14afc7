package main

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"rstwhy/internal/owner"
	"rstwhy/internal/pipeline"
	"rstwhy/internal/probe"
	"rstwhy/internal/sink"
)

type traceFlags struct {
	output             string
	addrs              []string
	ports, local, peer []uint
	v4, v6             bool
	sent, received     bool
	selectFlags
	noProbe            bool
	zkPorts            []uint
	count              uint64
	duration           time.Duration
	ready              string
	interval           time.Duration
	record, recordSize string
	recordFiles        uint
	replay             []string
	firewall           bool
	rate               uint32
	debug              bool
}

func newTraceCommand() *cobra.Command {
	var f traceFlags
	c := &cobra.Command{
		Use:   "trace",
		Short: "Print every TCP reset as it happens: the process, the cause, and what to do",
		Long: `trace prints, live, every TCP reset (RST) that this host sends or receives: the
process that owns the connection, why it was reset and, where ZooKeeper is at
either end, the server's version and a verdict. It ends with a summary. SIGUSR1
prints one at once: of the current --interval, which ends with it, or else of
the session so far.

A recording takes at most --record-size times --record-files bytes: FILE, then
FILE.1, FILE.2 and so on, the oldest of which make room. Each can be replayed
alone. No file that exists is ever overwritten. Where a recording cannot be
written, say on a full disk, trace says so at once, goes on without, and ends
with status 1; likewise, at once, where its output is closed.

` + sink.Legend + `
` + filterHelp + `

By itself trace asks a ZooKeeper server for its version (srvr, four bytes) only
when a local process itself connected to it on a --zk-port, or is that server,
and for its configuration (conf) where a verdict turns on maxClientCnxns; each at
most once in five minutes a server and network namespace, and for one address
from all namespaces together at most six times at once and then once a minute;
one connection at a time, and not while this host holds more than 80 % of the
connections that the server allows it. --no-probe turns it off.`,
		Example: `  rstwhy trace                          everything
  rstwhy trace --zk --zk-port 10245     only resets around ZooKeeper
  rstwhy trace -D 443 --received        resets received from port 443
  rstwhy trace --container web          resets on connections of a container
  rstwhy trace --cause '!closed-port'   all but those of port scans
  rstwhy trace -o json --record a.rec   JSON lines, and keep a recording
  rstwhy trace --replay a.rec           print it again, on any machine
  rstwhy trace --interval 1m            a summary every minute, for a long watch`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			// --addr "$UNSET" would mean every address, --record "$UNSET" no file.
			if name := emptyFlag(c); name != "" {
				return usagef("--%s is given without a value", name)
			}
			return f.run(c.OutOrStdout())
		},
	}
	fs := c.Flags()
	fs.SortFlags = false
	fs.StringVarP(&f.output, "output", "o", "text", "format: text or json")
	fs.StringSliceVar(&f.addrs, "addr", nil, "only resets with this address or CIDR at either end (repeatable)")
	fs.UintSliceVarP(&f.ports, "port", "P", nil, "only resets with this port at either end (repeatable, at most 8; likewise the next ones)")
	fs.UintSliceVarP(&f.local, "localport", "L", nil, "only resets with this local port (repeatable)")
	fs.UintSliceVarP(&f.peer, "remoteport", "D", nil, "only resets with this remote port (repeatable)")
	fs.BoolVarP(&f.v4, "ipv4", "4", false, "only IPv4 (v4-mapped counts as IPv4)")
	fs.BoolVarP(&f.v6, "ipv6", "6", false, "only IPv6")
	fs.BoolVar(&f.sent, "sent", false, "only resets that this host sends")
	fs.BoolVar(&f.received, "received", false, "only resets that this host receives")
	f.register(fs)
	fs.UintSliceVar(&f.zkPorts, "zk-port", []uint{2181}, "port that local processes reach ZooKeeper servers on (repeatable)")
	fs.BoolVar(&f.noProbe, "no-probe", false, "never connect to a ZooKeeper server")
	fs.BoolVar(&f.firewall, "firewall", false, "see resets that netfilter rules make (REJECT with tcp-reset); its hook runs for every packet sent")
	fs.Uint32Var(&f.rate, "max-rate", usualRate, "about how many resets a second are told one by one; the rest is counted by kind (0: no limit)")
	fs.Uint64VarP(&f.count, "count", "c", 0, "end after this many resets (0: no limit)")
	fs.DurationVar(&f.duration, "duration", 0, "end after this time (30s, 5m; 0: no limit)")
	fs.DurationVar(&f.interval, "interval", 0, "print a summary of each interval too (1m; at least 1s; 0: none); SIGUSR1 asks for one at once")
	fs.StringVar(&f.record, "record", "", "keep a recording in this new file (mode 0600), then in FILE.1, FILE.2 ...")
	fs.StringVar(&f.recordSize, "record-size", "256M", "bytes of a file of the recording (k, M, G; at least 2M)")
	fs.UintVar(&f.recordFiles, "record-files", 4, "files of the recording that are kept; the oldest make room")
	fs.StringArrayVar(&f.replay, "replay", nil, "print a recording instead of tracing (repeatable: its files, in order)")
	fs.StringVar(&f.ready, "ready-file", "", "create this file once every hook is attached")
	fs.BoolVar(&f.debug, "debug", false, "log what goes on inside, on stderr")
	f.complete(c)
	return c
}

func emptyFlag(c *cobra.Command) string {
	for _, name := range append([]string{"addr", "record", "record-size", "replay", "ready-file"}, selectFlagNames...) {
		if f := c.Flags().Lookup(name); f.Changed && (f.Value.String() == "" || f.Value.String() == "[]") {
			return name
		}
	}
	return ""
}

func (f *traceFlags) run(stdout io.Writer) error {
	opts, err := f.options()
	if err != nil {
		return err
	}
	opts.Explain = f.output == "text"
	opts.Sinks, err = f.sinks(stdout)
	if err != nil {
		return err
	}
	if file, ok := stdout.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		opts.Idle = idleHint
	}
	if len(f.replay) > 0 {
		return f.play(opts)
	}
	if err := f.namespace(&opts); err != nil {
		return err
	}
	if opts.Record, err = f.recorder(); err != nil {
		return err
	}
	ctx, stop := f.signals(&opts)
	defer stop()
	f.boundMemory()
	err = pipeline.Live(ctx, opts)
	if err != nil {
		return withCapabilities(err)
	}
	return nil
}

// namespace refuses names where pids would be taken for others.
func (f *traceFlags) namespace(opts *pipeline.Options) error {
	host, err := owner.InHostPIDNamespace()
	if err != nil {
		return fmt.Errorf("read pid namespace: %w", err)
	}
	if !host {
		opts.NoNames = true
		opts.Warnings = append(opts.Warnings, "processes are not named: "+containerNeeds)
		opts.Log.Warn().Msg("processes are not named: " + containerNeeds)
	}
	return nil
}

func (f *traceFlags) options() (pipeline.Options, error) {
	opts := pipeline.Options{Count: f.count, Duration: f.duration, Interval: f.interval, NoProbe: f.noProbe, Log: newLogger(f.debug)}
	opts.Host = hostName()
	opts.Firewall, opts.Rate = f.firewall, f.rate
	if f.sent && f.received {
		return opts, usagef("--sent and --received exclude each other; without either, both directions are shown")
	}
	if f.v4 && f.v6 {
		return opts, usagef("-4 and -6 exclude each other; without either, both families are shown")
	}
	if f.duration < 0 {
		return opts, usagef("--duration %s is negative", f.duration)
	}
	if f.interval != 0 && f.interval < time.Second {
		return opts, usagef("--interval %s is too short; 1s is the shortest", f.interval)
	}
	opts.Filter = probe.Filter{NoIPv4: f.v6, NoIPv6: f.v4, NoSent: f.received, NoReceived: f.sent}
	for _, s := range f.addrs {
		p, err := parsePrefix(s)
		if err != nil {
			return opts, err
		}
		opts.Filter.Addrs = append(opts.Filter.Addrs, p)
	}
	for _, l := range []struct {
		flag string
		from []uint
		to   *[]uint16
	}{
		{"-P", f.ports, &opts.Filter.Ports}, {"-L", f.local, &opts.Filter.LocalPorts},
		{"-D", f.peer, &opts.Filter.PeerPorts}, {"--zk-port", f.zkPorts, &opts.ZKPorts},
	} {
		for _, n := range l.from {
			if n == 0 || n > 65535 {
				return opts, usagef("%s %d is no port (1 to 65535)", l.flag, n)
			}
			*l.to = append(*l.to, uint16(n))
		}
	}
	if err := opts.Filter.Check(); err != nil {
		return opts, usageError{err}
	}
	var err error
	if opts.Select, err = f.selection(len(f.replay) > 0); err != nil {
		return opts, err
	}
	opts.Ready = f.announce
	return opts, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, usagef("--addr %q is no IP address or CIDR (names are not looked up)", s)
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, usagef("--addr %q is no IP address or CIDR (names are not looked up)", s)
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 { // v4-mapped counts as IPv4
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

func (f *traceFlags) sinks(stdout io.Writer) ([]sink.Sink, error) {
	file, _ := stdout.(*os.File)
	tty := file != nil && term.IsTerminal(int(file.Fd()))
	switch f.output {
	case "json":
		return []sink.Sink{sink.NewJSON(bufio.NewWriterSize(stdout, 64<<10))}, nil
	case "text":
		o := sink.TextOptions{Location: time.Local}
		if tty {
			o.Width = 80 // of a terminal that does not tell, as one on a serial line
			if w, _, err := term.GetSize(int(file.Fd())); err == nil && w > 0 {
				o.Width = w
			}
			o.Color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		}
		return []sink.Sink{sink.NewText(stdout, o)}, nil
	}
	return nil, usagef("--output %q is no format; use text or json", f.output)
}

// idleHint tells a terminal user who has seen nothing that all is well.
func idleHint() {
	fmt.Fprintln(os.Stderr, "rstwhy: watching; no reset so far. To provoke one: curl http://127.0.0.1:1/")
}

func newLogger(debug bool) zerolog.Logger {
	level := zerolog.InfoLevel
	if debug {
		level = zerolog.DebugLevel
	}
	w := zerolog.ConsoleWriter{Out: os.Stderr, NoColor: os.Getenv("NO_COLOR") != "" || !term.IsTerminal(int(os.Stderr.Fd())), TimeFormat: time.TimeOnly}
	return zerolog.New(w).Level(level).With().Timestamp().Logger()
}

// hostName is empty where the kernel does not tell.
func hostName() string {
	h, _ := os.Hostname()
	return strings.ToValidUTF8(h, "\uFFFD")
}
