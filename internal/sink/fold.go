package sink

import (
	"net/netip"
	"time"

	"rstwhy/internal/event"
)

// Bounds of what the text shows of one second. A terminal shows some 50 lines;
// what is beyond nobody reads, and a flood of it hides the rest.
const (
	foldWindow = time.Second
	foldAfter  = 10 // records of one group; the rest are counted

	// On a terminal also:
	foldKind  = 30  // records of one kind
	foldFirst = 2   // records of a kind that are printed whatever else is
	foldLines = 200 // lines on the screen
	foldMost  = 300 // the same, with the first records of each kind

	// Of what was counted:
	foldApart = 3   // groups of one kind that are told apart
	foldShown = 20  // counts that are printed, largest first
	foldTold  = 100 // lines of them on a terminal

	// In memory, since a scan makes a new group with each packet:
	foldGroups = 4096 // groups, and processes
	foldKinds  = 1024
)

// kindKey is what all resets of a kind have in common, whatever address, port
// or process of that name they concern: as the kernel side spares the first of
// each kind, a scan of all ports must not hide the one reset of another program.
type kindKey struct {
	direction event.Direction
	cause     string
	comm      string
	label     string
	netns     uint32
	merged    bool
}

// groupKey is what the resets of one fold have in common.
type groupKey struct {
	kindKey
	ownerKey
	remote netip.Prefix
	port   uint16 // of the side that was connected to
	ours   bool   // that is the local one
}

type ownerKey struct {
	pid   uint32
	start int64
}

func keyOf(s *event.Storm) groupKey {
	k := groupKey{
		kindKey: kindKey{direction: s.Direction, cause: s.Cause, netns: s.NetNS, merged: s.Merged},
		remote:  s.Remote, port: s.RemotePort,
	}
	if s.LocalPort != 0 {
		k.port, k.ours = s.LocalPort, true
	}
	if s.Owner != nil {
		k.comm, k.label = s.Owner.Comm, s.Owner.Label
		k.pid, k.start = s.Owner.PID, s.Owner.StartTime.UnixNano()
	}
	return k
}

// stormOf is the storm of one reset, as the kernel side would count it: by the
// port that was connected to, since the other one is any of thousands.
func stormOf(r *event.Reset) event.Storm {
	s := event.Storm{
		Time: r.Time, Count: 1, Direction: r.Direction, Cause: r.Cause, Owner: r.Owner, OwnerProven: r.OwnerProven,
		LocalPort: r.Local.Port, NetNS: r.NetNS,
		Remote: netip.PrefixFrom(r.Peer.Address.WithZone(""), r.Peer.Address.BitLen()), Effect: r.Effect, Verdict: r.Verdict,
	}
	if r.Owner == nil {
		s.Others = r.Others
	}
	if connected(r) {
		s.LocalPort, s.RemotePort = 0, r.Peer.Port
	}
	return s
}

type group struct {
	printed int // records
	count
}

type kind struct {
	printed int  // records
	lines   int  // of them on the screen
	made    int  // groups
	groups  int  // groups of which something was counted
	many    bool // more processes than are kept
	count
	processes map[ownerKey]struct{} // of what was counted
}

// fold counts the resets of the current second that are not printed.
type fold struct {
	from      time.Time
	lines     int // on the screen
	groups    map[groupKey]*group
	kinds     map[kindKey]*kind
	processes int    // in all kinds
	rest      uint64 // beyond foldKinds
}

// spot is where a reset or a storm belongs: nil where there are too many.
type spot struct {
	group *group
	kind  *kind
}

func (f *fold) find(k groupKey) spot {
	if f.groups == nil {
		f.groups, f.kinds = make(map[groupKey]*group), make(map[kindKey]*kind)
	}
	p := spot{f.groups[k], f.kinds[k.kindKey]}
	if p.kind == nil && len(f.kinds) < foldKinds {
		p.kind = &kind{processes: make(map[ownerKey]struct{})}
		f.kinds[k.kindKey] = p.kind
	}
	// No kind takes more groups than it leaves free, as in the kernel side's maps.
	if p.group == nil && p.kind != nil && p.kind.made < foldGroups-len(f.groups) {
		p.kind.made++
		p.group = new(group)
		f.groups[k] = p.group
	}
	return p
}

// room tells whether one more record is printed.
func (f *fold) room(p spot, terminal bool) bool {
	switch {
	case p.kind == nil || p.group != nil && p.group.printed >= foldAfter:
		return false
	case p.kind.printed < foldFirst:
		return !terminal || f.lines < foldMost
	case p.group == nil && p.kind.printed >= foldAfter:
		return false
	}
	// No kind takes more of the screen than it leaves free, so that whoever
	// comes after two scans finds a third of it.
	free := foldLines - f.lines
	return !terminal || p.kind.printed < foldKind && p.kind.lines < free
}

// printed takes note of a record.
func (f *fold) printed(p spot, lines int) {
	f.lines += lines
	p.kind.printed++
	p.kind.lines += lines
	if p.group != nil {
		p.group.printed++
	}
}

// add counts what is not printed.
func (f *fold) add(p spot, k groupKey, c *count) {
	if p.kind == nil {
		f.rest += c.Count
		return
	}
	_, known := p.kind.processes[k.ownerKey]
	switch {
	case known:
	case f.processes < foldGroups:
		p.kind.processes[k.ownerKey] = struct{}{}
		f.processes++
	default:
		p.kind.many = true
	}
	switch {
	case p.group == nil:
		p.kind.groups = foldApart + 1 // they cannot be told apart
	case p.group.Count == 0:
		p.kind.groups++
		fallthrough
	default:
		p.group.addOne(c)
	}
	p.kind.addAny(c)
}
