package zk

import (
	"sync"
	"time"
)

const (
	// defaultHold is how long a connection may still bring a reset after it was
	// closed here. What a server sends late is answered by one: our end stays in
	// FIN-WAIT-2 for net.ipv4.tcp_fin_timeout (60 s), and a server repeats its
	// SYN-ACK for 31 s and gives up after 63 (net.ipv4.tcp_synack_retries).
	defaultHold = 65 * time.Second
	// goneHold is enough where nothing is left at the server: its events may
	// still be on the way.
	goneHold = 5 * time.Second
)

// holds keeps the 4-tuples of ended probes registered for a while. Their number
// is bounded by the rate of a Prober's questions.
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

// add takes over a registration; gone tells that the server refused the
// connection.
func (h *holds) add(release func(), gone bool) {
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
	wait := h.time
	if gone {
		wait = min(wait, goneHold)
	}
	one := &hold{release: release}
	one.timer = time.AfterFunc(wait, func() { h.expire(one) })
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
