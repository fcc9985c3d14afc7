package zk

import (
	"context"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"rstwhy/internal/event"
)

// Bounds of what a Finder does by itself.
const (
	maxProcesses   = 4096        // processes remembered
	maxRemembered  = 32 << 20    // bytes of what is known of them
	looksPerSecond = 10          // of processes, beyond a burst
	looksBurst     = 20          //
	pauseEvery     = time.Second // a JVM's counters are read no oftener
	maxStuck       = 4           // looks that do not end, as at a file of a disk that is gone, before others wait
	maxStuckEver   = 64          // each holds a thread, of which Go allows 10,000
	stuckAfter     = 5 * time.Second
	stuckPause     = time.Minute // how long others wait then, unless one ends
)

// againAfter are the times after which a process is looked at again of which
// not everything could be told: archives are opened, and threads are started,
// late.
var againAfter = []time.Duration{3 * time.Second, 10 * time.Second, time.Minute}

// ProcessID is one process: a pid alone is reused.
type ProcessID struct {
	PID   uint32
	Start uint64 // ns since boot (task_struct.start_boottime)
}

// look is the state of one process.
type look struct {
	busy    bool
	done    bool // it was looked at: process is the answer so far
	again   int  // how often it was looked at again
	last    bool // it will not be again, but for its pauses
	stuck   bool // it did not end: never again
	due     time.Time
	paused  time.Time // when its pauses were read last
	size    int       // bytes of process
	process Process
}

// Finder looks at processes in the background, each once, or a few times where
// not everything could be told, and remembers what it saw.
type Finder struct {
	limiter *rate.Limiter
	look    func(ProcessID) (Process, error)
	// stuckAfter is how long a look may take, stuckPause how long others wait
	// for those that took longer.
	stuckAfter, stuckPause time.Duration
	ctx                    context.Context
	cancel                 context.CancelFunc
	start                  sync.Once
	wait                   sync.WaitGroup
	queue                  chan ProcessID
	freed                  chan struct{} // a look that was stuck has ended

	mu     sync.Mutex
	looks  map[ProcessID]*look
	size   int  // bytes of what is known of all of them
	stuck  int  // looks that took too long and have not ended
	halted bool // too many of them: nobody is looked at now
	late   int  // looks that took too long, ever
	halts  int  // how often it was halted
}

// NewFinder makes a Finder; Close ends it.
func NewFinder() *Finder { return newFinder(Look) }

func newFinder(f func(ProcessID) (Process, error)) *Finder {
	w := &Finder{
		limiter:    rate.NewLimiter(looksPerSecond, looksBurst),
		look:       f,
		stuckAfter: stuckAfter,
		stuckPause: stuckPause,
		freed:      make(chan struct{}, 1),
		queue:      make(chan ProcessID, maxProcesses),
		looks:      map[ProcessID]*look{},
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// Close ends the worker. A look that goes on is left behind.
func (f *Finder) Close() {
	f.cancel()
	f.wait.Wait()
}

// Want asks for a look and returns at once.
func (f *Finder) Want(id ProcessID) {
	if id.PID == 0 || id.Start == 0 || f.ctx.Err() != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.halted {
		return // the next reset of the process asks again
	}
	l := f.looks[id]
	if l == nil {
		if len(f.looks) >= maxProcesses && !f.evict() {
			return
		}
		l = &look{}
		f.looks[id] = l
	}
	if l.busy || !l.wants(time.Now()) {
		return
	}
	f.start.Do(func() { f.wait.Go(f.work) })
	select {
	case f.queue <- id:
		l.busy = true
	default: // cannot be: the queue holds as many as there are processes
	}
}

// Lookup gives what is known; ok is false before the first look is over.
func (f *Finder) Lookup(id ProcessID) (p Process, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.looks[id]
	if l == nil || !l.done {
		return Process{}, false
	}
	return l.process, true
}

// Busy tells whether the process is being looked at, or will be soon.
func (f *Finder) Busy(id ProcessID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.looks[id]
	return l != nil && l.busy
}

// wants tells whether another look, or another reading of the counters, may
// tell more.
func (l *look) wants(now time.Time) bool {
	if l.stuck {
		return false
	}
	if !l.last {
		return !now.Before(l.due)
	}
	return l.process.JVM && now.Sub(l.paused) >= pauseEvery
}

// evict forgets a process that nobody waits for; which one does not matter,
// since there is no telling whose reset comes next.
func (f *Finder) evict() bool {
	for id, l := range f.looks {
		if !l.busy && !l.stuck {
			f.size -= l.size
			delete(f.looks, id)
			return true
		}
	}
	return false
}

func (f *Finder) work() {
	for {
		select {
		case <-f.ctx.Done():
			return
		case id := <-f.queue:
			known := f.whole(id)
			if !known && f.limiter.Wait(f.ctx) != nil {
				return
			}
			f.within(id, func() {
				if known {
					f.refresh(id)
				} else {
					p, err := f.look(id)
					f.finish(id, p, err)
				}
			})
			f.rest()
		}
	}
}

// weigh counts what is known of a process anew, and forgets others where all of
// it is too much.
func (f *Finder) weigh(l *look) {
	f.size -= l.size
	l.size = l.process.size()
	f.size += l.size
	busy := l.busy
	l.busy = true // not this one
	for f.size > maxRemembered && f.evict() {
	}
	l.busy = busy
}

// whole tells whether only the pauses of the process are still to be read.
func (f *Finder) whole(id ProcessID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.looks[id]
	return l != nil && l.last
}

// complete tells whether a later look could tell no more.
func complete(c *event.Client) bool {
	return c != nil && c.Version != "" && c.Transport != "" && !strings.HasPrefix(c.Source, classPathSource)
}

// refresh reads the pauses of a JVM that is known already.
func (f *Finder) refresh(id ProcessID) {
	pauses := Pauses(id)
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.looks[id]
	if l == nil {
		return
	}
	l.busy, l.paused = false, time.Now()
	if pauses != nil { // nothing of one that has ended
		l.process.Pauses = pauses
		f.weigh(l)
	}
}

// finish keeps the answer. What a dead process told while it lived stays.
func (f *Finder) finish(id ProcessID, p Process, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.looks[id]
	if l == nil || !l.busy {
		return // forgotten, or it took too long
	}
	now := time.Now()
	l.busy, l.paused = false, now
	if l.done {
		l.again++
	}
	l.done = true
	if err != nil {
		l.last = true
		return
	}
	l.process = p
	f.weigh(l)
	if l.last = l.again == len(againAfter) || p.Server || complete(p.Client); !l.last {
		l.due = now.Add(againAfter[l.again])
	}
}
