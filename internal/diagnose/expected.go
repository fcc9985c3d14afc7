package diagnose

import (
	"net/netip"
	"slices"
	"time"

	"rstwhy/internal/event"
)

// Expectation is one kind of reset that asks nothing of anybody: harmless, or
// the noise that every reachable host hears. --quiet-expected hides these and
// counts them. When in doubt a reset is not expected.
type Expectation struct {
	Cause   string // cause id; empty: any
	When    string // reads on after "expected": "from a public address"
	Because string
	test    func(*event.Reset) bool
}

// Expectations gives the table, in the order of the documentation.
func Expectations() []Expectation { return slices.Clone(expectations) }

// A port check connects and goes away at once, and no program that wants an
// answer gives up within a second.
const portCheck = time.Second

var expectations = []Expectation{
	{ClosedPort, "when the peer has a public address", "scanners try every port of every reachable host; a client inside the network that meets a closed port stays shown", fromOutside},
	{PeerResetHandshake, "when the peer has a public address", "half-open scans end each of their attempts with a reset", fromOutside},
	{PeerResetBeforeAccept, "when it came within a second and no data had passed", "port checks of load balancers and scanners connect and go away at once", checked},
	{PeerReset, "when the peer had connected, within a second and no data had passed", "port checks of load balancers and scanners connect and go away at once", checked},
	{ResetToNobody, "always", "nothing changed: the connection was gone before, and its end was told where it was seen", anyReset},
	{PeerResetTimewait, "when both sides had closed", "the connection was over, and both sides had acknowledged all data", func(r *event.Reset) bool {
		return r.Facts.TWSubstate == "TIME_WAIT"
	}},
	{LateData, "when the segment was without data and nothing killed the process", "the process had closed, and what came after was no data, so none were lost", func(r *event.Reset) bool {
		return r.Evidence.SegmentBytes.Known && r.Evidence.SegmentBytes.N == 0 && !killed.Test(r)
	}},
	{"", "when the verdict is that it is harmless", "the rule says so: its cause is known and nothing is lost", harmless},
}

// Expected tells whether a reset that has its cause and verdict is harmless or
// scanner noise.
func Expected(r *event.Reset) bool {
	for i := range expectations {
		if x := &expectations[i]; (x.Cause == "" || x.Cause == r.Cause) && x.test(r) {
			return true
		}
	}
	return false
}

func anyReset(*event.Reset) bool { return true }

// sharedSpace is the address space of carriers' NAT (RFC 6598); clouds use it
// inside.
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// fromOutside: the other end is not on this host and not in a private network.
func fromOutside(r *event.Reset) bool {
	a := r.Peer.Address
	return a.IsGlobalUnicast() && !a.IsPrivate() && !sharedSpace.Contains(a) && a != r.Local.Address && r.Twin == nil
}

func checked(r *event.Reset) bool {
	e := &r.Evidence
	zero := func(n event.Number) bool { return n.Known && n.N == 0 }
	return r.Facts.ActiveOpenKnow && !r.Facts.ActiveOpen && zero(e.SentBytes) && zero(e.ReceivedBytes) &&
		e.AgeNS.Known && e.AgeNS.N <= int64(portCheck)
}

func harmless(r *event.Reset) bool {
	if r.Verdict == nil {
		return false
	}
	rule, ok := LookupRule(r.Verdict.Rule)
	return ok && rule.harmless(r.Verdict.Confidence)
}
