package owner

import "rstwhy/internal/event"

// Restore remembers what a recording holds. The recording may be forged, so
// its strings are bounded like any other.
func (r *Resolver) Restore(s Snapshot) {
	p := event.Process{
		Comm: s.Comm, Label: s.Label, Exe: s.Exe, Cmdline: s.Cmdline, Cgroup: s.Cgroup, ContainerID: s.ContainerID, ContainerRuntime: s.ContainerRuntime,
		ContainerName: s.ContainerName, Pod: s.Pod, PodNamespace: s.PodNamespace, PodUID: s.PodUID, Unit: s.Unit,
	}
	Bound(&p)
	s.Comm, s.Label, s.Exe, s.Cmdline, s.Cgroup, s.ContainerID = p.Comm, p.Label, p.Exe, p.Cmdline, p.Cgroup, p.ContainerID
	s.ContainerRuntime, s.ContainerName, s.Pod, s.PodNamespace, s.PodUID, s.Unit = p.ContainerRuntime, p.ContainerName, p.Pod, p.PodNamespace, p.PodUID, p.Unit
	r.put(&entry{Snapshot: s, gone: true})
}

// Bound cuts the strings of a process that comes from a recording, which may be
// forged, to what Complete would have given: valid UTF-8 of limited length.
func Bound(p *event.Process) {
	if p == nil {
		return
	}
	for _, f := range []struct {
		s     *string
		limit int
	}{
		{&p.Comm, maxComm}, {&p.Label, maxLabel}, {&p.Exe, maxExe}, {&p.Cmdline, maxCmdline}, {&p.Cgroup, maxCgroup},
		{&p.ContainerID, containerIDLen}, {&p.ContainerRuntime, maxName}, {&p.ContainerName, maxName},
		{&p.Pod, maxName}, {&p.PodNamespace, maxName}, {&p.PodUID, maxName}, {&p.Unit, maxName},
	} {
		*f.s = clean(*f.s, f.limit)
	}
}
