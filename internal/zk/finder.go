package zk

import (
	"context"
	"path"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"rstwhy/internal/event"
	"rstwhy/internal/proctree"
)

// Bounds of what a Finder does by itself.
const (
	maxProcesses   = 4096             // processes remembered
	looksPerSecond = 10               //
	looksBurst     = 20               //
	againAfter     = 10 * time.Second // archives are opened late: nothing found is looked at once more
)

// ProcessID is one process: a pid alone is reused.
type ProcessID struct {
	PID   uint32
	Start uint64 // ns since boot (task_struct.start_boottime)
}

// Process is what a process has to do with ZooKeeper.
type Process struct {
	Server    bool          // it is a ZooKeeper server
	Config    Config        // the server's ports
	Client    *event.Client // its client library; nil: none was found
	Endpoints []Endpoint    // servers that its own configuration names
}

// Look reads what there is to know of the process, within bounds, and may wait
// for its files; so it is no call for an event path.
func Look(id ProcessID) (Process, error) {
	t, err := proctree.Open(id.PID)
	if err != nil {
		return Process{}, err
	}
	defer t.Close()
	if !t.StartedAt(id.Start) {
		return Process{}, errGone
	}
	argv, err := t.Cmdline()
	if err != nil {
		return Process{}, err
	}
	var p Process
	if loc, ok := ServerFromCmdline(argv); ok {
		p.Server = true
		// Without the file, what the command line tells is known.
		p.Config, _ = located(t, loc, argv)
	}
	p.Client = findClient(t, argv)
	if !p.Server {
		p.Endpoints = endpoints(t, argv)
	}
	if !t.StartedAt(id.Start) {
		return Process{}, errGone
	}
	return p, nil
}

// FindClient tells which ZooKeeper client library a process has; nil where none
// is known.
func FindClient(pid uint32) (*event.Client, error) {
	t, err := proctree.Open(pid)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	argv, err := t.Cmdline()
	if err != nil {
		return nil, err
	}
	return findClient(t, argv), nil
}

func findClient(t *proctree.Tree, argv []string) *event.Client {
	b := &budget{left: maxRead}
	var jvm bool
	var library *proctree.Mapping
	for _, m := range t.Mappings(4, func(name string) bool { return isJVM(name) || isCLibrary(name) }) {
		if isJVM(m.Name) {
			jvm = true
		} else {
			library = &m
		}
	}
	if jvm {
		if c := java(t, argv, b); c != nil {
			return c
		}
	}
	if library != nil {
		return shared(t, *library, b)
	}
	if jvm {
		return nil
	}
	if interpreter.MatchString(path.Base(t.Exe())) {
		return python(t, argv)
	}
	exe, err := t.OpenExe()
	if err != nil {
		return nil
	}
	defer exe.Close()
	if c, isGo := golang(exe, b); isGo {
		return c
	}
	return static(exe, b)
}

// look is the state of one process.
type look struct {
	busy    bool
	done    bool // it was looked at: process is the answer so far
	last    bool // and will not be again
	due     time.Time
	process Process
}

// Finder looks at processes in the background, each once, or twice where
// nothing was found, and remembers what it saw.
type Finder struct {
	limiter *rate.Limiter
	look    func(ProcessID) (Process, error)
	ctx     context.Context
	cancel  context.CancelFunc
	wait    sync.WaitGroup
	queue   chan ProcessID

	mu    sync.Mutex
	looks map[ProcessID]*look
}

// NewFinder starts the worker; Close ends it.
func NewFinder() *Finder { return newFinder(Look) }

func newFinder(f func(ProcessID) (Process, error)) *Finder {
	w := &Finder{
		limiter: rate.NewLimiter(looksPerSecond, looksBurst),
		look:    f,
		queue:   make(chan ProcessID, maxProcesses),
		looks:   map[ProcessID]*look{},
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.wait.Go(w.work)
	return w
}

// Close ends the worker. A look at a file that cannot be read, such as one on
// a file server that is gone, is left behind.
func (f *Finder) Close() {
	f.cancel()
	ended := make(chan struct{})
	go func() { f.wait.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(time.Second):
	}
}

// Want asks for a look and returns at once.
func (f *Finder) Want(id ProcessID) {
	if id.PID == 0 || id.Start == 0 || f.ctx.Err() != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.looks[id]
	if l == nil {
		if len(f.looks) >= maxProcesses && !f.evict() {
			return
		}
		l = &look{}
		f.looks[id] = l
	}
	if l.busy || l.last || time.Now().Before(l.due) {
		return
	}
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

// Wanted tells whether a first look at the process is still to come.
func (f *Finder) Wanted(id ProcessID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.looks[id]
	return l != nil && l.busy && !l.done
}

// evict forgets a process that nobody waits for; which one does not matter,
// since there is no telling whose reset comes next.
func (f *Finder) evict() bool {
	for id, l := range f.looks {
		if !l.busy {
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
			if f.limiter.Wait(f.ctx) != nil {
				return
			}
			p, err := f.look(id)
			f.finish(id, p, err)
		}
	}
}

// finish keeps the answer. What a dead process told while it lived stays.
func (f *Finder) finish(id ProcessID, p Process, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.looks[id]
	if l == nil {
		return
	}
	again := l.done
	l.busy, l.done, l.due = false, true, time.Now().Add(againAfter)
	if err != nil {
		l.last = true
		return
	}
	l.process = p
	l.last = again || p.Server || p.Client != nil && p.Client.Version != "" && p.Client.Transport != ""
}
