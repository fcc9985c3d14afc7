// Package owner completes the description of a process that the kernel named
// by pid, start time, cgroup id and comm: what it runs, from which executable,
// in which cgroup, container, pod and systemd unit.
//
// A pid alone names nobody: it is reused. So whatever is read from /proc/PID
// is kept only if the start time there is the one that the kernel gave, before
// and after the reading. What was learned while the process lived is kept, in
// a bounded cache, for the resets that it leaves behind.
//
// Every string here was chosen by the process itself and is hostile: it is
// bounded, valid UTF-8, and stripped of what looks like a secret. Control
// characters stay; the sinks escape them.
package owner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"rstwhy/internal/event"
)

// Options configure a Resolver. The zero value is fit for use on a live host.
type Options struct {
	Proc    string               // mount point of procfs; "/proc" when empty
	Cgroup2 string               // mount point of cgroup v2; found from /proc/self/mountinfo when empty
	Root    string               // where the files of container runtimes are; "/" when empty
	Size    int                  // processes remembered; 2048 when zero
	Offset  func() time.Duration // what CLOCK_BOOTTIME lacks to CLOCK_REALTIME; without it start times stay zero
}

const (
	defaultSize = 2048
	// maxBytes bounds what is kept of all processes: command lines of 64 KiB
	// must not add up to the memory of the tracer. It is some 1,200 processes of
	// the usual kind. One that lives and was forgotten is read again.
	maxBytes = 1 << 20
	// entryBytes is an entry without its strings, with its place in the cache.
	entryBytes = 512
	// freshFor is how long a reading is believed without looking again: a
	// process may execute another program without changing pid or start time.
	freshFor = time.Second
)

// Resolver completes processes. It may be used by several goroutines.
type Resolver struct {
	proc       string // empty: replay, /proc is never touched
	tree       *cgroupTree
	containers *containers // nil: replay
	offset     func() time.Duration
	now        func() time.Time

	mu    sync.Mutex
	cache *lru[key, *entry]
}

type key struct {
	pid   uint32
	start uint64
}

// entry is what is known of one process. It is never changed once stored.
type entry struct {
	Snapshot
	args    string    // the command line, unmasked, with a NUL between arguments; in memory only
	at      where     // what its cgroup path tells
	checked time.Time // last look at /proc
	gone    bool      // the process has ended: /proc can tell nothing any more
}

func (e *entry) weight() int {
	return entryBytes + len(e.args) + len(e.Label) + len(e.Exe) + len(e.Cmdline) + len(e.Cgroup) + len(e.ContainerID) +
		len(e.ContainerName) + len(e.Pod) + len(e.PodNamespace) + 2*len(e.PodUID) + 2*len(e.Unit)
}

// Snapshot is what Complete fills in for one process, in the form that a
// recording keeps: bounded and masked.
type Snapshot struct {
	PID         uint32    `json:"pid"`          // process id in the initial pid namespace
	StartBoot   uint64    `json:"start_boot"`   // start time, ns since boot
	StartTime   time.Time `json:"start_time"`   // the same as a time of day
	Comm        string    `json:"comm"`         // name of the process when the rest was read; empty where nothing was
	Label       string    `json:"label"`        // main class, jar or script
	Exe         string    `json:"exe"`          // path of the executable
	Cmdline     string    `json:"cmdline"`      // masked command line
	Cgroup      string    `json:"cgroup"`       // cgroup path
	CgroupID    uint64    `json:"cgroup_id"`    // cgroup v2 id that Cgroup belongs to; 0 where unknown
	ContainerID string    `json:"container_id"` // container id in the cgroup path

	ContainerRuntime string `json:"container_runtime"` // what runs the container
	ContainerName    string `json:"container_name"`    // its name
	Pod              string `json:"pod"`               // name of the pod
	PodNamespace     string `json:"pod_namespace"`     // its namespace
	PodUID           string `json:"pod_uid"`           // its uid
	Unit             string `json:"unit"`              // systemd unit
}

// New makes a Resolver for the live host.
func New(o Options) (*Resolver, error) {
	if o.Proc == "" {
		o.Proc = "/proc"
	}
	if _, err := os.Stat(o.Proc + "/self/stat"); err != nil {
		return nil, fmt.Errorf("no procfs at %s, so processes cannot be described (mount it: mount -t proc proc %s): %w", o.Proc, o.Proc, err)
	}
	tree, err := newCgroupTree(o.Proc, o.Cgroup2)
	if err != nil {
		return nil, err
	}
	r := NewReplay()
	r.proc, r.tree, r.offset, r.containers = o.Proc, tree, o.Offset, newContainers(o.Root)
	if o.Size > 0 {
		r.cache.size = o.Size
	}
	return r, nil
}

// NewReplay makes a Resolver that knows only what Restore gave it.
func NewReplay() *Resolver {
	return &Resolver{
		now:   time.Now,
		cache: newLRU[key](defaultSize, maxBytes, (*entry).weight),
	}
}

// Close gives up the descriptor held on the cgroup file system.
func (r *Resolver) Close() error {
	if r.tree == nil {
		return nil
	}
	return r.tree.close()
}

// Complete fills in Label, Exe, Cmdline, Cgroup and what follows from it,
// StartTime, and Comm where it is empty. What cannot be known for certain to
// belong to this very process stays as it was. It blocks on nothing but /proc,
// and for the names of a container for at most 20 ms.
func (r *Resolver) Complete(p *event.Process) {
	p.Comm = clean(p.Comm, maxComm)
	if p.PID == 0 || p.StartBoot == 0 {
		return // nobody, or nobody who could be told from a later user of the pid
	}
	e := r.inCgroup(r.learn(p.PID, p.StartBoot, p.Comm), p.CgroupID)
	r.named(e).fill(p)
}

// Remember reads the process ahead of time, while it lives.
func (r *Resolver) Remember(pid uint32, startBoot uint64) {
	if pid != 0 && startBoot != 0 {
		r.named(r.learn(pid, startBoot, ""))
	}
}

// Argv gives the command line, unmasked and bounded to 64 KiB, for recognising
// what runs. It must not be printed or stored.
func (r *Resolver) Argv(pid uint32, startBoot uint64) []string {
	if pid == 0 || startBoot == 0 {
		return nil
	}
	argv, _ := splitArgv(r.learn(pid, startBoot, "").args)
	return argv
}

// Lookup gives what is remembered of the process. It reads nothing.
func (r *Resolver) Lookup(pid uint32, startBoot uint64) (Snapshot, bool) {
	if e := r.get(key{pid, startBoot}); e != nil {
		return e.Snapshot, true
	}
	return Snapshot{}, false
}

// StartTime turns a start time since boot into a time of day, to the
// millisecond: the clocks are not read together, so more would be made up.
func (r *Resolver) StartTime(startBoot uint64) time.Time {
	if r.offset == nil || startBoot == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(startBoot)).Add(r.offset()).Round(time.Millisecond).UTC()
}

// learn gives what is known of the process, looking at /proc where that may
// tell more. comm, where not empty, is the name that the kernel saw.
func (r *Resolver) learn(pid uint32, start uint64, comm string) *entry {
	k := key{pid, start}
	old := r.get(k)
	if old == nil {
		old = &entry{Snapshot: Snapshot{PID: pid, StartBoot: start, StartTime: r.StartTime(start)}}
	} else if r.proc == "" || old.gone || old.fresh(comm, r.now()) {
		return old
	}
	if r.proc == "" {
		return old
	}
	e, err := r.read(pid, start)
	switch {
	case err == nil && comm != "" && e.Comm != comm && old.Comm == comm:
		return old // it became another program since the kernel saw it
	case err == nil:
		e.keep(old)
	default:
		kept := *old
		e = &kept
		e.gone = errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
	}
	e.StartTime = old.StartTime
	e.checked = r.now()
	r.put(e)
	return e
}

// fresh tells whether another look would tell no more: not so where the kernel
// saw another name than the one read, since then another program was executed.
func (e *entry) fresh(comm string, now time.Time) bool {
	return now.Sub(e.checked) < freshFor && (comm == "" || e.Comm == "" || comm == e.Comm)
}

// keep takes from old what a dying process no longer shows: its memory, and
// with it command line and executable, goes before its entry in /proc.
func (e *entry) keep(old *entry) {
	if e.at == old.at {
		e.name(names{old.ContainerRuntime, old.ContainerName, old.Pod, old.PodNamespace, old.PodUID})
	}
	if old.Comm != e.Comm {
		return
	}
	if e.Cmdline == "" {
		e.Cmdline, e.args = old.Cmdline, old.args
		if e.Label == "" {
			e.Label = old.Label
		}
	}
	if e.Exe == "" {
		e.Exe = old.Exe
	}
}

// fill writes the entry into p. A name that is not the one in the entry means
// that the process ran another program then: what it ran is left out.
func (e *entry) fill(p *event.Process) {
	if !e.StartTime.IsZero() {
		p.StartTime = e.StartTime
	}
	if e.Cgroup != "" {
		p.Cgroup, p.ContainerID, p.ContainerRuntime, p.ContainerName = e.Cgroup, e.ContainerID, e.ContainerRuntime, e.ContainerName
		p.Pod, p.PodNamespace, p.PodUID, p.Unit = e.Pod, e.PodNamespace, e.PodUID, e.Unit
	}
	if p.Comm == "" {
		p.Comm = e.Comm
	}
	if p.Comm == e.Comm {
		p.Label, p.Exe, p.Cmdline = e.Label, e.Exe, e.Cmdline
	}
}

func (r *Resolver) get(k key) *entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, _ := r.cache.get(k)
	return e
}

func (r *Resolver) put(e *entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cache.put(key{e.PID, e.StartBoot}, e)
}
