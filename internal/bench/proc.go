package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cpuOf gives the CPU time of a process, in steps of 10 ms (proc_pid_stat(5)).
func cpuOf(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	var ticks uint64
	for _, s := range f[11:13] {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// field reads a "Name:  123 kB" line in bytes.
func field(path, name string) (float64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return n * 1024, err
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, name)
}

// bpfMap is a map as /proc/PID/fdinfo tells (kernel/bpf/syscall.c,
// bpf_map_show_fdinfo).
type bpfMap struct {
	kind, key, value, entries, memory uint64
}

// mapsOf gives the maps that a process holds, each once, by id.
func mapsOf(pid int) (map[uint64]bpfMap, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		return nil, err
	}
	out := map[uint64]bpfMap{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // closed meanwhile
		}
		v := map[string]uint64{}
		for line := range strings.Lines(string(b)) {
			name, value, _ := strings.Cut(line, ":")
			if n, err := strconv.ParseUint(strings.TrimSpace(value), 0, 64); err == nil {
				v[name] = n
			}
		}
		if id := v["map_id"]; id != 0 {
			out[id] = bpfMap{v["map_type"], v["key_size"], v["value_size"], v["max_entries"], v["memlock"]}
		}
	}
	return out, nil
}
