package zk

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// ownProbes is the size of the kernel's table of probes, with an entry for
// either end of a connection (bpf/maps.h).
const ownProbes = 4096

// Our end of a connection may be there for 60 s after it was closed, and reset
// what comes late; one that was refused is not there.
func TestHoldOutlivesTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewProber(Options{})
		defer p.Close()
		var released, refusedReleased atomic.Bool
		p.holds.add(func() { released.Store(true) }, false)
		p.holds.add(func() { refusedReleased.Store(true) }, true)
		for _, step := range []struct {
			wait          time.Duration
			open, refused bool
		}{{4 * time.Second, true, true}, {6 * time.Second, true, false}, {52 * time.Second, true, false}, {10 * time.Second, false, false}} {
			time.Sleep(step.wait)
			synctest.Wait()
			if open, refused := !released.Load(), !refusedReleased.Load(); open != step.open || refused != step.refused {
				t.Errorf("%v later: registered %v, the refused one %v", step.wait, open, refused)
			}
		}
	})
}

// At the rate of a Prober's questions the kernel's table stays half empty.
func TestHoldsFit(t *testing.T) {
	if n := burst + perSecond*(defaultHold+DefaultTimeout+drainTime).Seconds(); 2*n > ownProbes/2 {
		t.Errorf("%v connections are registered at once", n)
	}
}
