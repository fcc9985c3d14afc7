package sink

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"rstwhy/internal/event"
)

const (
	reportWidth = 80 // of the summary, where the terminal is wider or unknown: prose reads badly in longer lines
	topRows     = 10 // rows of a table; the JSON summary has the rest
	// One endpoint is called the common one from this share and number of
	// resets on. Fewer than five say nothing about a pattern.
	commonPercent = 80
	commonResets  = 5
)

// report collects the lines of a summary.
type report struct {
	b     []byte
	width int
	paint func(color, s string) string
}

// Summary prints what the session amounts to, for a reader who was not there.
func (t *Text) Summary(s *event.Summary) error {
	r := &report{b: t.turn(t.buf[:0], time.Time{}), width: reportWidth, paint: t.paint}
	if t.opt.Width > 0 {
		r.width = min(r.width, t.opt.Width)
	}
	r.totals(s)
	if a := Answer(s); a != "" {
		r.line("")
		r.prose(a, 0)
	}
	if len(s.ByCause) > 0 {
		r.table("CAUSE", s.ByCause)
		r.table("PROCESS", s.ByProcess)
		r.table("REMOTE END", s.ByRemote)
	}
	if common := commonRemote(s); common != "" {
		r.line("")
		r.prose(common, 0)
	}
	r.servers(s)
	r.clients(s.Clients)
	r.verdicts(s.Verdicts)
	r.checks(s)
	r.gaps(s.Gaps)
	if len(s.Warnings) > 0 {
		r.title("Warnings")
		for _, w := range s.Warnings {
			r.item("- ", Escape(w, maxAdvice))
		}
	}
	t.buf = r.b
	if _, err := t.w.Write(r.b); err != nil {
		return fmt.Errorf("write summary as text: %w", err)
	}
	return nil
}

func (r *report) table(name string, rows []event.Tally) {
	if len(rows) == 0 {
		return
	}
	r.heading(name)
	for i, row := range rows {
		if i == topRows {
			var rest uint64
			for _, row := range rows[i:] {
				rest += row.Sent + row.Received
			}
			r.line(fmt.Sprintf("%8s %8s  ... and %d more rows with %s", "", "", len(rows)-i, Plural(rest, "reset")))
			return
		}
		r.line(fmt.Sprintf("%8d %8d  %s", row.Sent, row.Received, Escape(row.Key, r.width-19)))
	}
}

// commonRemote says in words when nearly all resets share one remote end: then
// it is that end, or the way to it, that wants looking at, not this host.
func commonRemote(s *event.Summary) string {
	total := s.Sent + s.Received
	if total < commonResets {
		return ""
	}
	kind, key, n := "endpoint", "", uint64(0)
	addresses := make(map[netip.Addr]uint64)
	for _, row := range s.ByRemote {
		sum := row.Sent + row.Received
		if _, err := netip.ParsePrefix(row.Key); err == nil {
			continue // many hosts are no common end
		}
		if row.Key != Others && sum > n {
			key, n = row.Key, sum
		}
		if addr, ok := keyAddress(row.Key); ok {
			addresses[addr] += sum
		}
	}
	if n*100 < total*commonPercent {
		for addr, sum := range addresses {
			if sum > n {
				kind, key, n = "address", addr.String(), sum
			}
		}
	} else if _, err := netip.ParseAddr(key); err == nil {
		kind = "address"
	}
	if n*100 < total*commonPercent {
		return ""
	}
	share := fmt.Sprintf("%d of %d resets (%d %%)", n, total, n*100/total)
	if n == total {
		share = fmt.Sprintf("all %d resets", n)
	}
	// Loopback is no remote end: both ends are here.
	if addr, ok := keyAddress(key); ok && addr.IsLoopback() {
		return fmt.Sprintf("It is within this host: %s are with %s, the loopback address.", share, Escape(key, 64))
	}
	all := ""
	if n == total {
		all = "all "
	}
	return fmt.Sprintf("It %spoints at one remote %s: %s are with %s.", all, kind, share, Escape(key, 64))
}

func keyAddress(key string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(key); err == nil {
		return ap.Addr(), true
	}
	addr, err := netip.ParseAddr(key)
	return addr, err == nil
}

func (r *report) title(s string) {
	r.line("")
	r.line(r.paint(bold, s))
}

func (r *report) line(s string) {
	r.b = append(r.b, s...)
	r.b = append(r.b, '\n')
}

// prose prints a sentence, wrapped, indented.
func (r *report) prose(s string, indent int) { r.item(spaces(indent), s) }

// item prints a sentence, wrapped beside its mark. A mark that leaves it no
// room is given its own line.
func (r *report) item(mark, s string) {
	room, indent := r.width-columns(mark), columns(mark)
	if room < minWhy/2 {
		mark = strings.TrimRight(mark, " ")
	}
	r.b = append(r.b, mark...)
	if room < minWhy/2 {
		indent = 4
		room = max(r.width-indent, 1)
		r.b = append(r.b, '\n')
		r.b = append(r.b, spaces(indent)...)
	}
	r.b = append(hang(r.b, wrap(s, room), indent), '\n')
}

// step prints an item that may hold a command: a line that was broken here could
// not be pasted, one that the terminal breaks can.
func (r *report) step(mark, s string) {
	if !commands.MatchString(s) {
		r.item(mark, s)
		return
	}
	r.b = append(append(append(r.b, mark...), s...), '\n')
}

// commands are those that the rules' advice names.
var commands = regexp.MustCompile(`(^|[ ;(])(rstwhy|ss|ls|grep|printf|tcpdump|javap|jstat|journalctl|dmesg|sysctl|ping|openssl|keytool) `)

// Plural is a number with its noun: "1 reset", "2 resets".
func Plural(n uint64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.FormatUint(n, 10) + " " + noun
}
