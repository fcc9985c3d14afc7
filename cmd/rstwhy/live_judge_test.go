package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
	"rstwhy/internal/lab"
	"rstwhy/internal/probe"
)

// unknownShare: no BPF program runs on top of some tasks (threads of pid 1 on the
// build machine), and a program is skipped while it runs on the same CPU: then an
// owner cannot be known. Wrong is never allowed, unknown in one of 200.
const unknownShare = 200

// judge prints the tables and fails for everything that is not so.
func (s *live) judge(resets []event.Reset, storms []event.Storm, summary *event.Summary) {
	account := summary.Account
	if len(s.truths) == 0 {
		s.t.Fatal("no scenario told a truth")
	}
	// That nobody sent a RST is claimed only where nothing could hide a sender,
	// which others on this host decide (lab.Truth.Unsure); TestProve wants the claim.
	if account.Aggregated+account.Lost > 0 { // further packets of a story may be in a storm line
		for i := range s.truths {
			s.truths[i].Packets = 0
		}
	}
	truths := s.truths
	if s.limits[probe.LimitSilent] {
		var unseen []lab.Truth
		truths, unseen = lab.Visible(truths)
		s.t.Logf("%d of the resets are invisible on this kernel", len(unseen))
	}
	j := lab.Compare(truths, resets, s.lab.Has)
	findings, inStorms := lab.ToldAsStorms(j.Findings, storms)
	s.t.Logf("%d of the lab's resets are told in %d storm lines", inStorms, len(storms))
	unknown, allowed := 0, max(1, len(s.truths)/unknownShare)
	hidden := disagreeing(summary)
	missing := 0
	for _, f := range findings {
		switch {
		case f.Field == lab.Missing && (hidden[f.Truth.NetNS] || s.lab.Steer && f.Truth.Direction == event.Received) && missing < allowed:
			missing++
			s.t.Logf("missing, %d of %d allowed where a counter of the kernel says so, or softirqs run on top of pid 1's threads: %s", missing, allowed, s.finding(f))
		case f.Field == lab.EffectField && f.Reset != nil && f.Reset.Effect != nil && *f.Reset.Effect == event.EffectUnknown && unknown < allowed:
			unknown++
			s.t.Logf("unknown effect, %d of %d allowed: %s", unknown, allowed, s.finding(f))
		case s.limits[probe.LimitUntold] && f.Untold():
			s.t.Logf("unknown, as this kernel does not tell which socket refused it: %s", s.finding(f))
		case f.Field == lab.UnknownOwner && unknown < allowed:
			unknown++
			s.t.Logf("unknown owner, %d of %d allowed: %s", unknown, allowed, s.finding(f))
		default:
			s.t.Error(s.finding(f))
		}
	}
	all := lab.Score{Name: "all"}
	for _, r := range j.ByCause {
		all.Add(r)
	}
	s.t.Log(scoreTable("scenario", append(j.ByScenario, all)))
	byCause := append(j.ByCause, all)
	s.t.Log(scoreTable("cause", byCause))
	s.t.Logf("of %d records, %d are not the lab's: a flood of others' resets can overflow the ring and fail this test", len(resets), len(resets)-all.Records)
	if os.Getenv("RSTWHY_WRITE_DOCS") == "1" && !s.t.Failed() {
		s.writeDocs(byCause)
	}
}

// disagreeing are the network namespaces in which a counter of the kernel grew
// by more than rstwhy saw, and the summary says so: a RST whose both ends are
// there is missed at both.
func disagreeing(summary *event.Summary) map[uint32]bool {
	all := map[uint32]bool{}
	for _, c := range summary.Checks {
		// A namespace of the lab's may go before its counters are read.
		gone := c.Agree == nil && c.Counter == "OutRsts"
		if gone || c.Agree != nil && !*c.Agree && c.Kernel > c.Seen {
			all[c.NetNS] = true
		}
	}
	return all
}

func (s *live) finding(f lab.Finding) string {
	about := cmp.Or(f.Scenario, "no scenario") + ": " + f.What
	if t := f.Truth; t != nil {
		about += fmt.Sprintf("\n  truth:  %s %s %v to %v netns %d owners %v", t.Direction, t.Cause, t.Local, t.Peer, t.NetNS, t.Owners)
	}
	if f.Reset != nil {
		b, err := json.Marshal(f.Reset)
		if err != nil {
			s.t.Fatal(err)
		}
		about += "\n  record: " + string(b)
	}
	return about
}

func scoreTable(what string, rows []lab.Score) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-52s %6s %6s %6s %6s %7s %6s\n", what, "truths", "told", "right", "named", "unknown", "wrong")
	for _, r := range rows {
		fmt.Fprintf(&b, "%-52s %6d %6d %6d %6d %7d %6d\n", r.Name, r.Truths, r.Told, r.Right, r.Named, r.Unknown, r.Wrong)
	}
	return b.String()
}

// writeDocs writes docs/accuracy.md.
func (s *live) writeDocs(rows []lab.Score) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		s.t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `# Accuracy

What rstwhy told, against resets whose cause and owner are known because internal/lab
made them with processes of its own: on loopback by IPv4, IPv6 and v4-mapped
addresses, in network namespaces, over veth and from a peer that no kernel runs;
some on connections older than the tracer; in every other round with all CPUs
kept busy by others. This page is written by the test that measures it:

    sudo env RSTWHY_WRITE_DOCS=1 RSTWHY_LIVE_ROUNDS=%d go test -run 'TestLive$' -timeout 30m ./cmd/rstwhy

Kernel %s, %s; softirqs steered to other CPUs: %t; RSTWHY_LIVE_SEED=%d.

A *wrong* owner fails the test, and so does a record too many or one that is missing,
unless a counter in the summary shows that the kernel made more resets than its hooks
showed (at most one of 200); an *unknown* owner in more than one of %d resets that
could have been known, too. *Right* is a record in which everything that was judged is so: cause, owner, how the process ended, socket, who acted, what the RST
did, the record of the other end. *Unknown* are resets whose process is known to the
test and not to rstwhy, also where nobody could know it: a child that nobody had
accepted before the tracer started, or a RST that TCP never got to see.

| reset | happened | told | right | owner unknown | owner wrong |
|---|--:|--:|--:|--:|--:|
`, fromEnvironment(s.t, "RSTWHY_LIVE_ROUNDS", 1), unix.ByteSliceToString(u.Release[:]), time.Now().UTC().Format(time.DateOnly), s.lab.Steer, s.seed, unknownShare)
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d |\n", strings.ReplaceAll(r.Name, "|", " or "), r.Truths, r.Told, r.Right, r.Unknown, r.Wrong)
	}
	if err := os.WriteFile(filepath.Join("..", "..", "docs", "accuracy.md"), []byte(b.String()), 0o644); err != nil {
		s.t.Fatal(err)
	}
}
