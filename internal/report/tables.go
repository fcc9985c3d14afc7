package report

import (
	"cmp"
	"fmt"
	"slices"

	"rstwhy/internal/diagnose"
	"rstwhy/internal/event"
	"rstwhy/internal/sink"
)

var sentReceived = []heading{{"Sent", true}, {"Received", true}}

func headings(names ...string) []heading {
	var out []heading
	for _, n := range names {
		out = append(out, heading{Name: n})
	}
	return out
}

// rows fills a table up to its bound, and says what it leaves out.
func rows[T any](t *table, list []T, row func(*T) []cell, resets func(*T) uint64) {
	for i := range list {
		if i == maxRows {
			var rest uint64
			for j := range list[i:] {
				rest += resets(&list[i+j])
			}
			t.Note = fmt.Sprintf("%d more rows with %s are in the output of trace --replay -o json.", len(list)-i, sink.Plural(rest, "reset"))
			return
		}
		t.Rows = append(t.Rows, row(&list[i]))
	}
}

// maxAddress is the longest IPv4 address with a port: longer ones are broken
// where a narrow page needs it.
const maxAddress = len("255.255.255.255:65535")

func address(s string) cell { return cell{Code: name(s), Address: len(s) <= maxAddress} }

func tallyResets(t *event.Tally) uint64 { return t.Sent + t.Received }

func tallies(id, caption, what string, list []event.Tally) table {
	t := table{ID: id, Caption: caption, Head: slices.Concat(headings(what), sentReceived)}
	rows(&t, list, func(r *event.Tally) []cell {
		return []cell{{Code: name(r.Key)}, count(r.Sent), count(r.Received)}
	}, tallyResets)
	return t
}

// causes has the advice of each cause, which is all there is where no rule has
// a verdict.
func causes(list []event.Tally) table {
	t := table{ID: "cause", Caption: "By cause", Head: slices.Concat(headings("Cause"), sentReceived)}
	rows(&t, list, func(r *event.Tally) []cell {
		c := cell{Code: name(r.Key)}
		if known, ok := diagnose.LookupCause(r.Key); ok {
			c.Text, c.Small = known.Title, known.Do
		}
		return []cell{c, count(r.Sent), count(r.Received)}
	}, tallyResets)
	return t
}

func causeName(id string) string {
	if c, ok := diagnose.LookupCause(id); ok {
		return c.Title + " (" + id + ")"
	}
	return name(id)
}

func verdicts(order []event.VerdictTally) table {
	t := table{ID: "verdict", Caption: "By verdict", Head: []heading{{"Verdict", false}, {"Proven", true}, {"Likely", true}, {"Possible", true}}}
	rows(&t, order, func(v *event.VerdictTally) []cell {
		c := cell{Code: name(v.Rule), Text: sink.VerdictTitle(v.Title)}
		if v.Harmless > 0 && v.Harmless < v.Resets {
			c.Small = fmt.Sprintf("%d of %d are harmless.", v.Harmless, v.Resets)
		}
		return []cell{c, count(v.Proven), count(v.Likely), count(v.Possible)}
	}, func(v *event.VerdictTally) uint64 { return v.Resets })
	return t
}

func pairs(list []event.Pair) table {
	t := table{ID: "pairs", Caption: "By process and remote end", Head: slices.Concat(headings("Process here", "Remote end"), sentReceived)}
	rows(&t, list, func(p *event.Pair) []cell {
		return []cell{{Code: name(p.Process)}, address(p.Remote), count(p.Sent), count(p.Received)}
	}, func(p *event.Pair) uint64 { return p.Sent + p.Received })
	return t
}

// zookeeper lists servers and clients; nothing where there are none.
func zookeeper(s *event.Summary) []table {
	var out []table
	if len(s.Servers) > 0 {
		counts := sink.ServerCounts(s.Clients)
		t := table{ID: "servers", Caption: "ZooKeeper servers", Head: slices.Concat(headings("Server", "What it told"), sentReceived)}
		type row struct {
			at, words string
			n         event.Tally
			again     bool // asked from another network namespace too: the counts are in the row above
		}
		var list []row
		said, counted := map[string]bool{}, map[string]bool{}
		for i := range s.Servers {
			server := &s.Servers[i]
			at := event.Endpoint{Address: server.Address, Port: server.Port}.String()
			words := sink.ServerWords(server)
			if said[at+words] {
				continue
			}
			said[at+words] = true
			list = append(list, row{at, words, counts[at], counted[at]})
			counted[at] = true
		}
		slices.SortStableFunc(list, func(a, b row) int { return cmp.Compare(tallyResets(&b.n), tallyResets(&a.n)) })
		rows(&t, list, func(r *row) []cell {
			if r.again {
				return []cell{address(r.at), {Text: r.words}, {Right: true}, {Right: true}}
			}
			return []cell{address(r.at), {Text: r.words}, count(r.n.Sent), count(r.n.Received)}
		}, func(r *row) uint64 {
			if r.again {
				return 0
			}
			return tallyResets(&r.n)
		})
		out = append(out, t)
	}
	if len(s.Clients) > 0 {
		t := table{ID: "clients", Caption: "ZooKeeper clients", Head: slices.Concat(headings("Client", "Server"), sentReceived)}
		rows(&t, s.Clients, func(c *event.ClientTally) []cell {
			if c.Server == "" {
				return []cell{{Code: name(c.Process)}, {}, count(c.Sent), count(c.Received)}
			}
			who := cell{Code: sink.ClientName(c), Text: cmp.Or(sink.LibraryWords(c.Library), "client library unknown")}
			return []cell{who, address(c.Server), count(c.Sent), count(c.Received)}
		}, func(c *event.ClientTally) uint64 { return c.Sent + c.Received })
		out = append(out, t)
	}
	return out
}
