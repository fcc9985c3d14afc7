package sink

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"rstwhy/internal/event"
)

var gaps = regexp.MustCompile(`  +`)

// shared are records with more than one process or one packet to tell of.
func shared() []sample {
	established := "ESTABLISHED"
	curl := &event.Process{PID: 881, StartTime: at("2026-11-23T23:59:58Z"), Comm: "curl", ContainerID: strings.Repeat("4f2a", 16)}
	killed := base("6", "2026-11-24T00:00:11Z", event.Sent, "127.0.0.1:9092", "127.0.0.1:40112")
	killed.State, killed.Cause, killed.Owner, killed.OwnerProven, killed.OwnerSource = &established, "socket-destroyed", kafka, true, event.SourceSocket
	killed.Actor = &event.Actor{Kind: event.ActorKiller, Process: &event.Process{PID: 900, Comm: "ss"}}
	killed.Others = []event.Process{{PID: 1, Comm: "a"}, {PID: 2, Comm: "b"}}
	killed.Packets, killed.Twin, killed.TwinOwner = 3, new("7"), curl

	got := base("7", "2026-11-24T00:00:11.00002Z", event.Received, "127.0.0.1:40112", "127.0.0.1:9092")
	got.State, got.Cause, got.Owner, got.OwnerProven, got.OwnerSource = &established, "peer-reset", curl, true, event.SourceSocket
	got.Actor, got.Twin, got.TwinOwner = &event.Actor{Kind: event.ActorPeer}, new("6"), kafka

	guess := base("8", "2026-11-24T00:00:12Z", event.Received, "10.1.2.3:8443", "10.0.0.1:40112")
	guess.State, guess.Cause, guess.Hook, guess.DropReason = &established, "reset-challenged", event.HookDrop, new("TCP_RESET")
	guess.Effect, guess.Others = new(event.EffectIgnored), killed.Others
	guess.NAT = &event.NAT{Source: end("10.2.0.7:40112"), Destination: end("10.96.0.10:443"), ReplySource: end("10.1.2.3:8443"), ReplyDestination: end("10.0.0.1:40112")}
	return []sample{
		{killed, Explained{"the connection was destroyed from outside its process, as ss -K does", ""}},
		{got, Explained{"a reset from the peer's address ended the open connection", ""}},
		{guess, Explained{"a reset with the peer's address, in the window but with an inexact sequence number, was not believed", ""}},
	}
}

func TestSharedGolden(t *testing.T) {
	for name, width := range map[string]int{"shared-80": 80, "shared-160": 160} {
		out := render(t, TextOptions{Width: width}, shared()...)
		golden(t, name, out)
		checkLines(t, out, width)
	}
}

func TestSecond(t *testing.T) {
	other := &event.Process{PID: 900, Comm: "ss"}
	for _, c := range []struct {
		name string
		r    event.Reset
		want string
	}{
		{"nothing more", event.Reset{Packets: 1}, ""},
		{"the owner acted", event.Reset{Owner: kafka, Actor: &event.Actor{Kind: event.ActorProcess, Process: kafka}}, ""},
		{"nobody acted", event.Reset{Owner: kafka, Actor: &event.Actor{Kind: event.ActorTimer}}, ""},
		{"a reused pid acted", event.Reset{Owner: kafka, Actor: &event.Actor{Kind: event.ActorKiller, Process: &event.Process{PID: kafka.PID, Comm: "ss"}}}, "Destroyed by ss[2211]."},
		{"ss -K of a listener", event.Reset{Cause: "listener-closed", Owner: kafka, Actor: &event.Actor{Kind: event.ActorKiller, Process: other}}, "Listener stopped from outside by ss[900]."},
		{"another acted", event.Reset{Owner: kafka, Actor: &event.Actor{Kind: event.ActorProcess, Process: other}}, "Done by ss[900]."},
		{"the other end acted", event.Reset{Direction: event.Received, Actor: &event.Actor{Kind: event.ActorPeer, Process: other}, Twin: new("x"), TwinOwner: other}, "Sent here by ss[900]."},
		{"sent, twin", event.Reset{Direction: event.Sent, Twin: new("x"), TwinOwner: other}, "Received here by ss[900]."},
		{"received, twin unknown", event.Reset{Direction: event.Received, Twin: new("x")}, "Sent by this host too; no process is known at that end."},
		{"candidates", event.Reset{Others: []event.Process{*other, *kafka}}, "One of ss[900], java[2211]."},
		{"accepted", event.Reset{Hook: event.HookReceive, Effect: new(event.EffectKilled)}, ""},
		{"not accepted", event.Reset{Hook: event.HookDrop, Effect: new(event.EffectKilled)}, "Effect: killed."},
		{"service", event.Reset{NAT: &event.NAT{Source: end("1.1.1.1:1"), Destination: end("10.96.0.10:443"), ReplySource: end("10.1.2.3:8443"), ReplyDestination: end("1.1.1.1:1")}},
			"Through 10.96.0.10:443, translated to 10.1.2.3:8443 (NAT)."},
		{"conntrack without NAT", event.Reset{NAT: &event.NAT{Source: end("1.1.1.1:1"), Destination: end("2.2.2.2:2"), ReplySource: end("2.2.2.2:2"), ReplyDestination: end("1.1.1.1:1")}}, ""},
		{"container", event.Reset{Owner: &event.Process{ContainerID: strings.Repeat("ab", 32)}}, "In container abababababab."},
	} {
		if got := second(&c.r); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	many := event.Reset{Others: make([]event.Process, 1000)}
	if s := second(&many); len(s) > 200 || !strings.HasSuffix(s, "more.") {
		t.Errorf("%d bytes for a thousand others", len(s))
	}
}

func TestIntervalGolden(t *testing.T) {
	tally := Tally{Start: at("2026-11-24T00:00:00Z"), Host: "h"}
	for _, s := range shared() {
		tally.Add(&s.r)
	}
	storm := squall()
	tally.AddStorm(&storm)
	s := tally.Summary(at("2026-11-24T00:01:00Z"))
	s.Scope, s.Hidden = event.ScopeInterval, 1
	s.Account = event.Account{Seen: 4216, Delivered: 3, Aggregated: 4213}
	s.Checks = []event.CounterCheck{
		{NetNS: 4026531840, Counter: "OutRsts", Kernel: 4216, Seen: 4214, Agree: new(false), Explanation: "resets of tasks on which no BPF program runs"},
		{NetNS: 4026531840, Counter: "EstabResets", Kernel: 2, Seen: 2, Agree: new(true)},
		{NetNS: 7, Counter: "OutRsts", Seen: 3, Explanation: "not compared: the namespace came and went"},
	}
	for i := range 3 {
		s.Gaps = append(s.Gaps, event.Gap{Hook: "kfree_skb", From: at("2026-11-24T00:00:20Z").Add(time.Duration(i) * time.Second), DurationNS: 4e9,
			Why: "drop flood", Without: "resets that the kernel did not accept"})
	}
	var out bytes.Buffer
	if err := NewText(&out, TextOptions{}).Summary(&s); err != nil {
		t.Fatal(err)
	}
	golden(t, "interval", out.Bytes())
	checkLines(t, out.Bytes(), 80)

	s.Checks, s.Gaps = s.Checks[1:], nil
	out.Reset()
	if err := NewText(&out, TextOptions{}).Summary(&s); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); !strings.Contains(text, "The kernel's counters agree: 1 compared in 1 network namespace.") || strings.Contains(text, "Not watched") {
		t.Errorf("counters that agree:\n%s", text)
	}
}

// TestNotCompared: that no counter could be compared is said, and why.
func TestNotCompared(t *testing.T) {
	went := event.CounterCheck{NetNS: 7, Counter: "OutRsts", Seen: 3, Explanation: "not compared: the namespace came and went"}
	alone := event.CounterCheck{NetNS: 7, Counter: "TCPSYNChallenge", Kernel: 2, Explanation: "not compared: only the counter knows; so many SYNs came"}
	for _, tt := range []struct {
		name   string
		checks []event.CounterCheck
		seen   uint64
		want   string
	}{
		{"nothing happened", nil, 0, ""},
		{"none grew", nil, 3, "No counter of the kernel could be compared: none had grown at the last reading."},
		{"one", []event.CounterCheck{went}, 3, "No counter of the kernel could be compared: OutRsts in network namespace 7: the namespace came and went."},
		{"nothing seen", []event.CounterCheck{went}, 0, "No counter of the kernel could be compared: OutRsts in network namespace 7: the namespace came and went."},
		{"several", []event.CounterCheck{alone, went}, 3, "OutRsts in network namespace 7: the namespace came and went, and 1 more."},
		{"only those that know alone", []event.CounterCheck{alone}, 3, "TCPSYNChallenge in network namespace 7: only the counter knows; so many SYNs came."},
		{"some", []event.CounterCheck{alone, {NetNS: 8, Counter: "OutRsts", Kernel: 3, Seen: 3, Agree: new(true)}}, 3, "The kernel's counters agree: 1 compared in 1 network namespace."},
	} {
		var out bytes.Buffer
		s := event.Summary{Checks: tt.checks, Account: event.Account{Seen: tt.seen, Delivered: tt.seen}}
		if err := NewText(&out, TextOptions{}).Summary(&s); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(out.String()), " ")
		if !strings.Contains(text, tt.want) || tt.want == "" && strings.Contains(text, "counter") {
			t.Errorf("%s: want %q in:\n%s", tt.name, tt.want, text)
		}
	}
}

func TestTallyStorms(t *testing.T) {
	var tally Tally
	storm := squall()
	tally.AddStorm(&storm)
	storm.Owner, storm.Cause, storm.Direction = kafka, "peer-reset", event.Received
	storm.Remote = prefix("10.0.0.0/8")
	tally.AddStorm(&storm)
	storm.Owner, storm.Remote = nil, prefix("::/0")
	tally.AddStorm(&storm)
	storm.Remote, storm.LocalPort, storm.RemotePort, storm.Count = prefix("10.0.0.1/32"), 0, 2181, 7
	tally.AddStorm(&storm)
	r := samples()[2].r
	tally.Add(&r)
	s := tally.Summary(time.Now())
	if s.Sent != 4214 || s.Received != 8433 || s.OwnersUnknown != 4220 || s.Scope != event.ScopeSession {
		t.Errorf("%d sent, %d received, %d unknown, scope %q", s.Sent, s.Received, s.OwnersUnknown, s.Scope)
	}
	for name, c := range map[string]struct {
		rows []event.Tally
		key  string
		want event.Tally
	}{
		"cause":   {s.ByCause, "closed-port", event.Tally{Sent: 4214}},
		"process": {s.ByProcess, "java[2211] kafka.Kafka", event.Tally{Received: 4213}},
		"remote":  {s.ByRemote, "192.168.4.9", event.Tally{Sent: 4214}},
		"server":  {s.ByRemote, "10.0.0.1:2181", event.Tally{Received: 7}},
		"network": {s.ByRemote, "10.0.0.0/8", event.Tally{Received: 4213}},
		"several": {s.ByRemote, Others, event.Tally{Received: 4213}},
	} {
		c.want.Key = c.key
		found := false
		for _, row := range c.rows {
			found = found || row == c.want
		}
		if !found {
			t.Errorf("%s: %+v is not among %+v", name, c.want, c.rows)
		}
	}
	if said := commonRemote(&event.Summary{Sent: 9, ByRemote: []event.Tally{{Key: "10.0.0.0/8", Sent: 9}}}); said != "" {
		t.Errorf("a network is called one endpoint: %s", said)
	}
}
