package zk

import (
	"path"
	"time"

	"rstwhy/internal/event"
	"rstwhy/internal/hsperf"
	"rstwhy/internal/proctree"
)

// Process is what a process has to do with ZooKeeper.
type Process struct {
	Server    bool           // it is a ZooKeeper server
	Config    Config         // the server's ports
	Client    *event.Client  // its client library; nil: none was found
	Endpoints []Endpoint     // servers that its own configuration names
	JVM       bool           // it is a JVM with a client
	Pauses    []hsperf.Pause // of a JVM with a client: its last garbage collections that stopped it, as last read
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
	var jvm bool
	p.Client, jvm = findClient(t, argv)
	p.JVM = jvm && p.Client != nil
	if !p.Server {
		p.Endpoints = endpoints(t, argv)
	}
	if p.JVM {
		p.Pauses = pausesOf(t)
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
	c, _ := findClient(t, argv)
	return c, nil
}

func findClient(t *proctree.Tree, argv []string) (c *event.Client, jvm bool) {
	b := newBudget()
	var library *proctree.Mapping
	for _, m := range t.Mappings(4, func(name string) bool { return isJVM(name) || isCLibrary(name) }) {
		if isJVM(m.Name) {
			jvm = true
		} else {
			library = &m
		}
	}
	if jvm {
		c = java(t, argv, b)
	}
	switch {
	case c != nil:
		return c, true
	case library != nil:
		return shared(t, *library, b), jvm
	case jvm:
		return nil, true
	case interpreter.MatchString(path.Base(t.Exe())):
		return python(t, argv, b), false
	}
	exe, err := t.OpenExe()
	if err != nil {
		return nil, false
	}
	defer exe.Close()
	if c, isGo := golang(exe, b); isGo {
		return c, false
	}
	return static(exe, exe.Size, b), false
}

// pausesOf reads the JVM's counters.
func pausesOf(t *proctree.Tree) []hsperf.Pause {
	counters, err := hsperf.Read(t)
	if err != nil {
		return nil
	}
	return counters.Pauses(time.Now())
}

// Pauses reads the JVM's last garbage collections that stopped it.
func Pauses(id ProcessID) []hsperf.Pause {
	t, err := proctree.Open(id.PID)
	if err != nil {
		return nil
	}
	defer t.Close()
	p := pausesOf(t)
	if !t.StartedAt(id.Start) {
		return nil
	}
	return p
}

// Bounds of what is told of pauses: shorter ones and older ones have nothing to
// do with a lost session.
const (
	minPause = 500 * time.Millisecond
	maxSince = time.Minute
)

// PauseBefore gives the longest pause that may bear on what happened at that
// time; nil where none is known.
func (p *Process) PauseBefore(at time.Time) *event.Pause {
	var longest *event.Pause
	for _, q := range p.Pauses {
		if q.Duration < minPause || q.Start.After(at) || q.End().Before(at.Add(-maxSince)) {
			continue
		}
		if longest == nil || q.Duration.Nanoseconds() > longest.DurationNS {
			longest = &event.Pause{
				Collector: printable(q.Collector, maxVersionText), Start: q.Start,
				DurationNS: q.Duration.Nanoseconds(), Running: q.Running,
			}
		}
	}
	return longest
}
