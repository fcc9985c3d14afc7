package pipeline

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"os"
	"strconv"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

// senders decides whether a RST that claims to come from this host was sent by
// a socket at all. "No" is said only where the kernel's own count of RSTs sent
// in that network namespace (Tcp: OutRsts) says it too: a hook may miss a
// send, and a netfilter REJECT counts nowhere (KERNEL.md 1c).
type senders struct {
	sent    map[uint32]uint64    // sends told, by network namespace
	recent  [2]map[uint64]bool   // connections that a RST was sent on, new and old, by key
	seed    maphash.Seed         // of key
	turned  uint64               // when recent was turned over
	lost    uint64               // losses at the last look
	lostAt  uint64               // when they grew, boot-clock ns
	balance map[uint32]agreement // of OutRsts with sent, by network namespace
	began   uint64               // when every hook was attached
	budget  int                  // questions to /proc, refilled once a second
	outRsts func(netns, pid uint32) (uint64, error)
	tracked func(netns, pid uint32) bool
}

// agreement is how much OutRsts was ahead of what was told, and how often in a
// row that was the same.
type agreement struct {
	ahead int64
	times int
	at    uint64
}

const (
	sentKeep    = 5e9  // a locked receiver learns of a RST later than its sender
	sentMax     = 8192 // connections in each half of recent
	lossKeep    = 2e9
	startKeep   = 500e6
	netnsMax    = 1024
	askBudget   = 20
	agreesTwice = 2
)

func newSenders() senders {
	return senders{
		sent: map[uint32]uint64{}, recent: [2]map[uint64]bool{{}, {}}, seed: maphash.MakeSeed(), balance: map[uint32]agreement{},
		budget: askBudget, outRsts: outRsts, tracked: tracked,
	}
}

// key stands for a connection in recent, at a quarter of its size. Where two
// share one, a sender is believed in that was none, and nothing is claimed.
func (n *senders) key(at place) uint64 { return maphash.Comparable(n.seed, at) }

// note learns that a RST was sent.
func (n *senders) note(e *probe.ResetEvent) {
	if hookOf(e) == hookReceive || hookOf(e) == hookDrop {
		return
	}
	if hookOf(e) == hookSend {
		if len(n.sent) >= netnsMax {
			clear(n.sent) // OutRsts is ahead then, so that nothing is claimed
			clear(n.balance)
		}
		n.sent[e.Netns]++
	}
	if len(n.recent[0]) >= sentMax || e.TimeNs > n.turned+sentKeep {
		if len(n.recent[0]) >= sentMax {
			n.lostAt = max(n.lostAt, e.TimeNs) // what is turned over may be too young
		}
		n.recent[0], n.recent[1], n.turned = n.recent[1], n.recent[0], e.TimeNs
		clear(n.recent[0])
	}
	n.recent[0][n.key(placeOf(e))] = true
}

// losses notes when something was lost. A send that was only counted, like one
// that was filtered, leaves OutRsts ahead of what was told.
func (n *senders) losses(c probe.Counts, undecoded, now uint64) {
	if sum := c.LostRing + c.LostRecursion + undecoded; sum != n.lost {
		n.lost, n.lostAt = sum, now
	}
}

// sample compares OutRsts with what was told. pid leads to the namespace.
func (n *senders) sample(netns, pid uint32, now uint64) (agreement, bool) {
	out, err := n.outRsts(netns, pid)
	if err != nil {
		return agreement{}, false
	}
	was := n.balance[netns]
	is := agreement{ahead: int64(out) - int64(n.sent[netns]), times: 1, at: now}
	if was.times > 0 && was.ahead == is.ahead {
		is.times, is.at = was.times+1, was.at
	}
	n.balance[netns] = is
	return is, true
}

// noSender tells that nobody here sent the RST that p received, although it
// claims so. Where anything could hide a sender it says no.
func (s *session) noSender(p *pending, now uint64) bool {
	e, n := &p.raw, &s.senders
	if hookOf(e) != hookReceive || p.joined || p.end == nil || p.end.twin != nil || s.opts.Filter.NoSent ||
		e.TimeNs < n.began+startKeep || !s.here.certain(e, now) {
		return false
	}
	// A sender would have passed the same filters?
	mirror := event.Reset{Direction: event.Sent, Local: endpoint(e.PeerAddr, e.PeerPort), Peer: endpoint(e.LocalAddr, e.LocalPort)}
	if !s.opts.Filter.Match(&mirror) {
		return false
	}
	// A sender whose RST did not have the expected numbers (a hole in what the
	// receiver had got, KERNEL.md 9d) is one all the same.
	other := n.key(placeOf(e).mirrored())
	if n.recent[0][other] || n.recent[1][other] {
		return false
	}
	n.losses(s.live.Counts(), s.undecoded, now)
	if n.lostAt != 0 && n.lostAt+lossKeep >= e.TimeNs {
		return false
	}
	if n.budget == 0 {
		return false
	}
	n.budget--
	// Behind a translation the sender has another address, here or elsewhere.
	if n.tracked(e.Netns, e.Owner.Tgid) && !p.untranslated {
		return false
	}
	was := n.balance[e.Netns]
	is, ok := n.sample(e.Netns, e.Owner.Tgid, now)
	if !ok {
		return false
	}
	// Every RST of that namespace since it exists was told; or as many as
	// before remain that were not: those of before the start.
	return is.ahead == 0 || was.times >= agreesTwice && was.at < e.TimeNs && is.ahead == was.ahead
}

// netPath is /proc/PID/net of a process in the network namespace.
func netPath(netns, pid uint32) (string, error) {
	for _, dir := range []string{"/proc/self", fmt.Sprintf("/proc/%d", pid)} {
		if ino, ok := netnsOf(dir + "/ns/net"); ok && ino == netns {
			return dir + "/net", nil
		}
	}
	return "", fmt.Errorf("no process known in network namespace %d: %w", netns, fs.ErrNotExist)
}

// outRsts reads Tcp: OutRsts of the namespace.
func outRsts(netns, pid uint32) (uint64, error) {
	dir, err := netPath(netns, pid)
	if err != nil {
		return 0, err
	}
	b, err := os.ReadFile(dir + "/snmp")
	if err != nil {
		return 0, fmt.Errorf("read reset counter: %w", err)
	}
	var names [][]byte
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) == 0 || string(f[0]) != "Tcp:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, name := range names {
			if string(name) == "OutRsts" && i < len(f) {
				return strconv.ParseUint(string(f[i]), 10, 64)
			}
		}
	}
	return 0, errors.New("read reset counter: /proc/net/snmp has no Tcp OutRsts")
}

// tracked tells whether conntrack may hold connections of the namespace, and
// so may translate their addresses. The first column of each line of
// stat/nf_conntrack is their number (nf_conntrack_standalone.c, ct_cpu_seq_show).
func tracked(netns, pid uint32) bool {
	if _, err := os.Stat("/proc/sys/net/netfilter"); errors.Is(err, fs.ErrNotExist) {
		return false // the sysctls come with the module
	}
	dir, err := netPath(netns, pid)
	if err != nil {
		return true
	}
	f, err := os.Open(dir + "/stat/nf_conntrack")
	if err != nil {
		return true
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		word, _, _ := bytes.Cut(lines.Bytes(), []byte(" "))
		if count, err := strconv.ParseUint(string(word), 16, 64); err == nil {
			return count > 0
		}
	}
	return true
}
