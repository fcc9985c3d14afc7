package pipeline

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

// Replay prints a recording as the live session printed it. opts' filters
// narrow it further. Everything before a damage is printed; then the error
// tells where it is.
func Replay(r io.Reader, opts Options) error {
	d := recordingReader{r: bufio.NewReaderSize(r, 64<<10)}
	var h Header
	switch err := d.next(&h); {
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
	translate, err := probe.NewTranslator(h.Layout)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRecording, err)
	}
	if opts.Count == 0 {
		opts.Count = h.Count
	}
	opts.Host = h.Host
	p := player{finisher: newFinisher(opts, h.Names, h.Clock), recorded: h, translate: translate}
	return p.play(&d)
}

type player struct {
	finisher
	recorded  Header
	translate *probe.Translator
}

func (p *player) play(d *recordingReader) error {
	for {
		var f frame
		err := d.next(&f)
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: it ends after line %d without its summary: it was cut off there", ErrRecording, d.line-1)
		}
		if err != nil {
			return errors.Join(err, p.flush())
		}
		if f.Summary != nil {
			return p.end(f.Summary)
		}
		if err := p.frame(&f); err != nil {
			return errors.Join(fmt.Errorf("%w: line %d: %w", ErrRecording, d.line, err), p.flush())
		}
		if p.err != nil {
			return p.err
		}
	}
}

func (p *player) frame(f *frame) error {
	res := Resolution{Joined: f.Joined, Owner: (*event.Process)(f.Owner), Source: f.Source, Proven: f.Proven, ZooKeeper: f.ZooKeeper}
	if err := p.translate.Reset(f.Raw, &res.Raw); err != nil {
		return err
	}
	p.clock = probe.Clock{Offset: f.ClockNS}
	p.taken++
	// What the live session left out is left out again.
	if !res.Joined {
		r, err := p.names.Reset(&res.Raw, p.clock)
		if err != nil {
			return err
		}
		r.Owner, r.ZooKeeper = res.Owner, res.ZooKeeper
		if !p.recorded.Filter.Match(r) || !p.recorded.Select.Match(r) {
			p.filtered++
			return nil
		}
	}
	p.finish(&res)
	return nil
}

// end prints the summary. Where nothing was narrowed it is the live one's,
// with the counts of this replay.
func (p *player) end(live *event.Summary) error {
	sum := p.tally.Summary(live.Time)
	sum.Time, sum.DurationNS, sum.Warnings = live.Time, live.DurationNS, live.Warnings
	sum.Account, sum.Scope, sum.Checks, sum.Gaps = live.Account, live.Scope, live.Checks, live.Gaps
	if extra := live.Account.Delivered - p.delivered; extra <= live.Account.Delivered {
		sum.Account.Delivered -= extra
		sum.Account.Filtered += extra
	}
	for _, out := range p.opts.Sinks {
		if err := out.Summary(&sum); err != nil {
			return fmt.Errorf("write summary: %w", err)
		}
	}
	return p.flush()
}
