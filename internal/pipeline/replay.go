package pipeline

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"rstwhy/internal/event"
	"rstwhy/internal/owner"
	"rstwhy/internal/probe"
)

// Part is one file of a recording.
type Part struct {
	Name string // for errors; may be empty
	io.Reader
}

// Replay prints a recording as the live session printed it. opts' filters
// narrow it further. Everything before a damage is printed; then the error
// tells where it is.
func Replay(r io.Reader, opts Options) error { return ReplayParts([]Part{{Reader: r}}, opts) }

// ReplayParts prints a recording that has several files, given in their order.
// Some of them are enough; the summary then says what is absent.
func ReplayParts(parts []Part, opts Options) error {
	chapters := make([]chapter, len(parts))
	for i, part := range parts {
		c := &chapters[i]
		c.name, c.d = part.Name, recordingReader{r: bufio.NewReaderSize(part, 64<<10)}
		if err := c.open(); err != nil {
			return c.wrap(err)
		}
		if i == 0 {
			continue
		}
		if err := c.follows(&chapters[i-1]); err != nil {
			return err
		}
	}
	first := &chapters[0].head
	before := uint64(0)
	if opts.Count == 0 {
		opts.Count, before = first.Count, first.Delivered
	}
	opts.Host = first.Host
	opts.Select.QuietExpected = opts.Select.QuietExpected || first.Select.QuietExpected
	p := player{finisher: newFinisher(opts, first.Names, first.Clock), chapters: chapters}
	p.before = before
	return p.play()
}

// chapter is a file that is replayed.
type chapter struct {
	name      string
	d         recordingReader
	head      Header
	translate *probe.Translator
}

func (c *chapter) wrap(err error) error {
	if c.name == "" || err == nil {
		return err
	}
	return fmt.Errorf("replay %q: %w", c.name, err)
}

func (c *chapter) open() error {
	h := &c.head
	switch err := c.d.next(h); {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: it is empty", ErrRecording)
	case err != nil:
		return fmt.Errorf("no rstwhy recording begins so: %w", err)
	case h.Recording == 0:
		return fmt.Errorf("%w: line 1 is not the first line of an rstwhy recording", ErrRecording)
	}
	if h.Recording > recordingFormat {
		return fmt.Errorf("%w: format %d is newer than this rstwhy reads (%d): use a newer rstwhy", ErrRecording, h.Recording, recordingFormat)
	}
	var err error
	if c.translate, err = probe.NewTranslator(h.Layout); err != nil {
		return fmt.Errorf("%w: %w", ErrRecording, err)
	}
	return nil
}

// follows refuses files that would be printed in a wrong order.
func (c *chapter) follows(before *chapter) error {
	if c.head.Session == "" || c.head.Session != before.head.Session {
		return fmt.Errorf("replay: %q and %q are not of one recording; replay them one by one", before.name, c.name)
	}
	if c.head.Part <= before.head.Part {
		return fmt.Errorf("replay: %q (part %d of the recording) comes before %q (part %d); give them in that order, each once", c.name, c.head.Part, before.name, before.head.Part)
	}
	return nil
}

type player struct {
	finisher
	chapters  []chapter
	recorded  *Header
	translate *probe.Translator
}

func (p *player) play() error {
	absent := []string{}
	for i, next := 0, 0; ; i++ {
		c := &p.chapters[i]
		if c.head.Part > next {
			absent = append(absent, partsNamed(next, c.head.Part-1))
		}
		next = c.head.Part + 1
		p.recorded, p.translate, p.names = &c.head, c.translate, c.head.Names
		last, err := p.chapter(&c.d)
		if err != nil {
			return c.wrap(err)
		}
		if last.Summary == nil && i == len(p.chapters)-1 {
			absent = append(absent, fmt.Sprintf("part %d and what follows it", next))
		}
		if last.Summary != nil || i == len(p.chapters)-1 {
			return p.end(&last, absent)
		}
	}
}

func partsNamed(from, to int) string {
	if from == to {
		return fmt.Sprintf("part %d", from)
	}
	return fmt.Sprintf("parts %d to %d", from, to)
}

// chapter prints a file up to the frame that ends it.
func (p *player) chapter(d *recordingReader) (last frame, err error) {
	for {
		var f frame
		err := d.next(&f)
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: it ends after line %d without its summary: it was cut off there", ErrRecording, d.line-1)
		}
		if err != nil {
			return f, errors.Join(err, p.flush())
		}
		if f.Summary != nil || f.Continued != nil {
			return f, nil
		}
		if err := p.frame(&f); err != nil {
			return f, errors.Join(fmt.Errorf("%w: line %d: %w", ErrRecording, d.line, err), p.flush())
		}
		if p.err != nil {
			return f, p.err
		}
	}
}

func (p *player) frame(f *frame) error {
	if f.Storm != nil {
		return p.storm(f.Storm)
	}
	res := Resolution{Joined: f.Joined, Owner: (*event.Process)(f.Owner), Source: f.Source, Proven: f.Proven, ZooKeeper: f.ZooKeeper}
	owner.Bound(res.Owner)
	if err := p.translate.Reset(f.Raw, &res.Raw); err != nil {
		return err
	}
	f.story.restore(&res)
	p.clock = probe.Clock{Offset: f.ClockNS}
	p.taken++
	// What the live session left out is left out again.
	if !res.Joined {
		r, err := p.explain(&res)
		if err != nil {
			return err
		}
		if !p.recorded.Filter.Match(r) || !p.recorded.Select.wanted(r) {
			p.filtered++
			return nil
		}
	}
	p.finish(&res)
	return nil
}

// end prints the summary. Where nothing was narrowed and no part is absent it
// is the live one's, with the counts of this replay.
func (p *player) end(last *frame, absent []string) error {
	live := last.Summary
	if live == nil {
		live = &event.Summary{Time: last.Continued.Time}
	}
	sum := p.tally.Summary(live.Time)
	sum.Time, sum.DurationNS, sum.Warnings = live.Time, live.DurationNS, live.Warnings
	sum.Hidden = p.hidden
	sum.Scope, sum.Checks, sum.Gaps = event.ScopeSession, live.Checks, live.Gaps
	if len(absent) == 0 {
		sum.Account = live.Account
		p.narrowed(&sum.Account)
	} else {
		p.partly(&sum, last.Summary, absent)
	}
	if last.Summary == nil {
		sum.Checks = []event.CounterCheck{{Counter: "OutRsts", Seen: int64(sum.Sent), Explanation: "not compared: what the kernel counted is at the end of the recording, which is absent"}}
	}
	for _, out := range p.opts.Sinks {
		if err := out.Summary(&sum); err != nil {
			return fmt.Errorf("write summary: %w", err)
		}
	}
	return p.flush()
}

// narrowed counts as filtered what this replay leaves out and live did not.
func (p *player) narrowed(a *event.Account) {
	for _, n := range []struct {
		live *uint64
		told uint64
	}{{&a.Delivered, p.delivered}, {&a.Aggregated, p.storms.told}} {
		if extra := *n.live - n.told; extra <= *n.live {
			*n.live -= extra
			a.Filtered += extra
		}
	}
}

// partly says what files that are not the whole recording can say: the account
// is that of their own records.
func (p *player) partly(sum, live *event.Summary, absent []string) {
	sum.DurationNS = int64(max(sum.Time.Sub(p.chapters[0].head.Began), 0))
	sum.Account = event.Account{
		Seen:     p.filtered + p.storms.filtered + p.joined + p.delivered + p.storms.told + p.undecoded,
		Filtered: p.filtered + p.storms.filtered, Joined: p.joined, Delivered: p.delivered, Aggregated: p.storms.told,
		Lost: p.undecoded, LostDecode: p.undecoded,
	}
	text := fmt.Sprintf("this is not the whole recording (absent: %s): the account is that of the records in it", strings.Join(absent, ", "))
	if live != nil {
		a := live.Account
		text += fmt.Sprintf("; the session as a whole saw %d hits, delivered %d and lost %d", a.Seen, a.Delivered, a.Lost)
	}
	sum.Warnings = append([]string{text}, sum.Warnings...)
}
