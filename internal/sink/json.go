package sink

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"

	"rstwhy/internal/event"
)

// JSON prints one object a line (docs/reference/event.schema.json). Lines are
// whole: what a Flush makes visible ends with one.
type JSON struct {
	w    *bufio.Writer
	line bytes.Buffer
	enc  *json.Encoder
}

// NewJSON prints to w, in writes of up to 64 KiB.
func NewJSON(w io.Writer) *JSON {
	j := &JSON{w: bufio.NewWriterSize(w, 1<<16)}
	j.enc = json.NewEncoder(&j.line)
	j.enc.SetEscapeHTML(false) // nobody reads this in an HTML page, somebody reads "->" in it
	return j
}

var _ Sink = (*JSON)(nil)

// Reset appends a record. The words of the diagnosis are for people: a machine
// has the cause's id and the verdict.
func (j *JSON) Reset(r *event.Reset, _ Explained) error {
	if r.Others == nil {
		record := *r
		record.Others = []event.Process{}
		r = &record
	}
	if v := r.Verdict; v != nil && (v.Because == nil || v.Do == nil || v.Raise == nil) {
		record, verdict := *r, *v
		verdict.Because, verdict.Do, verdict.Raise = list(v.Because), list(v.Do), list(v.Raise)
		record.Verdict = &verdict
		r = &record
	}
	if err := j.write(r); err != nil {
		return fmt.Errorf("write reset %s as JSON: %w", Escape(r.ID, maxWord), err)
	}
	return nil
}

// Storm appends a count of resets that were not told one by one.
func (j *JSON) Storm(s *event.Storm) error {
	if s.Others == nil {
		storm := *s
		storm.Others = []event.Process{}
		s = &storm
	}
	if v := s.Verdict; v != nil && (v.Because == nil || v.Do == nil || v.Raise == nil) {
		storm, verdict := *s, *v
		verdict.Because, verdict.Do, verdict.Raise = list(v.Because), list(v.Do), list(v.Raise)
		storm.Verdict = &verdict
		s = &storm
	}
	if err := j.write(s); err != nil {
		return fmt.Errorf("write storm as JSON: %w", err)
	}
	return nil
}

// Summary appends the session's summary.
func (j *JSON) Summary(s *event.Summary) error {
	c := *s
	c.ByCause, c.ByProcess, c.ByRemote = list(c.ByCause), list(c.ByProcess), list(c.ByRemote)
	c.Servers, c.Warnings = list(c.Servers), list(c.Warnings)
	c.Checks, c.Gaps = list(c.Checks), list(c.Gaps)
	c.Clients, c.ByPair = list(c.Clients), list(c.ByPair)
	c.Verdicts = append([]event.VerdictTally{}, c.Verdicts...)
	for i := range c.Verdicts {
		v := &c.Verdicts[i]
		v.Do, v.Because, v.Raise, v.Pairs = list(v.Do), list(v.Because), list(v.Raise), list(v.Pairs)
	}
	if err := j.write(&c); err != nil {
		return fmt.Errorf("write summary as JSON: %w", err)
	}
	return nil
}

// Flush writes out what is buffered.
func (j *JSON) Flush() error {
	if err := j.w.Flush(); err != nil {
		return fmt.Errorf("write JSON lines: %w", err)
	}
	return nil
}

// Close flushes.
func (j *JSON) Close() error { return j.Flush() }

func (j *JSON) write(v any) error {
	j.line.Reset()
	if err := j.enc.Encode(v); err != nil {
		return err
	}
	// A line is never split between two writes to a pipe that others write
	// to, as long as it fits the buffer.
	if j.line.Len() > j.w.Available() && j.w.Buffered() > 0 {
		if err := j.w.Flush(); err != nil {
			return err
		}
	}
	return writeHarmless(j.w, j.line.Bytes())
}

// list makes an absent list an empty one: the schema says array, not null.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// writeHarmless writes a line of JSON whose strings a person may see raw on a
// terminal: encoding/json escapes only C0 controls and U+2028, U+2029; DEL, C1
// controls and invisible runes become \uNNNN here, which reads back the same.
func writeHarmless(w *bufio.Writer, line []byte) error {
	from := 0
	for i := 0; i < len(line); {
		if c := line[i]; c < 0x7f {
			i++
			continue
		}
		r, size := utf8.DecodeRune(line[i:])
		if harmless(r) {
			i += size
			continue
		}
		if _, err := w.Write(line[from:i]); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, `\u%04x`, r); err != nil {
			return err
		}
		i += size
		from = i
	}
	_, err := w.Write(line[from:])
	return err
}

// harmless leaves runes beyond the first plane alone: no control among them
// steers a terminal.
func harmless(r rune) bool {
	return r > 0xffff || r == utf8.RuneError || r != 0x7f && !steers(r)
}
