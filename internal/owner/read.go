package owner

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

const (
	maxArgv       = 64 << 10
	maxStatFile   = 4 << 10
	maxCgroupFile = 64 << 10 // up to 4 KiB of path in each of a dozen v1 hierarchies
	// attempts is how often a process that executes programs faster than
	// they can be read is looked at.
	attempts = 3
)

var errChanging = errors.New("the process kept executing other programs")

// read describes the process that started at start, and no other one. Its
// directory is opened once: a descriptor of /proc/PID stays with the process
// that had the pid then (struct pid, fs/proc/base.c), and the start time tells
// whether that was the right one.
func (r *Resolver) read(pid uint32, start uint64) (*entry, error) {
	dir, err := openProcDir(r.proc + "/" + strconv.FormatUint(uint64(pid), 10))
	if err != nil {
		return nil, err
	}
	defer dir.close()
	for range attempts {
		e, err := r.readOnce(dir, pid, start)
		if !errors.Is(err, errChanging) {
			return e, err
		}
	}
	return nil, fmt.Errorf("process %d: %w", pid, errChanging)
}

func (r *Resolver) readOnce(dir *procDir, pid uint32, start uint64) (*entry, error) {
	before, err := readStat(dir, pid, start)
	if err != nil {
		return nil, err
	}
	// Of the three, a dying process or one of another user may show none.
	raw, _ := dir.read("cmdline", maxArgv+1)
	exe, _ := dir.readlink("exe")
	groups, _ := dir.read("cgroup", maxCgroupFile)
	after, err := readStat(dir, pid, start)
	if err != nil {
		return nil, err
	}
	if !before.sameProgram(after) {
		return nil, errChanging
	}
	argv, cut := splitArgv(raw)
	// Clones, since a part of a string keeps the whole of it: here up to 64 KiB,
	// and others keep name and label for long.
	e := &entry{args: strings.Clone(strings.Join(argv, "\x00")), Snapshot: Snapshot{
		PID:       pid,
		StartBoot: start,
		Comm:      strings.Clone(clean(after.comm, maxComm)),
		Label:     strings.Clone(clean(spaces.Replace(openLabel(exe, argv)), maxLabel)),
		Exe:       clean(exe, maxExe),
		Cmdline:   clean(spaces.Replace(maskArgv(argv, cut)), maxCmdline),
	}}
	r.place(e, groups)
	return e, nil
}

// place finds the cgroup of e in the contents of /proc/PID/cgroup.
func (r *Resolver) place(e *entry, groups string) {
	v2, all := parseCgroup(groups)
	if v2 != "" && r.tree != nil {
		e.CgroupID = r.tree.id(v2)
	}
	path := v2
	if v2 == "" || v2 == "/" {
		path = longest(all)
	}
	path = strings.Clone(path) // not with the twelve lines of cgroup v1 around it
	e.Cgroup = clean(path, maxCgroup)
	w := locate(path)
	for _, p := range all {
		other := locate(strings.Clone(p))
		if w.unit == "" {
			w.unit = other.unit
		}
		if !w.container() && other.container() {
			other.unit = w.unit
			w = other
		}
	}
	e.locate(w)
}

// inCgroup corrects the cgroup where the kernel saw the process in another one
// than /proc did.
func (r *Resolver) inCgroup(e *entry, id uint64) *entry {
	if id == 0 || id == e.CgroupID || r.tree == nil {
		return e
	}
	path, ok := r.tree.path(id)
	if !ok && e.CgroupID == 0 {
		return e // the id of what /proc told is unknown: nothing contradicts it
	}
	moved := *e
	moved.CgroupID, moved.Cgroup = id, clean(path, maxCgroup)
	moved.locate(locate(path))
	r.put(&moved)
	return &moved
}

// readStat reads the start time, and fails with fs.ErrNotExist where it is
// another process's.
func readStat(dir *procDir, pid uint32, start uint64) (stat, error) {
	text, err := dir.read("stat", maxStatFile)
	if err != nil {
		return stat{}, err
	}
	st, err := parseStat(text)
	if err != nil {
		return stat{}, fmt.Errorf("process %d: %w", pid, err)
	}
	if !st.startedAt(start) {
		return stat{}, fmt.Errorf("process %d is another one by now: %w", pid, fs.ErrNotExist)
	}
	return st, nil
}

// splitArgv splits the contents of /proc/PID/cmdline. cut tells that the last
// argument goes on beyond the limit.
func splitArgv(raw string) (argv []string, cut bool) {
	if len(raw) > maxArgv {
		raw, cut = raw[:maxArgv], true
	} else {
		// A process that wrote a title over its arguments pads it with NULs
		// (setproctitle); of an argument list, this drops empty last ones.
		raw = strings.TrimRight(raw, "\x00")
	}
	if raw == "" {
		return nil, false
	}
	return strings.Split(raw, "\x00"), cut
}
