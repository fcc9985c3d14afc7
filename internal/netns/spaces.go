package netns

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Bounds of a search for namespaces.
const (
	pidsPerScan  = 4096 // processes looked at in one scan
	pidsPerSpace = 4    // processes remembered of one namespace
	spacesMax    = 4096 // namespaces remembered
	pidsPerSeek  = 1024 // processes looked at for one namespace
)

// Where programs keep namespaces without a process: iproute2, CNI and podman
// (/run/netns), docker, rootless podman.
var boundNames = []string{"/run/netns/*", "/run/docker/netns/*", "/run/user/*/netns/*"}

// space is one network namespace and the ways into it.
type space struct {
	pids  []uint32
	file  string // a bind mount of it; empty: none
	young bool   // every process in it started after the first scan, and no file showed it then
}

// Spaces finds the network namespaces of this host and ways into them.
type Spaces struct {
	proc  string
	names []string

	mu       sync.Mutex
	spaces   map[uint32]*space
	hints    map[uint32]uint32 // a process that had a socket in the namespace
	next     int               // where the next scan of /proc begins
	scanned  bool              // a first scan was made
	complete bool              // and saw every process
	born     uint64            // the youngest process start of the first scan, in clock ticks since boot
}

// NewSpaces knows no namespace until Scan or Note.
func NewSpaces() *Spaces {
	return &Spaces{proc: "/proc", names: boundNames, spaces: map[uint32]*space{}, hints: map[uint32]uint32{}}
}

// Note remembers that a process was in a namespace. Enter checks it again.
func (s *Spaces) Note(netns, pid uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(netns, pid)
}

func (s *Spaces) note(netns, pid uint32) *space {
	sp := s.spaces[netns]
	if sp == nil {
		if len(s.spaces) >= spacesMax {
			return nil
		}
		sp = &space{}
		s.spaces[netns] = sp
	}
	if pid != 0 && len(sp.pids) < pidsPerSpace && !slices.Contains(sp.pids, pid) {
		sp.pids = append(sp.pids, pid)
	}
	return sp
}

// drop forgets a process that is in the namespace no more.
func (s *Spaces) drop(netns, pid uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sp := s.spaces[netns]; sp != nil {
		sp.pids = slices.DeleteFunc(sp.pids, func(p uint32) bool { return p == pid })
	}
}

// Scan looks for namespaces among the processes and the known bind mounts. Where
// there are more processes than one scan looks at, the next one goes on.
func (s *Spaces) Scan() {
	pids := s.pids()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next >= len(pids) {
		s.next = 0
	}
	n := min(len(pids), pidsPerScan)
	first := !s.scanned
	if first {
		s.born = s.now()
	}
	fresh := map[uint32]bool{}
	for i := range n {
		pid := pids[(s.next+i)%len(pids)]
		netns, err := inode(s.path(pid))
		if err != nil {
			continue // gone, or not ours to look at
		}
		sp := s.spaces[netns]
		isNew := sp == nil
		if sp == nil || len(sp.pids) < pidsPerSpace {
			sp = s.note(netns, pid)
		}
		if sp == nil {
			continue
		}
		if isNew && !first && s.complete {
			fresh[netns], sp.young = true, true
		}
		// A namespace that an old process is in may be old itself.
		if fresh[netns] && sp.young && s.started(pid) <= s.born {
			sp.young = false
		}
	}
	s.next += n
	s.bound(first)
	if first {
		s.scanned, s.complete = true, n == len(pids)
	}
}

// Seek looks for a way into one namespace that is younger than the last scan,
// among the processes that are likely the youngest. It tells whether there is one.
func (s *Spaces) Seek(netns uint32) bool {
	s.mu.Lock()
	hint := s.hints[netns]
	s.mu.Unlock()
	leads := func(pid uint32) bool {
		n, err := inode(s.path(pid))
		return err == nil && n == netns
	}
	if hint != 0 && leads(hint) {
		s.Note(netns, hint)
		return true
	}
	pids := s.pids()
	for _, pid := range slices.Backward(pids[max(0, len(pids)-pidsPerSeek):]) {
		if leads(pid) {
			s.Note(netns, pid)
			return true
		}
	}
	return false
}

// Hint remembers a process that had a socket in a namespace, for Seek.
func (s *Spaces) Hint(netns, pid uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.hints) >= spacesMax {
		clear(s.hints)
	}
	s.hints[netns] = pid
}

func (s *Spaces) bound(first bool) {
	for _, pattern := range s.names {
		files, _ := filepath.Glob(pattern)
		for _, file := range files[:min(len(files), spacesMax)] {
			netns, err := inode(file)
			if err != nil {
				continue
			}
			isNew := s.spaces[netns] == nil
			if sp := s.note(netns, 0); sp != nil {
				sp.file = file
				if isNew {
					sp.young = !first && s.complete
				}
			}
		}
	}
}

// All are the namespaces known, in no order.
func (s *Spaces) All() []uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]uint32, 0, len(s.spaces))
	for netns := range s.spaces {
		all = append(all, netns)
	}
	return all
}

// Young tells that the namespace showed only after the first scan, and that
// nothing of what led there is older. It may be older all the same: a mount that
// is not seen from here, or a descriptor, keeps one without a process.
func (s *Spaces) Young(netns uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.spaces[netns]
	return sp != nil && sp.young
}

// Forget drops a namespace to which no way leads any more.
func (s *Spaces) Forget(netns uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.spaces, netns)
}

// Enter runs f inside the namespace, by whatever way still leads there.
func (s *Spaces) Enter(netns uint32, f func() error) error {
	own, err := Own()
	if err == nil && (netns == 0 || netns == own) {
		return f()
	}
	for _, path := range s.paths(netns) {
		ran := false // else the next way may lead there
		err = Enter(netns, path, func() error { ran = true; return f() })
		if ran {
			return err
		}
	}
	return also(fmt.Errorf("%w: no process of namespace %d is left", ErrEnter, netns), err)
}

// also joins two errors in one line, unlike errors.Join: they are printed as
// warnings and in explanations. Either may be nil.
func also(err, more error) error {
	switch {
	case err == nil:
		return more
	case more == nil:
		return err
	}
	return fmt.Errorf("%w; %w", err, more)
}

func (s *Spaces) paths(netns uint32) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.spaces[netns]
	if sp == nil {
		return nil
	}
	var paths []string
	for _, pid := range sp.pids {
		paths = append(paths, s.path(pid))
	}
	if sp.file != "" {
		paths = append(paths, sp.file)
	}
	return paths
}

func (s *Spaces) path(pid uint32) string {
	return s.proc + "/" + strconv.FormatUint(uint64(pid), 10) + "/ns/net"
}

func (s *Spaces) pids() []uint32 {
	d, err := os.Open(s.proc)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	var pids []uint32
	for _, name := range names {
		if pid, err := strconv.ParseUint(name, 10, 32); err == nil {
			pids = append(pids, uint32(pid))
		}
	}
	slices.Sort(pids)
	return pids
}

// now is the time in the unit of /proc/PID/stat: clock ticks since boot, of
// which user space always sees a hundred a second (USER_HZ).
func (s *Spaces) now() uint64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return uint64(ts.Nano()) / 1e7
}

// started is when a process started, in that unit; 0 for one that cannot be
// read.
func (s *Spaces) started(pid uint32) uint64 {
	b, err := os.ReadFile(s.proc + "/" + strconv.FormatUint(uint64(pid), 10) + "/stat")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	const start = 22 - 3 // the 22nd field; the first after the name is the third (proc_pid_stat(5))
	if len(fields) <= start {
		return 0
	}
	ticks, _ := strconv.ParseUint(fields[start], 10, 64)
	return ticks
}

func inode(path string) (uint32, error) {
	number, _, err := look(path)
	return number, err
}

// look gives the inode that shows a namespace: its number, and when it was made.
func look(path string) (number uint32, made int64, _ error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, 0, err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0, 0, err
	}
	if fs.Type != unix.NSFS_MAGIC {
		return 0, 0, fmt.Errorf("%s is no namespace", path)
	}
	return uint32(st.Ino), st.Ctim.Nano(), nil
}
