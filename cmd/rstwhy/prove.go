package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"rstwhy/internal/event"
	"rstwhy/internal/lab"
	"rstwhy/internal/owner"
	"rstwhy/internal/pipeline"
	"rstwhy/internal/probe"
	"rstwhy/internal/sink"
)

const (
	// A storm of somebody else's must not hide a proof: the first reset of each
	// kind in a second is told whatever else happens.
	proveRate    = 4000
	proveTime    = 17 * time.Second       // for all scenarios, so that the whole stays under 20 s
	proveStart   = 600 * time.Millisecond // before it, rstwhy says of no RST that nobody here sent it
	proveSettle  = 700 * time.Millisecond
	proveAtOnce  = 6
	proveRecords = 50_000 // resets of the host's other namespaces that may come meanwhile
)

// proofs are the scenarios, the quick ones of those in internal/lab, where each
// cause has at least one. A place of none of the host's own: see proofPlace.
var proofs = []struct {
	id    string
	place lab.Place // empty: any
}{
	{"unread-data/accepted", ""}, {"unread-data/accepted", lab.Veth}, {"killed/accepted", ""}, {"terminated/connected", ""},
	{"segfault/accepted", ""}, {"exit/accepted", ""}, {"close-in-thread/connected", ""}, {"io-uring-close-worker/accepted", ""},
	{"linger-zero/connected", ""}, {"linger-zero/accepted", lab.Veth6}, {"connect-unspec/accepted", ""},
	{"unspec-last-ack/connected", ""}, {"linger2-abort/accepted", ""}, {"linger2-later/accepted", ""}, {"socket-destroyed/accepted", ""},
	{"reset-after-our-fin/accepted", ""}, {"reset-after-eof/accepted", ""}, {"late-data/accepted", ""}, {"late-data/connected", lab.Veth},
	{"late-data-exit/accepted", ""}, {"late-data-orphan/accepted", ""}, {"late-data-gone/accepted", ""}, {"data-after-shutdown/connected", ""},
	{"closed-port", ""}, {"gone-connection", ""}, {"stale-segment", ""}, {"bad-handshake-ack", ""}, {"handshake-syn", ""},
	{"connect-abandoned", ""}, {"backlog-overflow", ""}, {"keepalive-timeout", ""}, {"user-timeout", ""},
	{"listener-closed", ""}, {"listener-killed", ""}, {"listener-destroyed", ""}, {"reset-before-accept", ""},
	{"mptcp-abort", ""}, {"mptcp-linger", ""},
	{"unread-data/fork", ""}, {"unread-data/scm-rights", ""}, {"late-data/spawned-listener", ""}, {"unread-data/pidfd-getfd", ""}, {"unread-data/container", ""},
	{"inbound/request-exact", lab.IPv4}, {"inbound/request-inexact", lab.IPv6}, {"inbound/syn-cookie", lab.IPv4},
	{"inbound/fin-wait2-exact", lab.IPv4}, {"inbound/time-wait-inexact", lab.IPv6}, {"inbound/accepted", lab.IPv6},
	{"inbound/inexact", lab.IPv4}, {"inbound/out-of-window-right", lab.IPv6}, {"inbound/checksum", lab.IPv4}, {"inbound/netfilter-drop", lab.IPv4},
	{"inbound/no-socket", lab.IPv4}, {"inbound/syn-sent", lab.IPv4}, {"inbound/late-burst", lab.IPv4},
	{"reject/input-syn", lab.IPv4}, {"reject/output-data", lab.IPv6}, {"forged-reset", lab.IPv4},
	{"nat/closed-port", lab.IPv4}, {"nat/late-data", lab.IPv6},
}

// unprovable are the causes for which there is no scenario, and why.
var unprovable = map[string]string{
	"orphan-memory": "its limits are the whole host's (tcp_max_orphans, tcp_mem), which a proof must not exhaust",
}

// proofPlace: loopback of a namespace of the lab's; the address families are for
// scenarios that make a namespace themselves. Loopback of the host is never used.
func proofPlace(wish lab.Place) lab.Place {
	if wish != "" {
		return wish
	}
	return lab.Own
}

// proofFilter lets through the addresses of the lab's namespaces, so that the
// host's own resets cost nothing.
func proofFilter() (f probe.Filter) {
	for _, s := range []string{"127.0.0.0/8", "::1/128", "192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32"} {
		f.Addrs = append(f.Addrs, netip.MustParsePrefix(s))
	}
	return f
}

// proof is one run of check --prove.
type proof struct {
	lab    *lab.Lab
	kernel *lab.Kernel
	mu     sync.Mutex
	truths []lab.Truth
	time   time.Duration     // for all scenarios
	left   map[string]string // scenario: why it cannot be run here
	late   map[string]string // scenario: what it waited for when time was over
	failed map[string]string // scenario: why else it did not run through
	resets []event.Reset
	storms []event.Storm
	over   int           // records beyond proveRecords
	limits []probe.Limit // what this kernel does not tell
	home   uint32
}

// The proof is a sink that keeps what the lab's namespaces may have made.

func (p *proof) Reset(r *event.Reset, _ sink.Explained) error {
	switch {
	case r.NetNS == p.home:
	case len(p.resets) == proveRecords:
		p.over++
	default:
		p.resets = append(p.resets, *r)
	}
	return nil
}
func (p *proof) Storm(s *event.Storm) error {
	if s.NetNS != p.home && len(p.storms) < proveRecords {
		p.storms = append(p.storms, *s)
	}
	return nil
}
func (p *proof) Summary(*event.Summary) error { return nil }
func (p *proof) Flush() error                 { return nil }
func (p *proof) Close() error                 { return nil }

// proveOptions are the hidden flags.
type proveOptions struct {
	time time.Duration // for all scenarios
	json string        // file that gets the report as JSON too
}

func runProve(ctx context.Context, w io.Writer, output string, o proveOptions) error {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	started := time.Now()
	p := newProof(o.time)
	if err := p.run(ctx); err != nil {
		return withCapabilities(err)
	}
	rep := p.report()
	rep.DurationMS = time.Since(started).Milliseconds()
	if err := rep.print(w, output); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if o.json != "" {
		if err := rep.save(o.json); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	return rep.err()
}

func newProof(time time.Duration) *proof {
	return &proof{time: time, left: map[string]string{}, late: map[string]string{}, failed: map[string]string{}}
}

func (p *proof) run(ctx context.Context) (err error) {
	host, err := owner.InHostPIDNamespace()
	if err == nil && !host {
		err = errors.New("check --prove compares processes, which are not named here: " + containerNeeds)
	}
	if err != nil {
		return err
	}
	if p.lab, err = lab.Open(); err != nil {
		return err
	}
	defer p.lab.Close()
	if p.kernel, err = lab.ReadKernel(); err != nil {
		return err
	}
	var st syscall.Stat_t
	if err := syscall.Stat("/proc/self/ns/net", &st); err != nil {
		return fmt.Errorf("read the network namespace: %w", err)
	}
	p.home = uint32(st.Ino)
	ctx, cancel := context.WithTimeout(ctx, p.time)
	defer cancel()
	traceCtx, stopTrace := context.WithCancel(context.Background())
	defer stopTrace()
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- pipeline.Live(traceCtx, pipeline.Options{
			Thorough: true, Attached: p.attached,
			Filter: proofFilter(), NoProbe: true, Rate: proveRate, Firewall: p.kernel.CanReject(), Sinks: []sink.Sink{p}, Host: hostName(), Log: zerolog.Nop(),
			Ready: func() error { close(ready); return nil },
		})
	}()
	select {
	case err := <-ended:
		return err
	case <-ready:
	}
	time.Sleep(proveStart)
	p.provoke(ctx)
	interrupted := errors.Is(ctx.Err(), context.Canceled)
	time.Sleep(proveSettle)
	stopTrace()
	if err := <-ended; err != nil {
		return err
	}
	if interrupted {
		return errors.New("interrupted; nothing is left behind")
	}
	return nil
}

// attached notes what this kernel does not tell.
func (p *proof) attached(hooks []probe.HookState) {
	for _, h := range hooks {
		p.limits = append(p.limits, h.Limits()...)
	}
}

func (p *proof) limit(id string) *probe.Limit {
	for i := range p.limits {
		if p.limits[i].ID == id {
			return &p.limits[i]
		}
	}
	return nil
}

// provoke runs the scenarios, some at a time.
func (p *proof) provoke(ctx context.Context) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range proveAtOnce {
		wg.Go(func() {
			for i := range next {
				p.scenario(ctx, i)
			}
		})
	}
	// Those that wait for a timer of the kernel come first.
	order := make([]int, len(proofs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(slowness(b) - slowness(a)) })
	for _, i := range order {
		next <- i
	}
	close(next)
	wg.Wait()
}

func slowness(i int) time.Duration {
	if s, ok := lab.ScenarioByID(proofs[i].id); ok {
		return s.Slow
	}
	return 0
}

func (p *proof) scenario(ctx context.Context, i int) {
	id := proofs[i].id
	s, ok := lab.ScenarioByID(id)
	if !ok {
		p.note(p.failed, id, "no such scenario")
		return
	}
	place := proofPlace(proofs[i].place)
	if lacks := p.kernel.Lacks(s, place); lacks != "" {
		p.note(p.left, id, lacks)
		return
	}
	if ctx.Err() != nil {
		p.note(p.late, id, fmt.Sprintf("not begun: those before it took all of the %v", p.time))
		return
	}
	began := time.Now()
	truths, err := s.Run(ctx, p.lab, place)
	switch {
	case errors.Is(err, lab.ErrUnavailable):
		p.note(p.left, id, firstLine(err))
	case err != nil && (lab.NotInTime(err) || ctx.Err() != nil):
		p.note(p.late, id, fmt.Sprintf("cut off after %.1f s: %s", time.Since(began).Seconds(), firstLine(err)))
	case err != nil:
		p.note(p.failed, id, firstLine(err))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range truths {
		if !t.Firewall || p.kernel.CanReject() {
			p.truths = append(p.truths, t)
		}
	}
}

func (p *proof) note(where map[string]string, id, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	where[id] = strings.TrimPrefix(why, "lab: ")
}
