package probe

import (
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf/link"
)

// The hook of refused resets runs for every packet that the kernel drops. In a
// flood of drops it leaves, and comes back: at dropLimit a second, with 60 to
// 100 ns each, it costs half a percent of one core.
const (
	dropLimit    = 50_000
	dropLook     = 200 * time.Millisecond
	dropRest     = 10 * time.Second
	dropRestMax  = 5 * time.Minute
	refusedHook  = "refused"
	floodOfDrops = "a flood of dropped packets: the hook runs for each of them"
)

// drops keeps the budget of the hook of refused resets.
type drops struct {
	looked time.Time
	seen   uint64
	back   time.Time // when it is attached again; zero while attached
	rest   time.Duration
	gaps   gaps
}

// TendDrops detaches the hook of refused resets in a flood of dropped packets,
// and attaches it again later. Call it often; it looks five times a second.
func (l *Live) TendDrops(now time.Time) {
	d := &l.drops
	if l.detached || now.Sub(d.looked) < dropLook {
		return
	}
	if !d.back.IsZero() {
		if now.After(d.back) {
			l.attachDrops(now)
		}
		return
	}
	lnk := l.links[refusedHook]
	if lnk == nil {
		return
	}
	passed, since := l.counts().Dropped, now.Sub(d.looked)
	rate := float64(passed-d.seen) / since.Seconds()
	first := d.looked.IsZero()
	d.seen, d.looked = passed, now
	switch {
	case first:
	case rate > dropLimit:
		lnk.Close()
		delete(l.links, refusedHook)
		d.rest = min(max(2*d.rest, dropRest), dropRestMax)
		d.back = now.Add(d.rest)
		d.gaps.begin(hookNamed(refusedHook), floodOfDrops, now)
		l.log.Warn().Msgf("resets that the kernel does not accept are not watched for %v: %s, about %.0f thousand a second",
			d.rest.Round(time.Second), floodOfDrops, rate/1000)
	case rate < dropLimit/10:
		d.rest = d.rest * 9 / 10
	}
}

func (l *Live) attachDrops(now time.Time) {
	d := &l.drops
	d.looked, d.seen, d.back = now, l.counts().Dropped, time.Time{}
	for _, c := range hookNamed(refusedHook).Candidates {
		prog := l.progs[c.Program]
		if prog == nil {
			continue
		}
		lnk, err := link.AttachTracing(link.TracingOptions{Program: prog})
		if err != nil {
			l.log.Warn().Err(err).Msg("resets that the kernel does not accept are still not watched")
			d.back = now.Add(dropRest)
			return
		}
		l.links[refusedHook] = lnk
		d.gaps.end(now)
		l.log.Info().Msg("resets that the kernel does not accept are watched again")
		return
	}
}

func hookNamed(name string) *Hook {
	for i := range Hooks {
		if Hooks[i].Name == name {
			return &Hooks[i]
		}
	}
	return &Hook{}
}

// refusals are the reasons for which a RST is dropped, by their kernel names
// (include/net/dropreason-core.h); the reasons of packet taps, queues and other
// protocols are none of them.
func refusal(name string) bool {
	switch name {
	case "NO_SOCKET", "NETFILTER_DROP", "SOCKET_FILTER", "SOCKET_BACKLOG", "XFRM_POLICY", "IP_CSUM", "PKT_TOO_SMALL", "PROTO_MEM":
		return true
	}
	if slices.Contains(orderly, name) {
		return false
	}
	return strings.HasPrefix(name, "TCP_")
}

// orderly are reasons of segments that TCP took or needs no more: no RST comes so
// far (tcp_validate_incoming and tcp_reset stand before them).
var orderly = []string{"TCP_OLD_DATA", "TCP_ZEROWINDOW", "TCP_OFOMERGE", "TCP_OFO_DROP", "TCP_OFO_QUEUE_PRUNE", "TCP_FASTOPEN", "TCP_OLD_ACK", "TCP_TOO_OLD_ACK", "TCP_ACK_UNSENT_DATA", "TCP_CLOSE"}

// dropReasons gives them as a bit set by the running kernel's numbers, and the
// number of "not specified".
func dropReasons(n *Names) (set [4]uint64, plain uint32) {
	plain = uint32(n.DropNotSpecified)
	for number, name := range n.DropReasons {
		if refusal(name) && number < 256 {
			set[number/64] |= 1 << (number % 64)
		}
	}
	set[plain/64&3] |= 1 << (plain % 64)
	return set, plain
}
