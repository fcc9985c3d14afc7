package jar

import (
	"errors"
	"io"
	"time"
)

// ErrTooMuch says that a budget is used up.
var ErrTooMuch = errors.New("too much: no more is read of this process's files")

// Budget bounds what may be done for all files of one process together: each
// byte that is read, unpacked or walked over counts, whatever for, and so does
// the time. It may be used by one goroutine at a time.
type Budget struct {
	left  int64
	until time.Time
	clock int64 // bytes until the time is looked at again
}

// clockEvery is a fraction of a millisecond's work.
const clockEvery = 64 << 10

// NewBudget makes one of so many bytes and that much time.
func NewBudget(bytes int64, limit time.Duration) *Budget {
	return &Budget{left: bytes, until: time.Now().Add(limit)}
}

// Spend takes n bytes from the budget. Once there were too few, there are none.
func (b *Budget) Spend(n int64) error {
	if b.clock -= n; b.clock <= 0 {
		b.clock = clockEvery
		if time.Now().After(b.until) {
			b.left = 0
		}
	}
	if n > b.left || b.left == 0 {
		b.left = 0
		return ErrTooMuch
	}
	b.left -= n
	return nil
}

// Left is how many bytes are left of it.
func (b *Budget) Left() int64 { return b.left }

// Of makes the reader of a file that stops where the budget ends.
func (b *Budget) Of(r io.ReaderAt) io.ReaderAt { return spender{b, r} }

type spender struct {
	*Budget
	from io.ReaderAt
}

// ReadAt is io.ReaderAt's.
func (s spender) ReadAt(p []byte, off int64) (int, error) {
	if int64(len(p)) > s.left {
		s.left = 0
		return 0, ErrTooMuch
	}
	n, err := s.from.ReadAt(p, off)
	if e := s.Spend(max(int64(n), minRead)); e != nil {
		return 0, e
	}
	return n, err
}

// minRead is what a call costs that reads next to nothing.
const minRead = 64
