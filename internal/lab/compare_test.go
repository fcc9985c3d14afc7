package lab

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rstwhy/internal/event"
)

// example is a truth and the record that tells it.
func example() (Truth, event.Reset) {
	local, peer := netip.MustParseAddrPort("127.0.0.1:2181"), netip.MustParseAddrPort("127.0.0.1:40000")
	t := Truth{
		Scenario: "s", Cause: "unread-data", Direction: event.Sent, Local: local, Peer: peer, NetNS: 7,
		Owners: []int{42}, Comm: "lab-srv-1", Socket: event.SocketFull,
	}.closed()
	now := time.Now()
	r := event.Reset{
		Direction: event.Sent, NetNS: 7, Time: now, Socket: event.SocketFull, Cause: "unread-data",
		Local: event.Endpoint{Address: local.Addr(), Port: local.Port()},
		Peer:  event.Endpoint{Address: peer.Addr(), Port: peer.Port()},
		Owner: &event.Process{PID: 42, Comm: "lab-srv-1", StartTime: now.Add(-time.Minute)}, EndedBy: t.EndedBy,
	}
	return t, r
}

func TestCompare(t *testing.T) {
	nine := 9
	for _, tt := range []struct {
		name  string
		lie   func(*Truth, *event.Reset) []event.Reset // what the tracer tells
		whats []string
	}{
		{"right", func(_ *Truth, r *event.Reset) []event.Reset { return []event.Reset{*r} }, nil},
		{"missing", func(*Truth, *event.Reset) []event.Reset { return nil }, []string{"missing record"}},
		{"twice", func(_ *Truth, r *event.Reset) []event.Reset { return []event.Reset{*r, *r} }, []string{"unexpected record"}},
		{"repeats", func(t *Truth, r *event.Reset) []event.Reset { t.Repeats = true; return []event.Reset{*r, *r} }, nil},
		{"optional", func(t *Truth, _ *event.Reset) []event.Reset { t.Optional = true; return nil }, nil},
		{"other direction", func(_ *Truth, r *event.Reset) []event.Reset {
			r.Direction = event.Received
			return []event.Reset{*r}
		}, []string{"missing record", "unexpected record"}},
		{"cause", func(_ *Truth, r *event.Reset) []event.Reset { r.Cause = "linger-zero"; return []event.Reset{*r} }, []string{"cause linger-zero, not unread-data"}},
		{"cause of two", func(t *Truth, r *event.Reset) []event.Reset { t.Cause = "a|unread-data"; return []event.Reset{*r} }, nil},
		{"wrong owner", func(_ *Truth, r *event.Reset) []event.Reset { r.Owner.PID = 43; return []event.Reset{*r} }, []string{"WRONG OWNER 43 lab-srv-1, not [42]lab-srv-1"}},
		{"comm", func(_ *Truth, r *event.Reset) []event.Reset { r.Owner.Comm = "exe"; return []event.Reset{*r} }, []string{"comm exe, not lab-srv-1"}},
		{"unknown", func(_ *Truth, r *event.Reset) []event.Reset { r.Owner = nil; return []event.Reset{*r} }, []string{"owner unknown, not [42]lab-srv-1"}},
		{"unknown, and how it ended", func(_ *Truth, r *event.Reset) []event.Reset {
			r.Owner, r.EndedBy = nil, nil
			return []event.Reset{*r}
		}, []string{"owner unknown, not [42]lab-srv-1"}},
		{"unknown, and ended wrongly", func(_ *Truth, r *event.Reset) []event.Reset {
			r.Owner, r.EndedBy = nil, &event.Ending{Kind: event.EndSignal, Signal: &nine}
			return []event.Reset{*r}
		}, []string{"owner unknown, not [42]lab-srv-1", "ended by signal 9, not close"}},
		{"unknown allowed", func(t *Truth, r *event.Reset) []event.Reset {
			t.AnyOwnerUnknownOK, r.Owner = true, nil
			return []event.Reset{*r}
		}, nil},
		{"somebody for nobody", func(t *Truth, r *event.Reset) []event.Reset { t.Owners = nil; return []event.Reset{*r} }, []string{"WRONG OWNER 42 lab-srv-1, not []lab-srv-1"}},
		{"ending", func(_ *Truth, r *event.Reset) []event.Reset {
			r.EndedBy = &event.Ending{Kind: event.EndSignal, Signal: &nine}
			return []event.Reset{*r}
		}, []string{"ended by signal 9, not close"}},
		{"no ending", func(_ *Truth, r *event.Reset) []event.Reset { r.EndedBy = nil; return []event.Reset{*r} }, []string{"ended by nobody, not close"}},
		{"socket", func(_ *Truth, r *event.Reset) []event.Reset { r.Socket = event.SocketNone; return []event.Reset{*r} }, []string{"socket none, not full"}},
		{"another lab process", func(_ *Truth, r *event.Reset) []event.Reset {
			other := *r
			other.Local.Port = 1
			return []event.Reset{*r, other}
		}, []string{"unexpected record"}},
		{"a stranger", func(_ *Truth, r *event.Reset) []event.Reset {
			other, who := *r, *r.Owner
			other.Local.Port, who.PID, other.Owner = 1, 99, &who
			return []event.Reset{*r, other}
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			truth, record := example()
			told := tt.lie(&truth, &record)
			var whats []string
			for _, f := range Compare([]Truth{truth}, told, func(pid int) bool { return pid == 42 }).Findings {
				whats = append(whats, f.What)
			}
			if d := cmp.Diff(tt.whats, whats); d != "" {
				t.Errorf("findings (-want +got):\n%s", d)
			}
		})
	}
}
