package pipeline

import (
	"maps"
	"sync"

	"rstwhy/internal/diagnose"
	"rstwhy/internal/event"
	"rstwhy/internal/netns"
	"rstwhy/internal/probe"
)

// counterRound is how often the kernel's counters are read, in boot-clock ns.
const counterRound = 10e9

// counterPause is the least time between two rounds.
const counterPause = 1e9

// countedMax bounds the namespaces of which records are counted.
const countedMax = 4096

// counters holds the kernel's own counters against what the hooks saw. A nil
// one does nothing.
type counters struct {
	kernel *netns.Counters
	next   uint64
	hurry  bool                // a namespace was seen that no round has met
	met    map[uint32]struct{} // namespaces of records told
	rounds sync.WaitGroup

	mu     sync.Mutex
	busy   bool
	must   map[uint32]map[string]uint64 // by namespace and counter: records told in full that count there
	noHits string                       // why the hits could not be read
}

// startCounters reads the counters before the hooks are attached.
func startCounters(spaces *netns.Spaces) *counters {
	k := &counters{kernel: netns.NewCounters(spaces), must: map[uint32]map[string]uint64{}, met: map[uint32]struct{}{}}
	k.kernel.Attaching()
	return k
}

// attached reads them again; hits are the kernel side's.
func (k *counters) attached(hits func() (map[uint32]probe.Hits, error)) {
	if k != nil {
		k.kernel.Attached(func() map[uint32]netns.Seen { return k.seen(hits) })
	}
}

func (k *counters) seen(hits func() (map[uint32]probe.Hits, error)) map[uint32]netns.Seen {
	by, err := hits()
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		k.noHits = err.Error()
	}
	out := make(map[uint32]netns.Seen, len(by))
	for ns, h := range by {
		out[ns] = netns.Seen{Hits: map[event.Hook]uint64{
			event.HookSend: h.Sent, event.HookReceive: h.Received, event.HookDrop: h.Refused, event.HookFirewall: h.Firewall,
		}}
	}
	for ns, must := range k.must {
		s := out[ns]
		s.Must = maps.Clone(must)
		out[ns] = s
	}
	return out
}

// tick starts a round every ten seconds, and sooner where a namespace shows up
// that may be gone by then. Rounds run beside the event path: with many
// namespaces one takes tens of milliseconds.
func (k *counters) tick(now uint64) {
	if k == nil || now == ^uint64(0) || (now < k.next && !(k.hurry && now >= k.next-counterRound+counterPause)) {
		return
	}
	first := k.next == 0
	k.next, k.hurry = now+counterRound, false
	k.mu.Lock()
	defer k.mu.Unlock()
	if first || k.busy {
		return
	}
	k.busy = true
	k.rounds.Go(func() {
		k.kernel.Round()
		k.mu.Lock()
		defer k.mu.Unlock()
		k.busy = false
	})
}

// count takes a record that is told in full.
func (k *counters) count(r *event.Reset) {
	if k == nil {
		return
	}
	if _, ok := k.met[r.NetNS]; !ok {
		if len(k.met) >= countedMax {
			clear(k.met)
		}
		k.met[r.NetNS], k.hurry = struct{}{}, true
	}
	names := countedIn(r)
	if len(names) == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	must := k.must[r.NetNS]
	if must == nil {
		if len(k.must) >= countedMax {
			return
		}
		must = map[string]uint64{}
		k.must[r.NetNS] = must
	}
	for _, name := range names {
		must[name]++
	}
}

// detaching and detached enclose the detachment of the hooks.
func (k *counters) detaching() {
	if k != nil {
		k.rounds.Wait()
		k.kernel.Detaching()
	}
}

func (k *counters) detached() {
	if k != nil {
		k.kernel.Detached()
	}
}

// checks compares, up to the last round.
func (k *counters) checks(c probe.Counts) []event.CounterCheck {
	if k == nil {
		return []event.CounterCheck{}
	}
	k.mu.Lock()
	noHits := k.noHits
	k.mu.Unlock()
	return k.kernel.Checks(netns.Losses{Recursion: c.LostRecursionSent, NoHits: noHits})
}

// countedIn names the counters in which the kernel must have counted the reset.
// The functions are those of internal/netns's table. Multipath TCP's subflows
// end in ways of their own.
func countedIn(r *event.Reset) []string {
	if r.Facts.MPTCP {
		return nil
	}
	was := ""
	if r.State != nil {
		was = *r.State
	}
	open := was == "ESTABLISHED" || was == "CLOSE_WAIT"
	switch r.Hook {
	case event.HookReceive:
		switch {
		case open:
			return []string{"EstabResets"}
		case was == "SYN_SENT" || was == "SYN_RECV":
			return []string{"AttemptFails"}
		}
	case event.HookDrop:
		if r.Effect != nil && *r.Effect == event.EffectKilled && (was == "LISTEN" || r.Socket == event.SocketRequest) {
			return []string{"EmbryonicRsts", "AttemptFails"}
		}
	case event.HookSend:
		names := byCause(r)
		if open && !r.Facts.TriggerSeen {
			names = append(names, "EstabResets")
		}
		return names
	}
	return nil
}

func byCause(r *event.Reset) []string {
	switch {
	case r.Cause == diagnose.UnreadData:
		return []string{"TCPAbortOnClose"}
	case r.Cause == diagnose.LingerZero:
		return []string{"TCPAbortOnData"}
	// a listener that answers a late segment counts nothing (tcp_rcv_state_process)
	case (r.Cause == diagnose.LateData || r.Cause == diagnose.DataAfterShutdown) && r.Socket == event.SocketFull && (r.State == nil || *r.State != "LISTEN"):
		return []string{"TCPAbortOnData"}
	case r.Cause == diagnose.Linger2Abort && !r.Facts.TriggerSeen && r.Facts.StateAtReset == "CLOSE":
		return []string{"TCPAbortOnLinger"}
	case r.Cause == diagnose.OrphanMemory:
		return []string{"TCPAbortOnMemory"}
	case r.Cause == diagnose.KeepaliveTimeout || r.Cause == diagnose.UserTimeout:
		return []string{"TCPAbortOnTimeout"}
	case r.Cause == diagnose.BacklogOverflow:
		return []string{"EmbryonicRsts"}
	case r.Cause == diagnose.HandshakeSYN:
		return []string{"EmbryonicRsts", "AttemptFails"}
	}
	return nil
}
