package diagnose

import (
	"net/netip"
	"strings"
	"testing"

	"rstwhy/internal/event"
)

func number(n int) *int { return &n }

var (
	owner   = &event.Process{PID: 2211, Comm: "java"}
	sigkill = &event.Ending{Kind: event.EndSignal, Signal: number(9)}
	exit3   = &event.Ending{Kind: event.EndExit, Status: number(3)}
	oom     = &event.Ending{Kind: event.EndOOM}
	local   = event.Endpoint{Address: netip.MustParseAddr("192.168.1.143"), Port: 8080}
	peer    = event.Endpoint{Address: netip.MustParseAddr("2001:db8::1"), Port: 2181}
)

func TestSentence(t *testing.T) {
	half := event.Evidence{UnreadBytes: event.Num(60), ReceivedBytes: event.Num(100)}
	late := event.Evidence{SegmentBytes: event.Num(20), SinceClosedNS: event.Num(1_234_000_000)}
	for _, c := range []struct {
		r    event.Reset
		want string
	}{
		{event.Reset{Cause: ClosedPort, Local: local}, "nobody listens on port 8080 of 192.168.1.143"},
		{event.Reset{Cause: UnreadData, Owner: owner, EndedBy: closeEnd, Evidence: half}, "this process closed the socket with 60 of 100 received bytes unread"},
		{event.Reset{Cause: UnreadData, EndedBy: closeEnd, Evidence: half}, "the socket was closed with 60 of 100 received bytes unread"},
		{event.Reset{Cause: UnreadData, Owner: owner, Evidence: half}, "the socket was closed with 60 of 100 received bytes unread"},
		{event.Reset{Cause: UnreadData, Owner: owner, EndedBy: sigkill, Evidence: half}, "signal 9 (SIGKILL) killed this process, leaving 60 of 100 received bytes unread"},
		{event.Reset{Cause: UnreadData, Owner: owner, EndedBy: exit3, Evidence: half}, "this process exited with status 3, leaving 60 of 100 received bytes unread"},
		{event.Reset{Cause: UnreadData, Owner: owner, EndedBy: oom}, "the kernel killed this process for lack of memory, leaving received data unread"},
		{event.Reset{Cause: UnreadData, Owner: owner, EndedBy: closeEnd, Evidence: event.Evidence{UnreadBytes: event.Num(1)}}, "this process closed the socket with 1 byte unread"},
		{event.Reset{Cause: UnreadData, Owner: owner, EndedBy: closeEnd, Evidence: event.Evidence{UnreadBytes: event.Num(0)}}, "this process closed the socket while the kernel still counted received data as unread"},
		{event.Reset{Cause: LateData, Owner: owner, EndedBy: closeEnd, Evidence: late}, "20 bytes from the peer came 1.2 s after this process had closed the socket"},
		{event.Reset{Cause: LateData, Owner: owner, EndedBy: sigkill, Evidence: late}, "20 bytes from the peer came 1.2 s after signal 9 (SIGKILL) had killed this process"},
		{event.Reset{Cause: LateData, EndedBy: exit3, Evidence: late}, "20 bytes from the peer came 1.2 s after the process that held the socket had exited with status 3"},
		{event.Reset{Cause: LateData, Evidence: event.Evidence{SegmentBytes: event.Num(0), SegmentFlags: "F."}}, "the peer's end of the connection (FIN) came after the socket had been closed"},
		{event.Reset{Cause: LateData}, "a packet from the peer came after the socket had been closed"},
		{event.Reset{Cause: GoneConnection, Evidence: event.Evidence{SegmentBytes: event.Num(0), SegmentFlags: "."}}, "a packet without data from the peer came for a connection that this host does not have"},
		{event.Reset{Cause: LingerZero, Owner: owner, EndedBy: exit3}, "this process exited with status 3; its socket had SO_LINGER set to 0, which makes closing a reset"},
		{event.Reset{Cause: LingerZero, Owner: owner, EndedBy: closeEnd, Evidence: event.Evidence{UnsentBytes: event.Num(7)}}, "this process closed the socket with SO_LINGER set to 0, which makes closing a reset; 7 bytes written before were never sent"},
		{event.Reset{Cause: ListenerClosed, Local: local, Owner: owner, EndedBy: sigkill}, "signal 9 (SIGKILL) killed this process before this connection to port 8080 was accepted"},
		{event.Reset{Cause: ListenerClosed, Local: local, Owner: owner, EndedBy: closeEnd, Actor: &event.Actor{Kind: event.ActorKiller}}, "the listening socket was stopped from outside its process, as ss -K does, before this connection to port 8080 was accepted"},
		{event.Reset{Cause: BacklogOverflow, Local: local, Evidence: fullBacklog}, "the queue of connections that wait for accept() on port 8080 is full (1 wait, the limit is 0)"},
		{event.Reset{Cause: KeepaliveTimeout, Evidence: event.Evidence{ProbesUnanswered: event.Num(2), SilenceNS: event.Num(125e9)}}, "the peer left 2 keepalive probes unanswered; nothing came from it for 2 min 5 s"},
		{event.Reset{Cause: ConnectRefused, Peer: peer}, "the connection was refused: nobody listens on [2001:db8::1]:2181, or a firewall rejects it"},
		{event.Reset{Cause: PeerReset, Evidence: event.Evidence{SentBytes: event.Num(78), ReceivedBytes: event.Num(0), SinceSentNS: event.Num(12_000_000)}}, "a reset from the peer's address ended the open connection 12 ms after our last data; 78 bytes sent, nothing received"},
		{event.Reset{Cause: SentToClosedPeer, Evidence: event.Evidence{SentBytes: event.Num(10), AckedBytes: event.Num(4)}}, "the peer had ended its side, and a reset from its address came while 6 of our 10 bytes were not acknowledged"},
		{event.Reset{Cause: SentToClosedPeer, Evidence: event.Evidence{SentBytes: event.Num(1), AckedBytes: event.Num(0)}}, "the peer had ended its side, and a reset from its address came while 1 of our 1 byte was not acknowledged"},
		{event.Reset{Cause: "no-such-cause"}, "the evidence does not tell why"},
	} {
		if got := Sentence(&c.r); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.r.Cause, got, c.want)
		}
	}
}

// TestSentenceClaims: without an owner no sentence may speak of this process,
// and without an ending none may say that it closed, exited or was killed.
func TestSentenceClaims(t *testing.T) {
	for _, c := range causes {
		for _, e := range []*event.Ending{nil, closeEnd, sigkill, {Kind: event.EndSignal}, exit3, {Kind: event.EndExit}, oom} {
			for _, o := range []*event.Process{nil, owner} {
				got := c.Sentence(&event.Reset{Cause: c.ID, Owner: o, EndedBy: e})
				if got == "" || strings.ContainsAny(got, "\n\x1b%") || strings.HasSuffix(got, ".") {
					t.Errorf("%s: no clean sentence: %q", c.ID, got)
				}
				if (o == nil || e == nil) && strings.Contains(got, "this process") {
					t.Errorf("%s: speaks of this process without an owner or an ending: %s", c.ID, got)
				}
				if e == nil && strings.Contains(got, "kill") {
					t.Errorf("%s: speaks of a kill that nobody saw: %s", c.ID, got)
				}
			}
		}
		if c.Title == "" || c.Meaning == "" || c.Do == "" || c.ID != Unknown && (len(c.Sources) == 0 || c.Direction == "") {
			t.Errorf("%s: an incomplete entry", c.ID)
		}
	}
}

func TestHostileReason(t *testing.T) {
	reason := "\x1b[31m" + strings.Repeat("X", 1<<20) + "\n"
	if got := Sentence(&event.Reset{Cause: Unknown, Reason: &reason}); len(got) > 200 || strings.ContainsAny(got, "\x1b\n") {
		t.Errorf("unsafe sentence: %.100q", got)
	}
}

func TestHuman(t *testing.T) {
	for ns, want := range map[int64]string{
		0: "less than 1 µs", 1500: "1.5 µs", 999_600: "1 ms", 12_345_678: "12 ms", 999_900_000: "1 s", 59e9: "59 s", 3661e9: "1 h 1 min", 72 * 3600e9: "3 days",
	} {
		if got := human(ns); got != want {
			t.Errorf("human(%d) = %q, want %q", ns, got, want)
		}
	}
}

func FuzzJudge(f *testing.F) {
	f.Add("3.4.13-6--1", "ESTABLISHED", int64(292), int64(243), int64(0))
	f.Add("\xff\x1b", "", int64(-1), int64(1), int64(-1))
	f.Fuzz(func(t *testing.T, version, state string, got, unread, acked int64) {
		for _, role := range []event.Role{event.RoleServer, event.RoleClient} {
			for _, c := range causes {
				r := event.Reset{Cause: c.ID, Direction: c.Direction, State: &state, Reason: &version, DropReason: &version, Hook: event.HookDrop,
					ZooKeeper: &event.ZooKeeper{Role: role, Server: &event.Server{Version: version, Outcome: event.OutcomeOK, AgeNS: acked}},
					Evidence:  event.Evidence{ReceivedBytes: event.Num(got), UnreadBytes: event.Num(unread), AckedBytes: event.Num(acked), SentBytes: event.Num(got), SinceClosedNS: event.Num(unread)}}
				Classify(&r)
				text := Sentence(&r)
				if v := Judge(&r); v != nil {
					text += strings.Join(v.Because, " ") + strings.Join(v.Do, " ")
				}
				if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f || c == 0xFFFD }) {
					t.Fatalf("unsafe text: %q", text)
				}
			}
		}
	})
}
