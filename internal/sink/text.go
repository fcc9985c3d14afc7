package sink

import (
	"fmt"
	"io"
	"time"

	"rstwhy/internal/event"
)

// TextOptions say where the text goes.
type TextOptions struct {
	Width    int            // columns of the terminal; 0: no terminal, one line a reset however long
	Color    bool           // colours are wanted
	Location *time.Location // zone of the times; nil means UTC
}

// Text prints one aligned line a reset, and a second, indented one where there
// is more to tell that helps. Many of one kind are folded into one line a
// second (fold.go).
type Text struct {
	w           io.Writer
	opt         TextOptions
	buf         []byte
	day         string // date of the last record
	header      bool   // whether it was printed
	noted       [2]bool
	local, peer int // widths of the address columns, which grow for IPv6
	fold        fold
}

// Widths of the columns. ADDRESS:PORT of IPv4 has at most 21 columns, of IPv6
// 47; the longest state that a reset is seen in is NEW_SYN_RECV.
const (
	timeWidth    = 12
	dirWidth     = 4
	processWidth = 26
	addrWidth    = 21
	wasWidth     = 12
)

// NewText prints to w.
func NewText(w io.Writer, opt TextOptions) *Text {
	if opt.Location == nil {
		opt.Location = time.UTC
	}
	return &Text{w: w, opt: opt, local: addrWidth, peer: addrWidth}
}

var _ Sink = (*Text)(nil)

// row is a record, escaped and ready for its columns.
type row struct {
	time, dir, process, local, peer, was, why, cause, second string
}

// Reset prints a record with one call of Write, or counts it in its fold.
func (t *Text) Reset(r *event.Reset, x Explained) error {
	b := t.turn(t.buf[:0], r.Time)
	s := stormOf(r)
	k := keyOf(&s)
	p := t.fold.find(k)
	if !t.fold.room(p, t.opt.Width > 0) {
		t.fold.add(p, k, &count{s})
		t.buf = b
		return t.write(b, "folded resets")
	}
	at := len(b)
	cells := t.row(r, x)
	b = t.appendHeader(b)
	b = t.appendDay(b, r.Time)
	b = t.appendRow(b, &cells)
	b = t.appendNote(b, r.Owner, r.OwnerProven, noProcess(r))
	t.fold.printed(p, lines(b[at:]))
	t.buf = b
	return t.write(b, "reset "+Escape(r.ID, maxWord))
}

func (t *Text) write(b []byte, what string) error {
	if len(b) == 0 {
		return nil
	}
	if _, err := t.w.Write(b); err != nil {
		return fmt.Errorf("write %s as text: %w", what, err)
	}
	return nil
}

func (t *Text) row(r *event.Reset, x Explained) row {
	cause := x.CauseID
	if cause == "" {
		cause = r.Cause
	}
	return row{
		time:    r.Time.In(t.opt.Location).Format("15:04:05.000"),
		dir:     direction(r.Direction),
		process: process(r, t.processRoom()),
		local:   Escape(r.Local.String(), 64),
		peer:    Escape(r.Peer.String(), 64),
		was:     was(r),
		why:     Escape(x.Why, maxWhy),
		cause:   "(" + Escape(cause, maxWord) + ")",
		second:  second(r),
	}
}

func (t *Text) processRoom() int {
	if t.opt.Width == 0 {
		return maxLabel // nothing is cut in a file
	}
	return processWidth
}

// before is the width of everything left of WHY.
func before(process, local, peer int) int {
	return under + dirWidth + 2 + process + 2 + local + 2 + peer + 2 + wasWidth + 2
}

// stacked tells whether not even the process has room beside the time.
func (t *Text) stacked(process string, was int) bool {
	return t.opt.Width > 0 && under+dirWidth+2+max(processWidth, columns(process))+2+was > t.opt.Width
}

// indent is that of a record's further lines.
func (t *Text) indent() int {
	if t.stacked("", wasWidth) {
		return narrowUnder
	}
	return under
}

// appendRow chooses the widest arrangement that the terminal has room for:
// everything on one line; the sentence below the columns; the addresses below
// too; the process as well. Columns that grew for IPv6 stay so, or the lines would dance, unless that
// left the sentences of all later lines without room.
func (t *Text) appendRow(b []byte, c *row) []byte {
	local, peer := max(t.local, columns(c.local)), max(t.peer, columns(c.peer))
	at := before(max(processWidth, columns(c.process)), local, peer)
	fits := t.opt.Width == 0 || at-2 <= t.opt.Width
	beside := t.opt.Width == 0 || t.opt.Width-at >= minWhy
	if beside {
		t.local, t.peer = local, peer
	}
	b = pad(b, c.time, timeWidth)
	b = append(b, t.paint(dirColor(c.dir), c.dir)...)
	if t.stacked(c.process, columns(c.was)) {
		b = t.appendBelow(b, c.process+"  "+c.was, "")
	} else {
		b = append(b, "  "...)
		b = pad(b, c.process, processWidth)
		if fits {
			b = pad(b, c.local, local)
			b = pad(b, c.peer, peer)
		}
		b = append(b, c.was...)
	}
	if !fits {
		b = t.appendBelow(b, c.local+"  "+c.peer, "")
	}
	why := c.cause
	if c.why != "" {
		why = c.why + " " + c.cause
	}
	if beside {
		b = append(b, spaces(wasWidth-columns(c.was)+2)...)
		room := 0
		if t.opt.Width > 0 {
			room = t.opt.Width - at
		}
		b = hang(b, wrap(why, room), at)
	} else {
		b = t.appendBelow(b, why, "")
	}
	if c.second != "" {
		b = t.appendBelow(b, c.second, dim)
	}
	return append(b, '\n')
}

// appendBelow starts a new line of the same record.
func (t *Text) appendBelow(b []byte, s, color string) []byte {
	b = t.appendLines(append(b, '\n'), s, color)
	return b[:len(b)-1]
}

// appendLines appends whole lines, indented as those of a record.
func (t *Text) appendLines(b []byte, s, color string) []byte {
	room, indent := 0, t.indent()
	if t.opt.Width > 0 {
		room = max(t.opt.Width-indent, 1)
	}
	for _, line := range wrap(s, room) {
		b = append(b, spaces(indent)...)
		b = append(b, t.paint(color, line)...)
		b = append(b, '\n')
	}
	return b
}

func (t *Text) appendHeader(b []byte) []byte {
	if t.header {
		return b
	}
	t.header = true
	var h []byte
	h = pad(h, "TIME", timeWidth)
	if t.stacked("", wasWidth) {
		b = append(b, t.paint(bold, string(h)+"DIR")...)
		for _, line := range []string{"PROCESS  WAS", "LOCAL  PEER", "WHY"} {
			b = t.appendBelow(b, line, bold)
		}
		return append(b, '\n')
	}
	h = pad(h, "DIR", dirWidth)
	h = pad(h, "PROCESS", processWidth)
	at := before(processWidth, t.local, t.peer)
	wide := t.opt.Width == 0 || at-2 <= t.opt.Width
	if wide {
		h = pad(h, "LOCAL", t.local)
		h = pad(h, "PEER", t.peer)
	}
	h = append(h, "WAS"...)
	switch {
	case !wide:
		h = append(h, "\n              LOCAL, PEER\n              WHY"...)
	case t.opt.Width == 0 || t.opt.Width-at >= minWhy:
		h = append(h, "           WHY"...)
	default:
		h = append(h, "\n              WHY"...)
	}
	b = append(b, t.paint(bold, string(h))...)
	return append(b, '\n')
}

// appendDay says the date where it differs from that of the line above.
func (t *Text) appendDay(b []byte, when time.Time) []byte {
	when = when.In(t.opt.Location)
	day := when.Format("Mon 2006-01-02, UTC-07:00")
	if day == t.day {
		return b
	}
	t.day = day
	for _, line := range wrap("-- "+day, t.opt.Width) {
		b = append(b, t.paint(bold, line)...)
		b = append(b, '\n')
	}
	return b
}

// appendNote explains a mark of the PROCESS column where it is first seen.
func (t *Text) appendNote(b []byte, owner *event.Process, proven, none bool) []byte {
	which, note := 0, "(? after a name: remembered, not proven, to hold the connection)"
	switch {
	case owner != nil && !proven:
	case owner == nil && !none:
		which, note = 1, "(? as process: which one holds or held the socket is not known)"
	default:
		return b
	}
	if t.noted[which] {
		return b
	}
	t.noted[which] = true
	return t.appendLines(b, note, dim)
}

// Flush does nothing: every record is written at once. Counts wait for the end
// of their second.
func (t *Text) Flush() error { return nil }

// Close prints what was held back. The writer is its owner's.
func (t *Text) Close() error {
	t.buf = t.turn(t.buf[:0], time.Time{})
	return t.write(t.buf, "storms")
}

// Colours, all of the 8 that every terminal has.
const (
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	yellow = "\x1b[33m"
	cyan   = "\x1b[36m"
	plainC = "\x1b[0m"
)

func dirColor(dir string) string {
	if dir == "SENT" {
		return yellow
	}
	return cyan
}

func (t *Text) paint(color, s string) string {
	if !t.opt.Color || color == "" || s == "" {
		return s
	}
	return color + s + plainC
}
