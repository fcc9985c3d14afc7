package probe

import (
	"time"

	"rstwhy/internal/event"
)

// maxGaps bounds the list: the first and the latest are kept.
const maxGaps = 256

// gaps are the times in which a hook was not attached. The last one may be
// open: its duration is negative.
type gaps []event.Gap

func (g *gaps) begin(hook *Hook, why string, from time.Time) {
	*g = append(*g, event.Gap{Hook: hook.Name, From: from.UTC(), DurationNS: -1, Why: why, Without: hook.Without})
	if len(*g) > maxGaps {
		*g = append((*g)[:1], (*g)[2:]...)
	}
}

// open gives the one that has not ended, or nil.
func (g gaps) open() *event.Gap {
	if n := len(g); n > 0 && g[n-1].DurationNS < 0 {
		return &g[n-1]
	}
	return nil
}

func (g gaps) end(now time.Time) {
	if last := g.open(); last != nil {
		last.DurationNS = int64(max(now.Sub(last.From), 0))
	}
}

// until gives a copy in which the open one lasts until now.
func (g gaps) until(now time.Time) gaps {
	out := append(gaps{}, g...)
	out.end(now)
	return out
}

// Gaps tells when hooks were not attached, the open ones until now.
func (l *Live) Gaps(now time.Time) []event.Gap {
	out := l.drops.gaps.until(now)
	for _, h := range l.late.hooks {
		out = append(out, h.gaps.until(now)...)
	}
	return out
}
