// Package lab provokes every cause of a TCP reset with separate processes and
// knows the truth about each: who held the socket, who ended the connection,
// how, and which of the two ends saw what.
//
// Its processes are the program itself run again (Main), so that the tests and
// the command that proves rstwhy on a host share it. Workers hold plain
// blocking sockets and obey one command at a time; a scenario is a script of
// such commands. A scenario leaves nothing behind: its sockets end in repair
// mode, in which the kernel closes them without a packet (tcp_disconnect:
// tp->repair), so that tidying up makes no reset that no script asked for.
//
// Lab changes nothing of the host: a scenario that needs a sysctl or a link of
// its own runs in a network namespace that the lab made. It needs root
// (TCP_REPAIR, namespaces).
package lab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"rstwhy/internal/event"
)

// Truth is what is known, from having caused it, about one reset as this host
// must see it.
type Truth struct {
	Scenario  string
	Cause     string // cause id; several that are equally true, divided by "|"
	Direction event.Direction
	Local     netip.AddrPort // v4-mapped addresses as IPv4
	Peer      netip.AddrPort
	NetNS     uint32
	Owners    []int // every right pid; none: no process may be named
	Comm      string
	EndedBy   *event.Ending // nil: the process had not given the connection up
	Socket    event.SocketKind

	AnyOwnerUnknownOK bool // "unknown" is an honest answer here
	AnyEndingOK       bool // ended_by is a matter of taste here
	Optional          bool // a race of the kernel decides whether it happens
	Repeats           bool // once or more often, as retransmissions have it

	// What follows is not judged where it is left zero.
	Hook      event.Hook      // place in the kernel that must show it
	Effect    event.Effect    // what an arriving RST did; several that are equally true, divided by "|"
	Actor     event.ActorKind // who caused it; several that are equally true, divided by "|"
	ActorPIDs []int           // the actor's right pids, where the actor is a process
	Pair      int             // the two truths with one number are one RST, seen at both ends
	Packets   uint64          // RST packets that the record must count, at least
	NAT       *event.NAT      // what conntrack translated
	Others    []int           // further holders of the socket that must be listed
	Unsure    string          // cause that a tracer may tell instead, because it cannot be sure of the true one
	Firewall  bool            // seen only where the tracer watches firewalls (--firewall)
	Inside    bool            // refused in the socket's own processing, which kernels before 5.17 do without an event
}

// Causes gives the acceptable causes.
func (t *Truth) Causes() []string {
	all := strings.Split(t.Cause, "|")
	if t.Unsure != "" {
		all = append(all, t.Unsure)
	}
	return all
}

// either tells whether a value is one of those that a truth allows.
func either[A, B ~string](got A, allowed B) bool {
	return slices.Contains(strings.Split(string(allowed), "|"), string(got))
}

// Early says what a tracer that starts between a scenario's two halves can
// know.
type Early int

// A scenario's first half may not run before the tracer starts; may; may, but
// then no tracer can know the owner.
const (
	EarlyNever Early = iota
	EarlyKnown
	EarlyUnknown
)

// Scenario is one way to make a reset. Setup opens the connections, the
// function that it gives makes the resets and tells the truth about them.
type Scenario struct {
	ID    string
	Title string
	Early Early
	Own   bool          // needs a network namespace of the lab's
	In    []Place       // where it can run; nil: everywhere
	Needs []string      // functions of the kernel that may lie in a module
	Slow  time.Duration // how long it waits for the kernel's timers
	setup func(*Bench) func() []Truth
}

// Where lists the places where the scenario can run.
func (s *Scenario) Where() []Place {
	switch {
	case s.Own:
		return []Place{Own}
	case s.In != nil:
		return s.In
	}
	return Places
}

// Private tells that the scenario makes a network namespace of its own, so that
// its place is only an address family.
func (s *Scenario) Private() bool { return slices.Equal(s.In, families) }

// stepError carries a failed step out of a script.
type stepError struct{ err error }

func fail(format string, args ...any) { panic(stepError{fmt.Errorf(format, args...)}) }

func catch(err *error) {
	switch r := recover().(type) {
	case nil:
	case stepError:
		*err = r.err
	default:
		panic(r)
	}
}

// Prepared is a scenario between its two halves.
type Prepared struct {
	scenario *Scenario
	bench    *Bench
	act      func() []Truth
	early    bool
}

// StartedBefore says that the tracer starts only now, after Prepare.
func (p *Prepared) StartedBefore() { p.early = true }

// Prepare opens the scenario's connections. Close the result, also after an
// error of Run.
func (s *Scenario) Prepare(ctx context.Context, l *Lab, place Place) (p *Prepared, err error) {
	b := l.bench(ctx, place)
	defer func() {
		if err != nil {
			l.forget(b.pids)
			b.close()
			err = fmt.Errorf("lab: set up %s on %s: %w", s.ID, place, err)
		}
	}()
	defer catch(&err)
	return &Prepared{scenario: s, bench: b, act: s.setup(b)}, nil
}

// Run makes the resets.
func (p *Prepared) Run() (truths []Truth, err error) {
	defer func() {
		if err != nil {
			p.bench.lab.forget(p.bench.pids)
			err = fmt.Errorf("lab: run %s on %s: %w", p.scenario.ID, p.bench.place, err)
		}
	}()
	defer catch(&err)
	truths = p.act()
	for i := range truths {
		truths[i].Scenario = p.scenario.ID
		if p.early {
			truths[i].Scenario += " (older)"
			if p.scenario.Early == EarlyUnknown && len(truths[i].Owners) > 0 {
				truths[i].AnyOwnerUnknownOK = true
			}
		}
	}
	pairUp(truths)
	return truths, nil
}

// pairs numbers the RSTs that both ends of this host see.
var pairs atomic.Int64

func pairOf(a, b *Truth) {
	n := int(pairs.Add(1))
	a.Pair, b.Pair = n, n
}

// pairUp joins the two sides of each RST: of one connection and direction the
// first that was sent is the first that arrived, where as many arrived as were
// sent.
func pairUp(truths []Truth) {
	type wire struct{ from, to netip.AddrPort }
	sent, received := map[wire][]*Truth{}, map[wire][]*Truth{}
	unsure := map[wire]bool{}
	for i := range truths {
		t := &truths[i]
		w, list := wire{t.Local, t.Peer}, sent
		if t.Direction == event.Received {
			w, list = wire{t.Peer, t.Local}, received
		}
		if t.Optional && len(list[w]) > 0 {
			continue // comes after those that are sure
		}
		unsure[w] = unsure[w] || t.Optional || t.Repeats || t.Pair != 0 || t.Firewall
		list[w] = append(list[w], t)
	}
	for w, list := range sent {
		if unsure[w] || len(list) != len(received[w]) {
			continue
		}
		for i := range list {
			pairOf(list[i], received[w][i])
		}
	}
}

// Close takes the scenario's sockets and processes away, without a packet.
func (p *Prepared) Close() { p.bench.close() }

// Run runs both halves and tidies up.
func (s *Scenario) Run(ctx context.Context, l *Lab, place Place) ([]Truth, error) {
	p, err := s.Prepare(ctx, l, place)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return p.Run()
}
