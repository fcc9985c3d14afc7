package zk

import (
	"fmt"
	"time"
)

// within looks, and leaves the look alone where it takes too long: that costs
// its own process the answer, and nobody else.
func (f *Finder) within(id ProcessID, look func()) {
	ended := make(chan struct{})
	abandoned := false // guarded by mu
	go func() {
		look()
		f.mu.Lock()
		defer f.mu.Unlock()
		close(ended)
		if !abandoned {
			return
		}
		f.stuck--
		select {
		case f.freed <- struct{}{}:
		default:
		}
	}()
	limit := time.NewTimer(f.stuckAfter)
	defer limit.Stop()
	select {
	case <-ended:
		return
	case <-f.ctx.Done():
		return
	case <-limit.C:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-ended: // just now
		return
	default:
	}
	abandoned = true
	f.stuck++
	f.late++
	if l := f.looks[id]; l != nil {
		l.busy, l.done, l.last, l.stuck = false, true, true, true
	}
	if f.stuck < maxStuck {
		return
	}
	f.halted = true
	f.halts++
	select {
	case <-f.freed: // by one that ended before
	default:
	}
	f.drain()
}

// drain forgets who waits for a look, so that no record waits for one.
func (f *Finder) drain() {
	for {
		select {
		case id := <-f.queue:
			if l := f.looks[id]; l != nil {
				l.busy = false
			}
		default:
			return
		}
	}
}

// rest waits, where too many looks are stuck, until one of them ends or a while
// has passed: each holds a thread. Beyond maxStuckEver only the former counts.
func (f *Finder) rest() {
	f.mu.Lock()
	halted, full := f.halted, f.stuck >= maxStuckEver
	f.mu.Unlock()
	if !halted {
		return
	}
	var over <-chan time.Time
	if !full {
		t := time.NewTimer(f.stuckPause)
		defer t.Stop()
		over = t.C
	}
	select {
	case <-f.freed:
	case <-over:
	case <-f.ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.halted = false
}

// Trouble says what the looks did not tell, for the summary; nothing where all
// went well.
func (f *Finder) Trouble() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.late == 0 {
		return nil
	}
	text := fmt.Sprintf("%d looks at processes did not end within %v (a file or disk that does not answer, or a process made so): of these processes no ZooKeeper client, server or pause is told", f.late, f.stuckAfter)
	if f.halts > 0 {
		text += fmt.Sprintf("; %d times no other process was looked at either, for up to %v", f.halts, f.stuckPause)
		if f.stuck >= maxStuckEver {
			text += fmt.Sprintf(", and none is now: %d are stuck", f.stuck)
		}
	}
	return []string{text}
}
