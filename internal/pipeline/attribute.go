package pipeline

import (
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

// closer takes the news that a socket in doubt died in a process's context.
func (s *session) closer(c *probe.CloserEvent) {
	for _, p := range s.byCookie[c.Cookie] {
		if !p.doubt || p.closer != nil || p.raw.TimeNs > c.TimeNs {
			continue
		}
		o := s.closers.share(&c.Owner)
		p.closer, p.closerP = o, s.complete(o)
		s.closers.put(c.Cookie, closedBy{o, probe.SingleReference(&p.raw)}, c.TimeNs)
	}
}

// complete describes a process at once, while it may still live.
// In a storm one process owns most records: they share one description, which
// nobody changes, for as long as internal/owner itself would not look again.
func (s *session) complete(o *probe.Owner) *event.Process {
	if o.Tgid == 0 || s.opts.NoNames {
		return nil
	}
	now := time.Now()
	if d, ok := s.known[*o]; ok && now.Sub(d.at) < describedFor {
		return d.process
	}
	p := probe.Process(o)
	s.procs.Complete(p)
	if s.known == nil || len(s.known) >= knownMax {
		s.known = map[probe.Owner]described{}
	}
	s.known[*o] = described{p, now}
	return p
}

// undescribe forgets the descriptions that are too old to be used: processes
// that reset once each would pile up to knownMax.
func (s *session) undescribe(now time.Time) {
	maps.DeleteFunc(s.known, func(_ probe.Owner, d described) bool { return now.Sub(d.at) >= describedFor })
}

type described struct {
	process *event.Process
	at      time.Time
}

const (
	describedFor = time.Second
	knownMax     = 1024
)

// bornAfter: the process is younger than the reset, so it held nothing then: it
// inherited the descriptor later, and whoever forked it is not known.
func bornAfter(o *probe.Owner, raw *probe.ResetEvent) bool { return o.StartNs > raw.TimeNs }

func same(a, b *probe.Owner) bool { return a.Tgid == b.Tgid && a.StartNs == b.StartNs }

// decided tells whether a walk has settled who holds the socket.
func decided(p *pending) bool { return len(p.holders) > 0 }

// attribute names the owner of a finished record, how it was obtained, and
// whether that is proof. What cannot be known is unknown: a wrong name is
// worse.
func (s *session) attribute(p *pending, res *Resolution) {
	if s.opts.NoNames {
		return
	}
	raw := &p.raw
	res.Source = probe.Source(raw)
	res.Owner = p.stored
	if p.stored == nil {
		res.Source = event.SourceNone
	}
	switch {
	case p.sought != 0 && p.stored == nil:
		s.bySought(p, res)
	case res.Source == event.SourceCurrent:
		res.Proven = true
	case p.closer != nil && bornAfter(p.closer, raw):
		res.Owner, res.Source = nil, event.SourceNone
	case p.closer != nil:
		s.byCloser(p, res)
	case p.doubt:
		s.byHolders(p, res)
	case res.Source == event.SourceTombstone || res.Source == event.SourceSocket:
		// Closed by this process, with nobody left to hold it.
		res.Proven = probe.ClosedByOwner(raw)
		if c, ok := s.closers.get(raw.Cookie); ok && !res.Proven && raw.Cookie != 0 && (c.single || same(c.owner, &raw.Owner)) {
			res.Owner, res.Source, res.Proven = s.complete(c.owner), event.SourceCloser, true
		}
	}
}

// byCloser: the last closer is proof where the file had one reference at the
// reset. With more, a child's leaked descriptor may have closed last, also where
// a walk found nobody else: the process that used the socket may have closed its
// own before the walk.
func (s *session) byCloser(p *pending, res *Resolution) {
	switch {
	case probe.SingleReference(&p.raw) || same(p.closer, &p.raw.Owner):
		res.Owner, res.Source, res.Proven = p.closerP, event.SourceCloser, true
	case anySame(p.holders, &p.raw.Owner) && !allSame(p.holders):
		// A leaked descriptor closed last, but both held the socket at the walk:
		// the one that opened it is named, not proven.
	default:
		res.Owner, res.Source, res.Proven = nil, event.SourceNone, false
	}
}

// byHolders: nobody closed the socket in time; a walk tells who holds it.
func (s *session) byHolders(p *pending, res *Resolution) {
	switch {
	case len(p.holders) == 0:
		// Not walked in time, or gone without a word: the socket may have been
		// handed on. Without walks the stored owner is all there is.
		if s.walks.possible {
			res.Owner, res.Source = nil, event.SourceNone
		}
	case allSame(p.holders) && bornAfter(&p.holders[0], &p.raw):
		res.Owner, res.Source = nil, event.SourceNone
	case allSame(p.holders):
		h := p.holders[0]
		single := probe.SingleReference(&p.raw)
		if !single && !same(&h, &p.raw.Owner) && !probe.Listening(&p.raw) {
			res.Owner, res.Source = nil, event.SourceNone
			return
		}
		res.Owner = s.complete(&h) // it may run another program than when it opened the socket
		// Another holder than the opener may have been given the socket since.
		res.Source, res.Proven = event.SourceIterator, same(&h, &p.raw.Owner)
	case anySame(p.holders, &p.raw.Owner):
		// The process that opened it is among several: named, not proven.
	default:
		res.Owner, res.Source = nil, event.SourceNone
	}
}

// bySought: a walk told who holds the socket that refused the RST, and still does.
func (s *session) bySought(p *pending, res *Resolution) {
	if len(p.holders) == 0 && s.ended(p) { // between the answer and the walk
		res.Raw, res.Owner, res.Source = p.raw, p.stored, probe.Source(&p.raw)
	}
	if len(p.holders) == 0 || !allSame(p.holders) || bornAfter(&p.holders[0], &p.raw) {
		return
	}
	h := p.holders[0]
	res.Owner, res.Source, res.Proven = s.complete(&h), event.SourceIterator, p.storing
}

func allSame(list []probe.Owner) bool {
	for i := range list {
		if !same(&list[0], &list[i]) {
			return false
		}
	}
	return true
}

func anySame(list []probe.Owner, o *probe.Owner) bool {
	for i := range list {
		if same(&list[i], o) {
			return true
		}
	}
	return false
}

// walks bounds the descriptor walks to 1 % of one core: time earns credit,
// each walk spends its CPU time.
type walks struct {
	possible bool
	thorough bool // unbounded
	credit   time.Duration
	earned   uint64 // boot-clock ns up to which credit was given
	log      zerolog.Logger
}

// walkCredit is the most that a quiet time can save up.
const walkCredit = 50 * time.Millisecond

func (w *walks) allowed(now uint64) bool {
	if w.earned == 0 {
		w.earned, w.credit = now, walkCredit
	}
	w.credit = min(w.credit+time.Duration((now-w.earned)/100), walkCredit)
	w.earned = now
	return w.possible && (w.credit > 0 || w.thorough)
}

// walk asks the kernel once for all doubtful records that need it: shared and
// listening sockets at once, the others when nobody closed them in time.
func (s *session) walk(now uint64) {
	if len(s.queue) == 0 || now == endOfTime {
		return
	}
	need := false
	for _, p := range s.queue {
		if p.sought != 0 && !p.asked || p.doubt && !p.asked && p.closer == nil && (now >= p.raw.TimeNs+walkAfter || early(&p.raw)) {
			need = true
			break
		}
	}
	if !need || !s.walks.allowed(now) {
		return
	}
	seeking := s.seek()
	holders, spent, err := s.cpuWalk()
	s.walks.credit -= spent
	if err != nil {
		s.walks.log.Debug().Err(err).Msg("descriptor walk")
		return
	}
	for _, p := range s.queue {
		if p.doubt && p.closer == nil {
			p.asked = p.asked || now >= p.raw.TimeNs+walkAfter || early(&p.raw)
		}
	}
	for _, p := range seeking {
		p.asked = true
	}
	for i := range holders {
		if sought, stored := probe.Sought(&holders[i]); sought {
			for _, p := range seeking {
				if p.sought == holders[i].Cookie {
					p.holders, p.storing = append(p.holders, holders[i].Owner), stored
				}
			}
			continue
		}
		for _, p := range s.byCookie[holders[i].Cookie] {
			if p.doubt && p.closer == nil {
				p.holders = append(p.holders, holders[i].Owner)
			}
		}
	}
}

// seek prepares the walk to tell the holders of sockets that refused a RST.
func (s *session) seek() (seeking []*pending) {
	var cookies []uint64
	for _, p := range s.queue {
		if p.sought == 0 || p.asked {
			continue
		}
		if !slices.Contains(cookies, p.sought) {
			if len(cookies) == probe.SeekMax {
				continue
			}
			cookies = append(cookies, p.sought)
		}
		seeking = append(seeking, p)
	}
	if err := s.live.Seek(cookies); err != nil {
		s.walks.log.Debug().Err(err).Msg("descriptor walk")
		return nil
	}
	return seeking
}

// identifyAll looks at the records that asked for their sockets.
func (s *session) identifyAll(now uint64) {
	for _, p := range s.queue {
		if p.ask != nil && p.ask.survivor != nil {
			s.identify(p, now, false)
		}
	}
}

// cpuWalk walks and measures its own CPU time: on a busy host the elapsed time
// is mostly other people's.
func (s *session) cpuWalk() ([]probe.Holder, time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := clockNow(unix.CLOCK_THREAD_CPUTIME_ID)
	holders, err := s.live.Walk()
	return holders, time.Duration(clockNow(unix.CLOCK_THREAD_CPUTIME_ID) - start), err
}

func early(raw *probe.ResetEvent) bool {
	return probe.Listening(raw) || !probe.SingleReference(raw)
}
