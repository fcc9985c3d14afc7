// Package sink prints finished records: aligned text for people, JSON lines
// for machines, and the summary at the end. It decides nothing about a reset;
// whatever it prints was concluded before. The pipeline calls it, from one
// goroutine, in the order of event time.
//
// Names, labels, versions and the like come from other processes and other
// hosts. None reaches a terminal except through [Escape].
package sink

import "rstwhy/internal/event"

// Explained is the diagnosis in words, which a sink prints and cannot make.
type Explained struct {
	Why     string // one sentence, true in every word
	CauseID string // the cause's id; empty means the record's own
}

// Sink takes finished records. A sink keeps no pointer to a record after the
// call.
type Sink interface {
	Reset(*event.Reset, Explained) error
	Storm(*event.Storm) error
	Summary(*event.Summary) error
	Flush() error // make visible what was buffered; call it after each batch
	Close() error // flush; the writer stays open, its owner closes it
}
