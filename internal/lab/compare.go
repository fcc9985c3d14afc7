package lab

import (
	"cmp"
	"net/netip"
	"slices"

	"rstwhy/internal/event"
)

// Field is what a finding is about.
type Field string

// The two ways in which a whole record can be wrong, the two in which an owner
// can, and the other fields that are compared.
const (
	Missing      Field = "missing record"
	Unexpected   Field = "unexpected record"
	WrongOwner   Field = "WRONG OWNER"
	UnknownOwner Field = "owner"
	CauseField   Field = "cause"
	SocketField  Field = "socket"
	CommField    Field = "comm"
	StartField   Field = "start time"
	EndingField  Field = "ended by"
	HookField    Field = "hook"
	EffectField  Field = "effect"
	ActorField   Field = "actor"
	TwinField    Field = "twin"
	PacketsField Field = "packets"
	NATField     Field = "nat"
	OthersField  Field = "others"
)

// Finding is one thing that a tracer told and that is not so, or did not tell.
type Finding struct {
	Scenario string // empty: a record that belongs to no scenario
	Field    Field
	What     string
	Truth    *Truth       // nil for an unexpected record
	Reset    *event.Reset // nil for a missing one
}

// Score sums a comparison up for one scenario, or for one cause.
type Score struct {
	Name    string // scenario, or direction and cause
	Truths  int    // resets that had to be told
	Told    int    // of these, found among the records
	Right   int    // of these, right in everything
	Named   int    // of these, with an owner
	Unknown int    // of these, without an owner that a process had to be
	Wrong   int    // of these, with a wrong owner
	Records int    // that tell of them; more where a truth repeats
}

// Add sums up.
func (s *Score) Add(o Score) {
	s.Truths, s.Told, s.Right, s.Named = s.Truths+o.Truths, s.Told+o.Told, s.Right+o.Right, s.Named+o.Named
	s.Unknown, s.Wrong, s.Records = s.Unknown+o.Unknown, s.Wrong+o.Wrong, s.Records+o.Records
}

// Judgement is what a comparison found.
type Judgement struct {
	ByScenario []Score
	ByCause    []Score
	Findings   []Finding
}

type key struct {
	direction   event.Direction
	local, peer netip.AddrPort
	netns       uint32
}

func (t *Truth) key() key { return key{t.Direction, t.Local, t.Peer, t.NetNS} }

func addrPort(e event.Endpoint) netip.AddrPort { return netip.AddrPortFrom(e.Address.Unmap(), e.Port) }

func resetKey(r *event.Reset) key {
	return key{r.Direction, addrPort(r.Local), addrPort(r.Peer), r.NetNS}
}

// connection is the key without the side that looks.
type connection struct {
	low, high netip.AddrPort
}

func (k key) connection() connection {
	if k.local.Compare(k.peer) > 0 {
		return connection{k.peer, k.local}
	}
	return connection{k.local, k.peer}
}

// result is what the records say of one truth.
type result struct {
	truth    *Truth
	records  []*event.Reset
	findings []Finding
	score    Score
}

func (r *result) find(f Field, what string, reset *event.Reset) {
	r.findings = append(r.findings, Finding{Scenario: r.truth.Scenario, Field: f, What: what, Truth: r.truth, Reset: reset})
}

// Compare matches what a tracer told to what happened. Every truth needs its
// own record; a record on a connection of the lab's, or with an owner
// from the lab, needs a truth. What else the host did is ignored. Records of one
// end of one connection are matched in the order of time. Lab.Has is the usual mine.
func Compare(truths []Truth, resets []event.Reset, mine func(pid int) bool) (j Judgement) {
	told := map[key][]*event.Reset{}
	for i := range resets {
		told[resetKey(&resets[i])] = append(told[resetKey(&resets[i])], &resets[i])
	}
	for _, list := range told {
		slices.SortStableFunc(list, func(a, b *event.Reset) int { return a.Time.Compare(b.Time) })
	}
	ours := map[connection]string{}
	results := make([]*result, len(truths))
	for i := range truths {
		t := &truths[i]
		k := t.key()
		ours[k.connection()] = t.Scenario
		results[i], told[k] = match(t, told[k])
	}
	judgeTwins(results)
	for _, r := range results {
		r.finish()
		j.Findings = append(j.Findings, r.findings...)
	}
	for k, list := range told {
		scenario, known := ours[k.connection()]
		for _, r := range list {
			if known || r.Owner != nil && mine(int(r.Owner.PID)) {
				j.Findings = append(j.Findings, Finding{Scenario: scenario, Field: Unexpected, What: string(Unexpected), Reset: r})
			}
		}
	}
	j.ByScenario = tally(results, func(t *Truth) string { return t.Scenario })
	j.ByCause = tally(results, func(t *Truth) string { return string(t.Direction) + " " + t.Causes()[0] })
	slices.SortStableFunc(j.Findings, func(a, b Finding) int { return cmp.Compare(a.Scenario, b.Scenario) })
	return j
}

// match takes the records that tell of one truth from the front of the list.
func match(t *Truth, list []*event.Reset) (res *result, rest []*event.Reset) {
	res = &result{truth: t}
	fits := func(r *event.Reset) bool { return slices.Contains(t.Causes(), r.Cause) }
	if t.Optional && (len(list) == 0 || !fits(list[0])) {
		return res, list
	}
	res.score.Truths = 1
	if len(list) == 0 {
		res.find(Missing, string(Missing), nil)
		return res, nil
	}
	n := 1
	for t.Repeats && n < len(list) && fits(list[n]) {
		n++
	}
	res.records = list[:n]
	for _, r := range res.records {
		res.judge(r)
	}
	return res, list[n:]
}

// finish counts.
func (r *result) finish() {
	if len(r.records) == 0 {
		return
	}
	flag := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	has := func(f Field) bool {
		return slices.ContainsFunc(r.findings, func(x Finding) bool { return x.Field == f })
	}
	r.score.Told, r.score.Records = 1, len(r.records)
	r.score.Right = flag(len(r.findings) == 0)
	r.score.Named = flag(r.records[0].Owner != nil)
	r.score.Unknown = flag(r.records[0].Owner == nil && len(r.truth.Owners) > 0)
	r.score.Wrong = flag(has(WrongOwner))
}

func tally(results []*result, name func(*Truth) string) (all []Score) {
	sums := map[string]*Score{}
	for _, r := range results {
		n := name(r.truth)
		if sums[n] == nil {
			sums[n] = &Score{Name: n}
		}
		sums[n].Add(r.score)
	}
	for _, s := range sums {
		if s.Truths > 0 { // none: nothing but what may be left out
			all = append(all, *s)
		}
	}
	slices.SortFunc(all, func(a, b Score) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Sure counts the truths whose cause a tracer may be unsure of, and of these the
// ones that have a record with the true cause.
func Sure(truths []Truth, resets []event.Reset) (sure, of int) {
	causes := map[key][]string{}
	for i := range resets {
		k := resetKey(&resets[i])
		causes[k] = append(causes[k], resets[i].Cause)
	}
	for i := range truths {
		if t := &truths[i]; t.Unsure != "" {
			of++
			if slices.Contains(causes[t.key()], t.Cause) {
				sure++
			}
		}
	}
	return sure, of
}
