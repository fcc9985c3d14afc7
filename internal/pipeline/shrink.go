package pipeline

import (
	"maps"
	"slices"
)

// shrinkFrom is what some two seconds of the usual --max-rate hold back: tables
// of that size stay as they are.
const shrinkFrom = 4096

// shrink gives back what a burst has left: a map keeps the room of its largest
// size, and those of the waiting records add up to 4 MiB at queueMax.
func (s *session) shrink() {
	if s.widest < shrinkFrom || len(s.queue) > s.widest/4 {
		return
	}
	s.widest = len(s.queue)
	s.queue, s.buried = slices.Clone(s.queue), slices.Clone(s.buried)
	s.byCookie = fitted(s.byCookie)
	st := &s.stories
	st.sends, st.receives, st.subflows = fitted(st.sends), fitted(st.receives), fitted(st.subflows)
	s.twins.slots, s.twins.order = fitted(s.twins.slots), slices.Clone(s.twins.order)
	s.asks.open = fitted(s.asks.open)
}

func fitted[K comparable, V any](m map[K]V) map[K]V {
	n := make(map[K]V, len(m))
	maps.Copy(n, m)
	return n
}
