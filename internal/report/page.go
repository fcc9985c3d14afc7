package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"rstwhy/internal/event"
	"rstwhy/internal/sink"
)

// Bounds of foreign strings, in columns, and of tables, in rows. What is beyond
// is in the output of trace --replay -o json.
const (
	maxName    = 96
	maxProse   = 600
	maxRows    = 25
	busiestMax = 8
)

// page is what both forms of the document tell, in their order. Every string is
// escaped for the eye, and not yet for the document's form.
type page struct {
	Title    string
	Host     string
	Period   string
	Sources  []string
	Version  string
	Answer   string
	Totals   string
	Work     []finding // verdicts that ask for work, in the order of work
	Calm     []finding // harmless ones
	Timeline timeline
	Map      diagram
	Pairs    table
	ZK       []table // servers, clients
	Tables   []table // verdicts, causes, processes, remote ends
	Account  []string
	Balance  table
	Checks   table
	Gaps     table
	Warnings []string
}

// finding is a verdict with what to do.
type finding struct {
	Title     string
	Rule      string
	Resets    string
	Certainty string
	Who       []string
	About     string
	Because   []string
	Do        []string
	Raise     []string
}

// timeline is the picture of the session and, in words, what it shows.
type timeline struct {
	Bars     []column
	Count    int
	Start    string
	End      string
	Most     string // the height of the picture
	Words    string
	Busiest  table
	Sent     bool // whether there is any
	Received bool
}

// column is a bar of the picture, in a field of 100 units of height.
type column struct {
	X                                            int
	SentY, SentHeight, ReceivedY, ReceivedHeight string
	Words                                        string
}

type table struct {
	ID      string
	Caption string
	Head    []heading
	Rows    [][]cell
	Note    string // what the rows leave out
}

type heading struct {
	Name   string
	Number bool
}

// cell is a foreign name, or words, or both.
type cell struct {
	Code    string
	Address bool // the code is an address, not to be broken
	Text    string
	Small   string
	Right   bool
}

const (
	dayTime    = "2006-01-02 15:04:05"
	clockTime  = "15:04:05"
	dayAndHour = "2006-01-02 15:04"
)

// page makes the document of a session that has ended.
func (s *Session) page(opt Options) (*page, error) {
	if s.summary == nil {
		return nil, ErrNoSummary
	}
	sum := s.summary
	from, to := s.period()
	host := name(sum.Host)
	p := &page{
		Title: "TCP resets", Host: host, Version: name(opt.Version), Period: period(from, to),
		Answer: answer(sum), Totals: totals(sum),
	}
	if host != "" {
		p.Title += " on " + host
	}
	for _, source := range opt.Sources {
		p.Sources = append(p.Sources, sink.Escape(source, maxName))
	}
	order := sink.WorkOrder(sum.Verdicts)
	for i := range order {
		f := newFinding(&order[i])
		if sink.Harmless(&order[i]) {
			p.Calm = append(p.Calm, f)
		} else {
			p.Work = append(p.Work, f)
		}
	}
	p.Timeline = s.timeline(from, to)
	p.Map = newDiagram(sum)
	p.Pairs = pairs(sum.ByPair)
	p.ZK = zookeeper(sum)
	p.Tables = []table{verdicts(order), causes(sum.ByCause), tallies("process", "By process", "Process", sum.ByProcess), tallies("remote", "By remote end", "Remote end", sum.ByRemote)}
	p.Account, p.Balance = account(sum)
	p.Checks, p.Gaps = checks(sum.Checks), gaps(sum.Gaps)
	for _, w := range sum.Warnings {
		p.Warnings = append(p.Warnings, prose(w))
	}
	return p, nil
}

func name(s string) string  { return sink.Escape(s, maxName) }
func prose(s string) string { return sink.Escape(s, maxProse) }

func proseAll(list []string) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		out = append(out, prose(s))
	}
	return out
}

func period(from, to time.Time) string {
	end := to.Format(clockTime)
	if from.Format(time.DateOnly) != to.Format(time.DateOnly) {
		end = to.Format(dayTime)
	}
	return fmt.Sprintf("%s to %s UTC (%s)", from.Format(dayTime), end, sink.Span(int64(to.Sub(from))))
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

func answer(s *event.Summary) string {
	if a := sink.Answer(s); a != "" {
		return a
	}
	total := s.Sent + s.Received
	if total == 0 {
		return "No reset was seen in " + sink.Span(s.DurationNS) + "."
	}
	text := "No rule has a verdict on these resets: their causes say what happened."
	if len(s.ByCause) > 0 {
		c := s.ByCause[0]
		text += fmt.Sprintf(" The most frequent is %s: %d of %s.", causeName(c.Key), c.Sent+c.Received, sink.Plural(total, "reset"))
	}
	return text
}

func totals(s *event.Summary) string {
	text := fmt.Sprintf("%s sent, %d received.", sink.Plural(s.Sent, "reset"), s.Received)
	if s.OwnersUnknown > 0 {
		text += fmt.Sprintf(" Of %d the process is not known.", s.OwnersUnknown)
	}
	if s.Hidden > 0 {
		text += fmt.Sprintf(" %d of these were expected and hidden (--quiet-expected): they are in every table, and not in the timeline.", s.Hidden)
	}
	return text
}

func newFinding(v *event.VerdictTally) finding {
	f := finding{
		Title: sink.VerdictTitle(v.Title), Rule: name(v.Rule), Resets: sink.Plural(v.Resets, "reset"), Certainty: sink.Certainty(v),
		About: sink.AboutOne(v), Because: proseAll(v.Because), Do: proseAll(v.Do), Raise: proseAll(v.Raise),
	}
	if f.Title != "" && f.Title[0] >= 'a' && f.Title[0] <= 'z' {
		f.Title = strings.ToUpper(f.Title[:1]) + f.Title[1:]
	}
	for i := range v.Pairs {
		f.Who = append(f.Who, sink.PairWords(&v.Pairs[i]))
	}
	return f
}

func (s *Session) timeline(from, to time.Time) timeline {
	bars, width := s.when.bars(from, to)
	if len(bars) == 0 {
		return timeline{}
	}
	most := slices.MaxFunc(bars, func(a, b bar) int { return cmp.Compare(a.total(), b.total()) })
	layout := clockTime
	if bars[0].From.Format(time.DateOnly) != bars[len(bars)-1].From.Format(time.DateOnly) {
		layout = dayAndHour
	}
	t := timeline{
		Count: len(bars), Start: bars[0].From.Format(layout), End: bars[len(bars)-1].From.Add(width).Format(layout),
		Most:    number(most.total()),
		Busiest: table{ID: "busiest", Caption: "Busiest times", Head: []heading{{"From (UTC)", false}, {"Sent", true}, {"Received", true}}},
	}
	t.Words = fmt.Sprintf("Each bar is %s; the highest, from %s, is %s.", sink.Span(int64(width)), most.From.Format(layout), sink.Plural(most.total(), "reset"))
	height := func(n uint64) float64 { return 100 * float64(n) / float64(most.total()) }
	unit := func(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) }
	for i, b := range bars {
		if b.total() == 0 {
			continue
		}
		sent, received := height(b.Sent), height(b.Received)
		// A single reset beside thousands is still to be seen.
		if sum := sent + received; sum < 2 {
			sent, received = 2*sent/sum, 2*received/sum
		}
		t.Sent, t.Received = t.Sent || b.Sent > 0, t.Received || b.Received > 0
		t.Bars = append(t.Bars, column{
			X: i, SentY: unit(100 - sent), SentHeight: unit(sent), ReceivedY: unit(100 - sent - received), ReceivedHeight: unit(received),
			Words: fmt.Sprintf("from %s: %d sent, %d received", b.From.Format(layout), b.Sent, b.Received),
		})
	}
	busiest := slices.DeleteFunc(slices.Clone(bars), func(b bar) bool { return b.total() == 0 })
	slices.SortStableFunc(busiest, func(a, b bar) int { return cmp.Compare(b.total(), a.total()) })
	if n := len(busiest); n > busiestMax {
		t.Busiest.Note = fmt.Sprintf("%d more times have fewer resets.", n-busiestMax)
		busiest = busiest[:busiestMax]
	}
	slices.SortFunc(busiest, func(a, b bar) int { return a.From.Compare(b.From) })
	for _, b := range busiest {
		t.Busiest.Rows = append(t.Busiest.Rows, []cell{{Text: b.From.Format(layout)}, count(b.Sent), count(b.Received)})
	}
	return t
}

func count(n uint64) cell { return cell{Text: number(n), Right: true} }
