// Package pipeline joins the rooms: raw records come from internal/probe, are
// ordered and attributed here, completed by internal/owner and internal/zk,
// explained by internal/diagnose and handed to the sinks.
//
// A record is held until its owner is certain, for at most half a second of
// event time, and all records leave in the order of event time. Live and
// recorded sessions share everything from the finished record on.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/rs/zerolog"

	"rstwhy/internal/event"
	"rstwhy/internal/netns"
	"rstwhy/internal/owner"
	"rstwhy/internal/probe"
	"rstwhy/internal/sink"
	"rstwhy/internal/zk"
)

// Timing of the holds, all in boot-clock nanoseconds of event time.
const (
	holdMax       = 500e6 // the longest a record waits for its owner or a first probe
	holdJoin      = 20e6  // a received reset that may be none waits for the send that follows in the same softirq
	holdTwin      = 150e6 // the other end on this host tells later where a process has the socket locked
	holdOthers    = 100e6 // a walk for the other holders of a socket whose owner is certain
	holdTombstone = 4e6   // a late segment can be microseconds ahead of its tombstone
	walkAfter     = 350e6 // a doubtful record that nobody closed asks for a descriptor walk
	orderSlack    = 1e6   // between taking a record's time and submitting it
	poll          = 20 * time.Millisecond
	batch         = 4096
	queueMax      = 16384 // records in wait; beyond it the oldest does not wait any longer
)

// Options of a session.
type Options struct {
	Filter   probe.Filter
	Select   Select
	ZKPorts  []uint16
	NoProbe  bool
	Count    uint64 // end after so many records; 0: never
	Duration time.Duration
	Interval time.Duration    // between summaries; 0: only one, at the end
	Now      <-chan os.Signal // asks for a summary now; may be nil
	Sinks    []sink.Sink
	Explain  bool                    // a sink prints the cause as a sentence
	Record   *Recorder               // nil: do not record
	Firewall bool                    // watch for resets that netfilter rules make, at a cost for every packet
	Rate     uint32                  // about how many records a second are told one by one; 0: no bound
	Thorough bool                    // walks and questions may take more than 1 % of a core, and their answers may come late: for a short session on any host
	Attached func([]probe.HookState) // told once what became of the hooks; may be nil
	Ready    func() error
	Idle     func() // called once when ten seconds brought nothing
	Log      zerolog.Logger
	Host     string
	Warnings []string
	// NoNames refuses to name processes: the pid namespace is not the host's,
	// so pids could be taken for others.
	NoNames bool
}

// session is one live run.
type session struct {
	opts  Options
	live  kernelSide
	procs *owner.Resolver
	servers
	finisher
	asks     asks
	twins    twins
	stories  stories
	here     here
	senders  senders
	buried   []*pending     // wait for a tombstone, as they came
	chores   uint64         // when housekeeping was done last
	turned   uint64         // when storms were taken last
	stormed  []*event.Storm // taken and not yet told
	queue    queue
	widest   int // most records in the queue since shrink
	byCookie map[uint64][]*pending
	closers  closers
	known    map[probe.Owner]described
	walks    walks
	names    probe.Names
	seen     bool
	announce int       // budget for describing new processes, refilled with time
	due      time.Time // when the next interval summary is
}

// Live traces until ctx ends, the count or the duration is reached.
func Live(ctx context.Context, opts Options) error {
	defer opts.Record.abandon()
	spaces := netns.NewSpaces()
	kernel := startCounters(spaces)
	live, err := probe.Open(probe.Options{Filter: opts.Filter, Log: opts.Log, ForeignPIDs: opts.NoNames, Firewall: opts.Firewall, Rate: opts.Rate})
	if err != nil {
		return err
	}
	defer live.Close()
	kernel.attached(live.NetNSHits)
	for _, h := range live.Hooks() {
		if !h.Silent() {
			opts.Warnings = append(opts.Warnings, fmt.Sprintf("hook %s is not attached: %v; without it %s", h.Hook.Name, h.Err, h.Hook.Without))
			opts.Log.Warn().Str("hook", h.Hook.Name).Err(h.Err).Msg("optional hook not attached: " + h.Hook.Without)
		}
	}
	if opts.Attached != nil {
		opts.Attached(live.Hooks())
	}
	s := newSession(opts, live, live.Names())
	s.walks.log, s.walks.possible, s.walks.thorough = opts.Log, live.First != nil, opts.Thorough
	clock := readClock()
	s.finisher = newFinisher(opts, s.names, clock)
	s.counters = kernel
	s.asks = newAsks(spaces, opts.Thorough)
	defer s.asks.close()
	s.procs, err = owner.New(owner.Options{Offset: func() time.Duration { return time.Duration(s.clock.Offset) }})
	if err != nil {
		return err
	}
	defer s.procs.Close()
	s.servers = newServers(opts, live, s.procs)
	defer s.servers.close()
	if opts.Record != nil {
		if err := opts.Record.start(header(opts, s.names, clock)); err != nil {
			return err
		}
	}
	s.rememberHolders(live.First)
	s.begin(bootNow())
	if opts.Ready != nil {
		if err := opts.Ready(); err != nil {
			return err
		}
	}
	return s.run(ctx)
}

// rememberHolders describes the processes that held sockets at start while
// they live: a dying one has no command line.
func (s *session) rememberHolders(holders []probe.Holder) {
	type id struct {
		pid   uint32
		start uint64
	}
	once := map[id]bool{}
	for i := range holders {
		o := &holders[i].Owner
		if k := (id{o.Tgid, o.StartNs}); !once[k] {
			once[k] = true
			s.remember(o)
		}
	}
}

// remember describes a process while it lives: a dying one has no command line,
// and no client library that could be found.
func (s *session) remember(o *probe.Owner) {
	s.procs.Remember(o.Tgid, o.StartNs)
	if mayBeJVM(probe.Comm(o.Comm)) {
		s.servers.finder.Want(zk.ProcessID{PID: o.Tgid, Start: o.StartNs})
	}
}

func (s *session) run(ctx context.Context) error {
	if s.opts.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.opts.Duration)
		defer cancel()
	}
	started := time.Now()
	s.due = started.Add(s.opts.Interval)
	var in probe.Record
	for ctx.Err() == nil && !s.full() {
		if err := s.turn(&in); err != nil {
			return s.end(err)
		}
		if s.opts.Idle != nil && time.Since(started) > 10*time.Second {
			if !s.seen {
				s.opts.Idle()
			}
			s.opts.Idle = nil
		}
	}
	return s.end(nil)
}

// turn reads what there is, for at most one poll, and releases what is due.
func (s *session) turn(in *probe.Record) error {
	watermark, err := s.drain(in, time.Now().Add(poll))
	if err != nil {
		return err
	}
	s.announce = min(s.announce+10, 200)
	s.live.TendDrops(time.Now())
	s.live.TendLate(time.Now())
	s.tick(watermark, bootNow(), false)
	s.between(time.Now())
	return s.flush()
}

// drain returns the event time up to which every record has been read.
func (s *session) drain(in *probe.Record, deadline time.Time) (uint64, error) {
	last := uint64(0)
	// The reader looks at the ring once more after the deadline, so that all
	// that was submitted before it has been read then.
	end := bootNow() + uint64(max(time.Until(deadline), 0))
	for range batch {
		b, err := s.live.Read(deadline)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return max(end, last) - orderSlack, nil
		}
		if err != nil {
			return 0, fmt.Errorf("read ring buffer: %w", err)
		}
		s.seen = true
		if t := s.raw(b, in); t > last {
			last = t
		}
	}
	return max(last, orderSlack) - orderSlack, nil
}

// raw takes one record and returns its time.
func (s *session) raw(b []byte, in *probe.Record) uint64 {
	if err := probe.Decode(b, in); err != nil {
		s.undecoded++
		return 0
	}
	switch in.Kind {
	case probe.KindReset:
		s.reset(&in.Reset)
		return in.Reset.TimeNs
	case probe.KindCloser:
		s.closer(&in.Closer)
	case probe.KindProcess:
		if s.asks.spaces != nil {
			s.asks.spaces.Hint(in.Closer.Netns, in.Closer.Owner.Tgid)
		}
		if s.announce > 0 {
			s.announce--
			s.remember(&in.Closer.Owner)
		}
	}
	return in.Closer.TimeNs
}

// end detaches, reads what is left and prints the summary.
func (s *session) end(cause error) error {
	s.counters.detaching()
	s.live.Detach()
	s.counters.detached()
	var in probe.Record
	counts := s.live.Counts()
	// A closed pipe on stdout must not cost the recording what the ring holds.
	for until := time.Now().Add(2 * time.Second); s.taken+s.undecoded < counts.Submitted && time.Now().Before(until); {
		if _, err := s.drain(&in, time.Now().Add(poll)); err != nil {
			cause = errors.Join(cause, err)
			break
		}
	}
	for until := time.Now().Add(holdMax); (s.servers.waiting(s.queue) || s.asks.waiting(s.queue)) && time.Now().Before(until); {
		time.Sleep(5 * time.Millisecond)
		s.lookedAt()
	}
	s.tick(endOfTime, endOfTime, true)
	s.turnStorms(endOfTime)
	s.tellStorms()
	s.finisher.storms.closed = true
	if left := counts.Submitted - s.taken - s.undecoded; left <= counts.Submitted {
		s.undecoded += left
	}
	sum := s.summary(counts)
	sum.Gaps = s.live.Gaps(time.Now())
	sum.Warnings = append(sum.Warnings, s.asks.trouble()...)
	sum.Warnings = append(sum.Warnings, s.servers.finder.Trouble()...)
	if n := s.live.MissedStates(); n > 0 {
		sum.Warnings = append(sum.Warnings, fmt.Sprintf("%d state changes of sockets were not seen (the same program was running on that CPU): owners of their resets may be unknown", n))
	}
	if counts.OwnerLost > 0 {
		sum.Warnings = append(sum.Warnings, fmt.Sprintf("%d owners could not be stored with their sockets (the kernel refused the memory): their resets may be of unknown owners", counts.OwnerLost))
	}
	if counts.CloserLost > 0 {
		sum.Warnings = append(sum.Warnings, fmt.Sprintf("%d closing processes were not told (ring buffer full): owners of their resets may be unknown", counts.CloserLost))
	}
	cause = errors.Join(cause, s.finishRecording(&sum))
	for _, out := range s.opts.Sinks {
		if err := out.Summary(&sum); err != nil && s.err == nil {
			s.err = fmt.Errorf("write summary: %w", err)
		}
	}
	if err := s.flush(); err != nil && !errors.Is(cause, err) {
		cause = errors.Join(cause, err)
	}
	return cause
}

// nsPath names a process's network namespace for the prober.
func nsPath(pid uint32) string { return fmt.Sprintf("/proc/%d/ns/net", pid) }
