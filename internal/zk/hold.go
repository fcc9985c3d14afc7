package zk

import (
	"sync"
	"time"
)

// holds keeps the 4-tuples of ended probes registered for a while: their
// events may still be on the way, and the server may reset late.
type holds struct {
	time time.Duration

	mu      sync.Mutex
	closed  bool
	pending map[*hold]struct{}
}

type hold struct {
	timer   *time.Timer
	release func()
}

func (h *holds) add(release func()) {
	if release == nil {
		return
	}
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		release()
		return
	}
	defer h.mu.Unlock()
	one := &hold{release: release}
	one.timer = time.AfterFunc(h.time, func() { h.expire(one) })
	h.pending[one] = struct{}{}
}

func (h *holds) expire(one *hold) {
	h.mu.Lock()
	_, mine := h.pending[one]
	delete(h.pending, one)
	h.mu.Unlock()
	if mine {
		one.release()
	}
}

// close releases all at once.
func (h *holds) close() {
	h.mu.Lock()
	pending := h.pending
	h.pending, h.closed = map[*hold]struct{}{}, true
	h.mu.Unlock()
	for one := range pending {
		one.timer.Stop()
		one.release()
	}
}
