package sink

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rstwhy/internal/event"
)

func rules(verdicts []event.VerdictTally) (out []string) {
	for _, v := range verdicts {
		out = append(out, v.Rule)
	}
	return out
}

func TestWorkOrder(t *testing.T) {
	verdicts := []event.VerdictTally{
		{Rule: "harmless", Resets: 900, Proven: 900, Harmless: 900},
		{Rule: "possible", Resets: 29, Possible: 29},
		{Rule: "b", Resets: 10, Proven: 10},
		{Rule: "likely", Resets: 14, Likely: 14},
		{Rule: "a", Resets: 10, Proven: 10},
		{Rule: "partly", Resets: 20, Likely: 20, Harmless: 19},
	}
	before := rules(verdicts)
	want := []string{"partly", "a", "b", "possible", "likely", "harmless"}
	if diff := cmp.Diff(want, rules(WorkOrder(verdicts))); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, rules(verdicts)); diff != "" {
		t.Errorf("the caller's order changed:\n%s", diff)
	}
}

func TestAnswer(t *testing.T) {
	work := event.VerdictTally{Rule: "w", Title: "the server is full.", Resets: 12, Likely: 9, Proven: 3}
	calm := event.VerdictTally{Rule: "h", Title: "harmless", Resets: 80, Likely: 80, Harmless: 80}
	other := event.VerdictTally{Rule: "o", Title: "something else", Resets: 1, Possible: 1}
	for _, c := range []struct {
		total    uint64
		verdicts []event.VerdictTally
		want     string
	}{
		{9, nil, ""},
		{80, []event.VerdictTally{calm}, "No verdict asks for work: 80 of 80 resets are harmless."},
		{81, []event.VerdictTally{calm}, "No verdict asks for work: 80 of 81 resets are harmless, and 1 has no verdict: see its cause."},
		{82, []event.VerdictTally{calm}, "No verdict asks for work: 80 of 82 resets are harmless, and 2 have no verdict: see their causes."},
		{12, []event.VerdictTally{work}, "Look first at this: the server is full (3 proven, 9 likely). 12 of 12 resets in all ask for work, 0 are harmless."},
		{100, []event.VerdictTally{calm, work, other}, "Look first at this: the server is full (3 proven, 9 likely). 13 of 100 resets in all ask for work for 2 different reasons, 80 are harmless, and 7 have no verdict: see their causes."},
	} {
		if got := Answer(&event.Summary{Sent: c.total, Verdicts: c.verdicts}); got != c.want {
			t.Errorf("%d resets:\n got %q\nwant %q", c.total, got, c.want)
		}
	}
}

// zkReset is a reset between a local process and a ZooKeeper server.
func zkReset(role event.Role, process, twin *event.Process, local, peer string) event.Reset {
	r := base("1", "2026-11-24T00:00:00Z", event.Sent, local, peer)
	r.Cause, r.Owner, r.TwinOwner = "unread-data", process, twin
	server := r.Peer
	if role == event.RoleServer {
		server = r.Local
	}
	r.ZooKeeper = &event.ZooKeeper{Role: role, Server: &event.Server{Address: server.Address, Port: server.Port, Outcome: event.OutcomeOK}}
	return r
}

func TestTallyClients(t *testing.T) {
	server := &event.Process{PID: 7, Comm: "java", Label: "QuorumPeerMain"}
	pod := &event.Process{PID: 8, Comm: "java", Label: "app.Main", Pod: "web-0", PodNamespace: "shop"}
	tally := Tally{Host: "h"}
	for _, r := range []event.Reset{
		zkReset(event.RoleClient, pod, nil, "10.0.0.1:4000", "10.0.0.9:2181"),
		zkReset(event.RoleClient, pod, nil, "10.0.0.1:4001", "10.0.0.9:2181"),
		zkReset(event.RoleServer, server, nil, "10.0.0.1:2181", "10.0.0.5:4000"),
		zkReset(event.RoleServer, server, pod, "10.0.0.1:2181", "10.0.0.1:5000"),
		zkReset("quorum", server, nil, "10.0.0.1:2888", "10.0.0.6:5000"), // a role to come
	} {
		tally.Add(&r)
	}
	library := zkReset(event.RoleClient, pod, nil, "10.0.0.1:4001", "10.0.0.9:2181")
	library.Direction, library.ZooKeeper.Client = event.Received, &event.Client{Version: "3.9.3", Transport: "netty"}
	tally.Add(&library)
	s := tally.Summary(time.Now())
	want := []event.ClientTally{
		{Process: "java[8] app.Main", Host: "h", Place: "in pod shop/web-0", Library: &event.Client{Version: "3.9.3", Transport: "netty"}, Server: "10.0.0.9:2181", Sent: 2, Received: 1},
		{Host: "10.0.0.5", Server: "10.0.0.1:2181", Sent: 1},
		{Process: "java[8] app.Main", Host: "h", Place: "in pod shop/web-0", Server: "10.0.0.1:2181", Sent: 1},
	}
	if diff := cmp.Diff(want, s.Clients); diff != "" {
		t.Errorf("clients (-want +got):\n%s", diff)
	}
	counts := ServerCounts(s.Clients)
	if n := counts["10.0.0.1:2181"]; n.Sent != 2 || n.Received != 0 {
		t.Errorf("resets of the local server: %+v, want 2 sent", n)
	}
	var out bytes.Buffer
	if err := NewText(&out, TextOptions{}).Summary(&s); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"2 1 java[8] app.Main in pod shop/web-0 on h, client library 3.9.3 (netty), with 10.0.0.9:2181",
		"1 0 a client on 10.0.0.5, client library unknown, with 10.0.0.1:2181",
		"2 0 10.0.0.1:2181 answered",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

// TestPairsAreBounded: by_pair and a verdict's pairs say how many there are
// beyond their rows, and every reset is in one of them.
func TestPairsAreBounded(t *testing.T) {
	var tally Tally
	const n = 2 * MaxKeys
	for i := range n {
		r := zkReset(event.RoleClient, &event.Process{PID: uint32(i + 1), Comm: "c"}, nil, "10.0.0.1:4000", fmt.Sprintf("10.0.0.9:%d", 1+i%60000))
		r.Verdict = &event.Verdict{Rule: "r", Confidence: event.Likely}
		tally.Add(&r)
	}
	s := tally.Summary(time.Now())
	var pairs, verdict, clients uint64
	for _, p := range s.ByPair {
		pairs += p.Sent
	}
	for _, p := range s.Verdicts[0].Pairs {
		verdict += p.Sent
	}
	for _, c := range s.Clients {
		clients += c.Sent
	}
	if len(s.ByPair) != maxPairs+1 || len(s.Verdicts[0].Pairs) != maxVerdictPairs+1 || len(s.Clients) != maxPairs+1 {
		t.Errorf("%d pairs, %d of the verdict, %d clients", len(s.ByPair), len(s.Verdicts[0].Pairs), len(s.Clients))
	}
	if pairs != n || verdict != n || clients != n || s.ByPair[maxPairs].Process != Others {
		t.Errorf("counted %d, %d and %d of %d; the last row is %+v", pairs, verdict, clients, n, s.ByPair[maxPairs])
	}
}
