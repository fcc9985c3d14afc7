package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"rstwhy/internal/event"
)

// zkRounds is how often a stimulus is run at least: more than one reset of a
// kind is to be right.
const zkRounds = 3

// testTrace provokes every stimulus on the site and checks what the tracer
// said. It returns the causes on the server's host, by stimulus.
func (s *zkSite) testTrace(t *testing.T, tr *zkTrace) (causes map[string]string) {
	causes = map[string]string{}
	for _, st := range zkStimuli {
		t.Run(st.name, func(t *testing.T) {
			attempts, settled := s.repeat(t, tr, st)
			last := attempts[len(attempts)-1]
			if !settled {
				t.Errorf("not seen as expected in %d tries; the last one:\n%s%s", len(attempts),
					zkDescribe(tr.of(s.server, event.Sent, last.server, last.client)),
					zkDescribe(tr.of(s.client, event.Received, last.client, last.server)))
				return
			}
			t.Logf("seen as expected after %d tries", len(attempts))
			time.Sleep(time.Second) // records of late segments are held, too
			for _, a := range attempts {
				s.checkSent(t, tr, st, a)
				s.checkReceived(t, tr, st, a)
			}
			causes[st.name] = tr.of(s.server, event.Sent, last.server, last.client)[0].Cause
		})
	}
	return causes
}

// repeat provokes until the records say everything that the stimulus can show
// (the first ones may come before the server's answer to the probe), at least
// zkRounds times, at most zkTries times.
func (s *zkSite) repeat(t *testing.T, tr *zkTrace, st zkStimulus) (attempts []zkAttempt, settled bool) {
	t.Helper()
	for len(attempts) < zkTries {
		a, err := s.provoke(st)
		if err != nil {
			t.Fatal(err)
		}
		attempts, settled = append(attempts, a), false
		for i := 0; i < 30 && !settled && a.wire > 0; i++ { // a record is held for at most 0.5 s
			time.Sleep(50 * time.Millisecond)
			settled = s.settled(tr, st, a)
		}
		if settled && len(attempts) >= zkRounds {
			return attempts, true
		}
	}
	return attempts, settled
}

func (s *zkSite) settled(tr *zkTrace, st zkStimulus, a zkAttempt) bool {
	sent := tr.of(s.server, event.Sent, a.server, a.client)
	received := tr.of(s.client, event.Received, a.client, a.server)
	if len(sent) == 0 || len(received) == 0 || zkRule(sent[0]) != st.rule {
		return false
	}
	if st.client != "" && zkRule(received[0]) != st.client {
		return false
	}
	return zkServerOf(received[0]).Outcome != event.OutcomePending &&
		zkServerOf(sent[0]).Outcome != event.OutcomePending
}

// checkSent compares the records of the server's host with the wire and with
// what the test knows.
func (s *zkSite) checkSent(t *testing.T, tr *zkTrace, st zkStimulus, a zkAttempt) {
	t.Helper()
	sent := tr.of(s.server, event.Sent, a.server, a.client)
	packets := 0 // several late segments answered within a moment are one record
	for _, r := range sent {
		packets += int(r.Packets)
	}
	if wire := s.link.RSTs(a.server, a.client); packets != len(wire) {
		t.Errorf("%d RSTs of %s to %s crossed the link, %d were recorded as sent:\n%s",
			len(wire), a.server, a.client, packets, zkDescribe(sent))
	}
	for i, r := range sent {
		if st.refused {
			if r.Owner != nil || r.Cause != "closed-port" || r.Socket != event.SocketNone {
				t.Errorf("want cause closed-port, no socket and no owner:\n%s", zkDescribe(sent[i:i+1]))
			}
			continue
		}
		s.checkJVM(t, st, r, i == 0)
	}
	if len(sent) > 0 && !st.again && zkRule(sent[0]) != st.rule {
		t.Errorf("verdict %q on the server's host, want %q:\n%s", zkRule(sent[0]), st.rule, zkDescribe(sent[:1]))
	}
}

// checkJVM checks a record of the server's host. The first of a connection is
// the JVM's own close; later ones answer late segments, from no socket or from
// the listener, and need not name it, but may name nobody else.
func (s *zkSite) checkJVM(t *testing.T, st zkStimulus, r event.Reset, first bool) {
	t.Helper()
	one := []event.Reset{r}
	if r.Owner == nil {
		if first {
			t.Errorf("the server's process is not named:\n%s", zkDescribe(one))
		}
		return
	}
	if int(r.Owner.PID) != s.pids[st.port] || r.Owner.Comm != "java" || !strings.Contains(r.Owner.Label, "QuorumPeerMain") {
		t.Errorf("owner %d %q %q, want the JVM %d \"java\" with QuorumPeerMain:\n%s",
			r.Owner.PID, r.Owner.Comm, r.Owner.Label, s.pids[st.port], zkDescribe(one))
	}
	if !first {
		return
	}
	if r.ZooKeeper == nil || r.ZooKeeper.Role != event.RoleServer {
		t.Errorf("the local process is not said to be a ZooKeeper server:\n%s", zkDescribe(one))
	}
	s.checkServer(t, st, r)
}

// checkReceived checks the one record of the client's host.
func (s *zkSite) checkReceived(t *testing.T, tr *zkTrace, st zkStimulus, a zkAttempt) {
	t.Helper()
	received := tr.of(s.client, event.Received, a.client, a.server)
	if want := min(1, len(s.link.RSTs(a.server, a.client))); len(received) != want {
		t.Errorf("%s: %d resets recorded as received, want %d:\n%s", a.client, len(received), want, zkDescribe(received))
	}
	for _, r := range received {
		one := []event.Reset{r}
		if r.Owner == nil || int(r.Owner.PID) != s.process.pid {
			t.Errorf("the client's process (%d) is not named:\n%s", s.process.pid, zkDescribe(one))
		}
		if st.refused && r.Cause != "connect-refused" {
			t.Errorf("cause %s, want connect-refused", r.Cause)
		}
		if r.ZooKeeper == nil || r.ZooKeeper.Role != event.RoleClient {
			t.Errorf("the local process is not said to be a ZooKeeper client:\n%s", zkDescribe(one))
			continue
		}
		if got := r.ZooKeeper.Server; got != nil && netip.AddrPortFrom(got.Address, got.Port) != a.server {
			t.Errorf("server %s:%d, want %s", got.Address, got.Port, a.server)
		}
		s.checkServer(t, st, r)
	}
}

// checkServer checks what a record says of the server: nothing yet, or the
// truth. Both sites use the same addresses, so that a probe from the wrong
// network namespace would tell the other release's version.
func (s *zkSite) checkServer(t *testing.T, st zkStimulus, r event.Reset) {
	t.Helper()
	got := zkServerOf(r)
	if got.Outcome == event.OutcomePending {
		return
	}
	want := map[uint16]event.Outcome{
		zkPort: event.OutcomeOK, zkPortAlone: event.OutcomeNotServing,
		zkPortLimited: event.OutcomeOK, zkPortDead: event.OutcomeRefused,
	}[st.port]
	// Two sessions are all that the limited server gives to one address, and
	// the probe comes from the client's: it is dropped, or its srvr is and the
	// stat that follows is refused.
	limited := st.port == zkPortLimited &&
		(got.Outcome == event.OutcomeReset || got.Outcome == event.OutcomeNotWhitelisted)
	// A server that is younger than the tracer was perhaps asked before it served,
	// and is not asked again for five minutes; the record tells the answer's age.
	early := got.Outcome == event.OutcomeNotServing && r.Time.Add(-time.Duration(got.AgeNS)).Before(s.serves[st.port])
	if got.Outcome != want && !limited && !early {
		t.Errorf("outcome %q of asking the server, want %q:\n%s", got.Outcome, want, zkDescribe([]event.Reset{r}))
	}
	if got.Outcome == event.OutcomeOK && !strings.HasPrefix(got.Version, s.release.Version) {
		t.Errorf("version %q, want %s...:\n%s", got.Version, s.release.Version, zkDescribe([]event.Reset{r}))
	}
}

// checkOwnProbes makes sure that the tracer's own connections brought resets
// and that none of these was shown: the lab's connections have ports of their
// own (lab.ZKDial), the tracer's have the kernel's.
func (s *zkSite) checkOwnProbes(t *testing.T, tr *zkTrace, since time.Time) (probes uint64) {
	t.Helper()
	all, forgotten := s.link.AllRSTs()
	if forgotten > 0 {
		t.Errorf("the link saw %d RSTs too many to remember", forgotten)
	}
	for _, r := range all {
		if r.Time.After(since) && r.Src.Port() >= 32768 || r.Time.After(since) && r.Dst.Port() >= 32768 {
			probes++
		}
	}
	if probes == 0 {
		t.Error("no reset of the tracer's own connections crossed the link: the dead port was not asked, and this check shows nothing")
	}
	for _, r := range append(tr.in(s.client), tr.in(s.server)...) {
		low, high := min(r.Local.Port, r.Peer.Port), max(r.Local.Port, r.Peer.Port)
		// The server without a quorum has its own trouble with the election ports.
		if low >= zkPort && low <= zkPortDead && high >= 32768 {
			t.Errorf("the tracer shows a reset of its own probe:\n%s", zkDescribe([]event.Reset{r}))
		}
	}
	return probes
}
