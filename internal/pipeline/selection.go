package pipeline

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"rstwhy/internal/diagnose"
	"rstwhy/internal/event"
)

// Select is what can be decided only when the owner, and for some of it the
// cause, is known. Each filter that is given must be met: by any of what it
// names, and by none of what it excludes.
//
// A record is never left out for what is merely not known: where an owner is
// unknown, its candidates count as owners for what a filter names, and nothing
// excludes it.
type Select struct {
	PIDs     []uint32 `json:"pids,omitempty"`
	NotPIDs  []uint32 `json:"not_pids,omitempty"`
	Comms    []string `json:"comms,omitempty"`
	NotComms []string `json:"not_comms,omitempty"`
	ZK       bool     `json:"zk,omitempty"`

	Containers Terms[string] `json:"containers,omitzero"` // id, at least 4 digits of it, or name
	Pods       Terms[string] `json:"pods,omitzero"`       // name, namespace/name or uid
	Units      Terms[string] `json:"units,omitzero"`      // with or without .service
	NetNS      Terms[uint32] `json:"netns,omitzero"`      // inode numbers
	Causes     Terms[string] `json:"causes,omitzero"`
	Verdicts   Terms[string] `json:"verdicts,omitzero"` // ids of rules

	// QuietExpected leaves out of the output, not of the counts, what
	// diagnose calls expected.
	QuietExpected bool `json:"quiet_expected,omitempty"`
}

// Terms are what a filter names and what it excludes.
type Terms[T comparable] struct {
	Any  []T `json:"any,omitempty"`
	None []T `json:"none,omitempty"`
}

// allow tells whether a value passes; match compares it with a term.
func (t Terms[T]) allow(match func(T) bool) bool {
	return !slices.ContainsFunc(t.None, match) && (len(t.Any) == 0 || slices.ContainsFunc(t.Any, match))
}

func (t Terms[T]) empty() bool { return len(t.Any)+len(t.None) == 0 }

// Match tells whether the record is wanted, as far as its owner tells. Causes
// and verdicts are left to MatchDiagnosis, since they cost more to know.
func (s *Select) Match(r *event.Reset) bool {
	return (!s.ZK || r.ZooKeeper != nil) && s.NetNS.allow(is(r.NetNS)) && s.matchOwner(r.Owner, r.Others)
}

// MatchDiagnosis tells whether a record is wanted that has its cause and
// verdict.
func (s *Select) MatchDiagnosis(r *event.Reset) bool { return s.matchDiagnosis(r.Cause, r.Verdict) }

// MatchStorm tells whether a count of resets is wanted. Where the owner is only
// a candidate, or they may be of several owners or network namespaces, or no verdict tells that they have
// nothing to do with ZooKeeper, some may be wanted.
func (s *Select) MatchStorm(t *event.Storm) bool {
	netns := t.NetNS == 0 || s.NetNS.allow(is(t.NetNS))
	zk := !s.ZK || t.Verdict == nil || strings.HasPrefix(t.Verdict.Rule, "zookeeper-")
	return zk && netns && (t.Merged || len(t.Others) > 0 || s.matchOwner(t.Owner, nil)) && s.matchDiagnosis(t.Cause, t.Verdict)
}

func (s *Select) matchDiagnosis(cause string, v *event.Verdict) bool {
	rule := ""
	if v != nil {
		rule = v.Rule
	}
	return s.Causes.allow(is(cause)) && s.Verdicts.allow(is(rule))
}

func is[T comparable](value T) func(T) bool { return func(term T) bool { return term == value } }

func (s *Select) matchOwner(owner *event.Process, others []event.Process) bool {
	byPID, byComm := Terms[uint32]{s.PIDs, s.NotPIDs}, Terms[string]{s.Comms, s.NotComms}
	return allowProcess(byPID, owner, others, func(p *event.Process, pid uint32) bool { return p.PID == pid }) &&
		allowProcess(byComm, owner, others, func(p *event.Process, comm string) bool { return p.Comm == comm }) &&
		allowProcess(s.Containers, owner, others, inContainer) &&
		allowProcess(s.Pods, owner, others, inPod) &&
		allowProcess(s.Units, owner, others, inUnit)
}

// allowProcess: every process that holds the socket may be the one that is
// looked for; only the owner can be the one that is to be left out.
func allowProcess[T comparable](t Terms[T], owner *event.Process, others []event.Process, match func(*event.Process, T) bool) bool {
	if t.empty() {
		return true
	}
	owned := func(term T) bool { return owner != nil && match(owner, term) }
	if slices.ContainsFunc(t.None, owned) {
		return false
	}
	return len(t.Any) == 0 || slices.ContainsFunc(t.Any, func(term T) bool {
		return owned(term) || slices.ContainsFunc(others, func(p event.Process) bool { return match(&p, term) })
	})
}

// minIDPrefix is how much of a container's id a filter must give.
const minIDPrefix = 4

func inContainer(p *event.Process, term string) bool {
	if term == "" {
		return false
	}
	return p.ContainerName == term || len(term) >= minIDPrefix && strings.HasPrefix(p.ContainerID, term)
}

func inPod(p *event.Process, term string) bool {
	namespace, name, ok := strings.Cut(term, "/")
	switch {
	case term == "":
		return false
	case ok:
		return p.Pod == name && p.PodNamespace == namespace && name != "" && namespace != ""
	}
	return p.Pod == term || p.PodUID == term
}

// inUnit takes a unit as systemctl does, where .service may be left out, and
// also with its \xNN written out.
func inUnit(p *event.Process, term string) bool {
	if term == "" || p.Unit == "" {
		return false
	}
	plain := unescapeUnit(p.Unit)
	for _, t := range []string{term, term + ".service"} {
		if p.Unit == t || plain == t {
			return true
		}
	}
	return false
}

// unescapeUnit undoes \xNN (unit_name_escape, src/basic/unit-name.c). The result
// is only compared, never printed.
func unescapeUnit(s string) string {
	if !strings.Contains(s, `\x`) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		if len(s) >= 4 && s[0] == '\\' && s[1] == 'x' {
			if v, err := strconv.ParseUint(s[2:4], 16, 8); err == nil {
				b.WriteByte(byte(v))
				s = s[4:]
				continue
			}
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	return b.String()
}

// wanted tells whether filters let a record through that has its cause; it
// gives it the verdict.
func (s *Select) wanted(r *event.Reset) bool {
	if !s.Match(r) {
		return false
	}
	r.Verdict = diagnose.Judge(r)
	return s.MatchDiagnosis(r)
}

// expectedStorm is diagnose.Expected for what the resets of a storm share.
func expectedStorm(t *event.Storm) bool {
	if t.Remote.Addr().Is4() && t.Remote.Bits() < 16 {
		return false // may hold private addresses among public ones
	}
	r := stormReset(t)
	r.Local.Address = netip.Addr{} // not known; as the peer's it would seem to be on this host
	return diagnose.Expected(r)
}
