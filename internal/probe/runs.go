package probe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Programs that do nothing, on the busiest hooks.
const (
	floorProgram     = "empty__inet_sock_set_state"
	dropFloorProgram = "empty__kfree_skb"
)

// Runs is how often a program ran, and for how long in all.
type Runs struct {
	Count  uint64
	Time   time.Duration
	Missed uint64 // recursion misses
}

// Sub gives what came after an earlier reading.
func (r Runs) Sub(o Runs) Runs {
	return Runs{Count: r.Count - o.Count, Time: r.Time - o.Time, Missed: r.Missed - o.Missed}
}

// Mean time of a run in nanoseconds; 0 without runs.
func (r Runs) Mean() float64 {
	return float64(r.Time.Nanoseconds()) / float64(max(r.Count, 1))
}

// TimePrograms makes the kernel time every BPF program of the host until the
// result is closed (BPF_ENABLE_STATS). Each run costs two more clock readings
// meanwhile, part of which is in the figures.
func TimePrograms() (io.Closer, error) {
	c, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return nil, fmt.Errorf("time BPF programs: %w (needs Linux 5.8 and CAP_SYS_ADMIN)", err)
	}
	return c, nil
}

// Floor are empty programs on inet_sock_set_state and kfree_skb, attached beside
// whatever else is: what a program costs there before it does anything.
type Floor struct {
	coll  *ebpf.Collection
	links []link.Link
}

// AttachFloor attaches the empty programs until Close.
func AttachFloor() (*Floor, error) {
	spec, err := loadKernel()
	if err != nil {
		return nil, fmt.Errorf("read embedded programs: %w", err)
	}
	spec.Maps = nil
	spec.Variables = nil
	programs := map[string]*ebpf.ProgramSpec{}
	for _, name := range []string{floorProgram, dropFloorProgram} {
		programs[name] = spec.Programs[name]
	}
	spec.Programs = programs
	f := &Floor{}
	if f.coll, err = ebpf.NewCollection(spec); err != nil {
		return nil, fmt.Errorf("load empty programs: %w", err)
	}
	for name, p := range f.coll.Programs {
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("attach %s: %w", name, err)
		}
		f.links = append(f.links, l)
	}
	return f, nil
}

// Close detaches them.
func (f *Floor) Close() {
	for _, l := range f.links {
		l.Close()
	}
	f.coll.Close()
}

// RunsOf reads the run times of the programs that a process holds, by the name
// in bpf/reset.bpf.c. It needs no part of that process: /proc tells the programs'
// ids (kernel/bpf/syscall.c, bpf_prog_show_fdinfo).
func RunsOf(pid int) (map[string]Runs, error) {
	dir := fmt.Sprintf("/proc/%d/fdinfo", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("programs of process %d: %w", pid, err)
	}
	out := map[string]Runs{}
	for _, e := range entries {
		id, err := programID(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // closed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("programs of process %d: %w", pid, err)
		}
		if id == 0 {
			continue
		}
		name, r, err := runsOfProgram(id)
		if err != nil {
			return nil, fmt.Errorf("program %d of process %d: %w", id, pid, err)
		}
		out[name] = r
	}
	return out, nil
}

// programID gives 0 where the descriptor is no program. A link's fdinfo names
// its program too, under "prog_id" as well.
func programID(path string) (ebpf.ProgramID, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		if rest, ok := strings.CutPrefix(in.Text(), "prog_id:"); ok {
			id, err := strconv.ParseUint(strings.TrimSpace(rest), 10, 32)
			return ebpf.ProgramID(id), err
		}
	}
	return 0, nil
}

func runsOfProgram(id ebpf.ProgramID) (string, Runs, error) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return "", Runs{}, err
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return "", Runs{}, err
	}
	st, err := p.Stats()
	if err != nil {
		return "", Runs{}, err
	}
	return fullName(info.Name), Runs{Count: st.RunCount, Time: st.Runtime, Missed: st.RecursionMisses}, nil
}

// fullName undoes the kernel's cut at 15 bytes (BPF_OBJ_NAME_LEN).
func fullName(short string) string {
	names := []string{floorProgram, dropFloorProgram}
	for _, h := range Hooks {
		for _, c := range h.Candidates {
			names = append(names, c.Program)
		}
	}
	for _, n := range names {
		if n == short || len(short) == 15 && strings.HasPrefix(n, short) {
			return n
		}
	}
	return short
}
