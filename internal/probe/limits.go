package probe

import "slices"

// Limit is what cannot be told where a certain program serves a hook, because the
// kernel does not know it or does not say it.
type Limit struct {
	ID       string   // stable name
	Programs []string // with any of these
	Lost     string   // what is lost, in terms of the question
	Kernels  string   // mainline kernels that have it
}

// Ids of limits.
const (
	LimitSilent = "silent-refusals"
	LimitUntold = "untold-sockets"
	LimitReason = "no-reasons"
)

// Limits is the table of them; docs/kernels.md and check print it.
var Limits = []Limit{
	{
		ID: LimitReason, Programs: []string{sentPart}, Kernels: "below 6.10",
		Lost: "the kernel gives no reason for a reset that it sends: the cause follows from the socket and the segment alone",
	},
	{
		ID: LimitUntold, Programs: []string{"reason__kfree_skb", placeProgram}, Kernels: "below 6.11",
		Lost: "the kernel does not say which socket refused a reset: it is asked for afterwards, and where the connection is gone by then, or too many come, its owner or cause is unknown",
	},
	{
		ID: LimitSilent, Programs: []string{placeProgram}, Kernels: "below 5.17",
		Lost: "resets that an open, connecting or listening socket itself refuses (inexact, out of the window, without an acceptable acknowledgement, for no connection of a listener) are invisible, since the kernel frees them without an event; of the others it does not say why they were dropped",
	},
}

// Limits tells which hold for what serves the hook.
func (s HookState) Limits() (limits []Limit) {
	for _, l := range Limits {
		if s.Attached && slices.Contains(l.Programs, s.Program) {
			limits = append(limits, l)
		}
	}
	return limits
}
