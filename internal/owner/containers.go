package owner

import (
	"sync"
	"time"
)

const (
	maxContainers = 1024
	maxNameBytes  = 1 << 20
	// nodeWait is how long a process waits for the names of its container. A
	// disk that takes longer, or hangs, leaves them out.
	nodeWait = 20 * time.Millisecond
	// Names are looked up again after these times: a container may be renamed,
	// and its files may come after its first process.
	nodeFresh    = time.Minute
	nodeRetry    = 10 * time.Second
	nodePerSec   = 50 // lookups; a look up reads a handful of small files
	nodeBurst    = 200
	maxPodsInDir = 4096
)

// names are what the node's files tell of a container.
type names struct {
	runtime, container, pod, namespace, podUID string
}

func (n names) weight() int {
	return 64 + len(n.runtime) + len(n.container) + len(n.pod) + len(n.namespace) + len(n.podUID)
}

// containers knows the containers of this host by the files that their runtimes keep;
// no daemon is asked. One goroutine at a time reads them.
type containers struct {
	root string // "" on a live host; where tests have their files
	now  func() time.Time

	mu     sync.Mutex
	known  *lru[where, answer]
	busy   bool // a look up is under way
	credit float64
	earned time.Time
}

type answer struct {
	names
	until time.Time // believed without looking again
}

func newContainers(root string) *containers {
	return &containers{
		root: root, now: time.Now, credit: nodeBurst,
		known: newLRU[where](maxContainers, maxNameBytes, func(a answer) int { return a.weight() }),
	}
}

// names gives what is known of a container, looking it up where that may tell
// more. ok tells whether that was done, now or before.
func (c *containers) names(w where) (got names, ok bool) {
	w.unit, w.name = "", "" // the same container whatever the unit
	c.mu.Lock()
	a, ok := c.known.get(w)
	now := c.now()
	if ok && now.Before(a.until) || c.busy || !c.mayLook(now) {
		c.mu.Unlock()
		return a.names, ok
	}
	c.busy = true
	c.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.store(w, c.lookUp(w))
	}()
	// What is known already is not waited for.
	wait := nodeWait
	if ok {
		wait = 0
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok = c.known.get(w)
	return a.names, ok
}

// mayLook spends a look up: whoever starts containers decides how many there
// would be.
func (c *containers) mayLook(now time.Time) bool {
	if !c.earned.IsZero() {
		c.credit = min(c.credit+now.Sub(c.earned).Seconds()*nodePerSec, nodeBurst)
	}
	c.earned = now
	if c.credit < 1 {
		return false
	}
	c.credit--
	return true
}

func (c *containers) store(w where, found names) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
	old, _ := c.known.get(w)
	a := answer{found, c.now().Add(nodeFresh)}
	if found == (names{}) {
		// The files go before the last processes: what they told stays true.
		a = answer{old.names, c.now().Add(nodeRetry)}
	}
	c.known.put(w, a)
}

// locate takes what a cgroup path tells, and forgets what another one told.
func (e *entry) locate(w where) {
	e.at = w
	e.ContainerID, e.ContainerRuntime, e.ContainerName = w.containerID, w.runtime, clean(w.name, maxName)
	e.Pod, e.PodNamespace, e.PodUID, e.Unit = "", "", w.podUID, w.unit
}

// name fills in what the path did not tell.
func (e *entry) name(n names) {
	for _, f := range []struct {
		to   *string
		from string
	}{
		{&e.ContainerRuntime, n.runtime}, {&e.ContainerName, n.container},
		{&e.Pod, n.pod}, {&e.PodNamespace, n.namespace}, {&e.PodUID, n.podUID},
	} {
		if *f.to == "" {
			*f.to = f.from
		}
	}
}

// named completes the entry of a process in a container of this host by the
// names that the host's files tell.
func (r *Resolver) named(e *entry) *entry {
	if r.containers == nil || !e.at.host || e.at.containerID == "" {
		return e
	}
	got, ok := r.containers.names(e.at)
	if !ok || got == (names{}) {
		return e
	}
	whole := *e
	whole.locate(e.at) // a container may have been renamed
	whole.name(got)
	if whole.Snapshot == e.Snapshot {
		return e
	}
	r.put(&whole)
	return &whole
}
