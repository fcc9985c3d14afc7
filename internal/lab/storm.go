package lab

import (
	"slices"

	"rstwhy/internal/event"
)

// ToldAsStorms takes out the missing truths that a storm line tells: resets of
// others can make a storm of which a scenario's becomes a part. A line tells of
// as many as it counts.
func ToldAsStorms(findings []Finding, storms []event.Storm) (rest []Finding, told int) {
	left := make([]uint64, len(storms))
	for i := range storms {
		left[i] = storms[i].Count
	}
	for _, f := range findings {
		i := -1
		if f.Field == Missing {
			i = slices.IndexFunc(storms, func(s event.Storm) bool { return f.Truth.inStorm(&s) })
		}
		if i < 0 || left[i] == 0 {
			rest = append(rest, f)
			continue
		}
		left[i]--
		told++
	}
	return rest, told
}

// inStorm: a storm is of one local port and one owner, where its line names them.
func (t *Truth) inStorm(s *event.Storm) bool {
	return s.Direction == t.Direction && slices.Contains(t.Causes(), s.Cause) &&
		(s.NetNS == 0 || s.NetNS == t.NetNS) && (s.LocalPort == 0 || s.LocalPort == t.Local.Port()) &&
		(!s.Remote.IsValid() || s.Remote.Contains(t.Peer.Addr()) || s.Remote.Bits() == 0) &&
		(s.Owner == nil || slices.Contains(t.Owners, int(s.Owner.PID)))
}
