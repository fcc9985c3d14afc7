package netns

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"rstwhy/internal/event"
)

// Bounds of what an Asker does, whatever peers provoke.
const (
	perSecond  = 20                     // questions of each kind a second
	burst      = 20                     //
	waiting    = 32                     // questions of each kind in the queue
	answerTime = 200 * time.Millisecond // for the kernel's answer
	inUseFor   = 5 * time.Second        // how long it is remembered whether a namespace uses conntrack
	inUseMax   = 1024                   // namespaces of which that is remembered
)

// Question is one that was taken; nil is one that was not.
type Question struct {
	netns    uint32
	tuple    Tuple
	done     atomic.Bool
	survival Survival
	socket   Socket
	nat      *event.NAT
	plain    bool // the connection's own namespace has an entry, and translates nothing
}

// Untranslated tells that conntrack of the connection's own namespace knows the
// connection and translates nothing.
func (q *Question) Untranslated() bool { return q != nil && q.done.Load() && q.plain }

// Survival is the answer of Asker.Survivor; false: not yet.
func (q *Question) Survival() (Survival, bool) {
	if q == nil {
		return NotKnown, true
	}
	if !q.done.Load() {
		return NotKnown, false
	}
	return q.survival, true
}

// Socket is what the connection's segments find: the connection, or its listener;
// state 0 where there is neither, or the answer is not there.
func (q *Question) Socket() Socket {
	if q == nil || !q.done.Load() {
		return Socket{}
	}
	return q.socket
}

// NAT is the answer of Asker.Translation; false: not yet. Nil is a connection
// that was not translated, or of which it cannot be told.
func (q *Question) NAT() (*event.NAT, bool) {
	if q == nil {
		return nil, true
	}
	if !q.done.Load() {
		return nil, false
	}
	return q.nat, true
}

// Asker asks the kernel about single connections in the background.
type Asker struct {
	spaces    *Spaces
	modules   *Modules
	own       uint32
	survivors chan *Question
	nats      chan *Question
	limit     [2]*rate.Limiter
	dumps     credit
	seeks     credit
	cancel    context.CancelFunc
	wait      sync.WaitGroup

	mu    sync.Mutex
	inUse map[uint32]use
	why   [2]string // the last error of each kind
}

type use struct {
	is bool
	at time.Time
}

// NewAsker starts the two workers; Close ends them. A thorough one may spend as
// much as its questions need.
func NewAsker(spaces *Spaces, thorough bool) *Asker {
	a := &Asker{
		spaces: spaces, modules: NewModules(),
		survivors: make(chan *Question, waiting), nats: make(chan *Question, waiting),
		limit: [2]*rate.Limiter{rate.NewLimiter(perSecond, burst), rate.NewLimiter(perSecond, burst)},
		inUse: map[uint32]use{}, dumps: credit{unbounded: thorough}, seeks: credit{unbounded: thorough},
	}
	a.own, _ = Own()
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	a.wait.Go(func() { a.work(ctx, a.survivors, a.survivor) })
	a.wait.Go(func() { a.work(ctx, a.nats, a.translation) })
	return a
}

// Close waits for the question under way, and answers no other.
func (a *Asker) Close() {
	a.cancel()
	a.wait.Wait()
}

// Survivor asks whether the connection still exists. It returns at once; nil
// where the question is over the bound.
func (a *Asker) Survivor(netns uint32, t Tuple) *Question {
	return a.take(0, a.survivors, netns, t)
}

// Translation asks what conntrack translated, in the connection's own namespace
// and in this process's own, the host's. It returns at once; nil where neither
// uses conntrack or the question is over the bound.
func (a *Asker) Translation(netns uint32, t Tuple) *Question {
	if unused := a.unused(netns); unused && (netns == a.own || a.unused(a.own)) {
		return nil
	}
	return a.take(1, a.nats, netns, t)
}

// Trouble gives the last error of either kind of question, empty where none.
func (a *Asker) Trouble() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []string
	for _, why := range a.why {
		if why != "" {
			all = append(all, why)
		}
	}
	return all
}

func (a *Asker) take(kind int, queue chan *Question, netns uint32, t Tuple) *Question {
	if !a.limit[kind].Allow() {
		return nil
	}
	q := &Question{netns: netns, tuple: t}
	select {
	case queue <- q:
		return q
	default:
		return nil
	}
}

func (a *Asker) work(ctx context.Context, queue chan *Question, answer func(*Question)) {
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-queue:
			answer(q)
			q.done.Store(true)
		}
	}
}

func (a *Asker) survivor(q *Question) {
	err := a.modules.Survivors()
	if err == nil {
		q.survival, q.socket, err = survive(a.spaces, q.netns, q.tuple, &a.dumps)
	}
	if errors.Is(err, ErrEnter) && a.seek(q.netns) {
		q.survival, q.socket, err = survive(a.spaces, q.netns, q.tuple, &a.dumps)
	}
	a.trouble(0, err)
}

// seek looks for a way into a namespace that no scan has found yet.
func (a *Asker) seek(netns uint32) bool {
	if !a.seeks.take() {
		return false
	}
	runtime.LockOSThread() // the cost is the thread's
	defer runtime.UnlockOSThread()
	started := cpuTime()
	defer func() { a.seeks.spend(cpuTime() - started) }()
	return a.spaces.Seek(netns)
}

func (a *Asker) translation(q *Question) {
	for _, netns := range []uint32{q.netns, a.own} {
		if !a.uses(netns) {
			continue
		}
		err := a.modules.Translations()
		var nat *event.NAT
		if err == nil {
			var found bool
			nat, found, err = translated(a.spaces, netns, q.tuple)
			q.plain = q.plain || (found && nat == nil && netns == q.netns)
		}
		a.trouble(1, err)
		if nat != nil {
			q.nat = nat
			return
		}
		if netns == a.own {
			return
		}
	}
}

func (a *Asker) trouble(kind int, err error) {
	if err == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.why[kind] = err.Error()
}

// unused tells, without asking, that conntrack is known not to be in use.
func (a *Asker) unused(netns uint32) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	u, ok := a.inUse[netns]
	return ok && !u.is && time.Since(u.at) < inUseFor
}

func (a *Asker) uses(netns uint32) bool {
	a.mu.Lock()
	u, ok := a.inUse[netns]
	a.mu.Unlock()
	if ok && time.Since(u.at) < inUseFor {
		return u.is
	}
	is, err := tracks(a.spaces, netns)
	a.trouble(1, err)
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.inUse) >= inUseMax {
		clear(a.inUse)
	}
	a.inUse[netns] = use{is && err == nil, time.Now()}
	return is && err == nil
}

// credit bounds dumps, and searches for namespaces, to 1 % of one core each: time earns it, each one spends its
// CPU time. One worker uses it.
type credit struct {
	left      time.Duration
	earned    time.Time
	spent     int // dumps made
	unbounded bool
}

// creditMax is the most that a quiet time can save up.
const creditMax = 50 * time.Millisecond

func (c *credit) take() bool {
	now := time.Now()
	if c.earned.IsZero() {
		c.left = creditMax
	} else {
		c.left = min(c.left+now.Sub(c.earned)/100, creditMax)
	}
	c.earned = now
	return c.left > 0 || c.unbounded
}

func (c *credit) spend(d time.Duration) {
	c.left -= d
	c.spent++
}

func cpuTime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}
