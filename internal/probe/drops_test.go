package probe

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"github.com/rs/zerolog"
)

// closable is a link that is attached to nothing.
type closable struct {
	link.Link
	closed bool
}

func (c *closable) Close() error { c.closed = true; return nil }

// TestFloodWarning: who is warned of a flood reads for how long the hook is gone
// and how many drops there were, rounded and with their units.
func TestFloodWarning(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		drops  uint64 // within three seconds
		rested time.Duration
		want   string
	}{
		{"below the limit", 3 * dropLimit, 0, ""},
		{"first", 190_000, 0, "are not watched for 10s: a flood of dropped packets: the hook runs for each of them, about 63 thousand a second"},
		{"again", 3_703_703, 7_290_123_456, "are not watched for 15s: a flood of dropped packets: the hook runs for each of them, about 1235 thousand a second"},
	} {
		var out bytes.Buffer
		lnk := &closable{}
		// Without maps the counters read 0, so the drops lie before it.
		l := &Live{log: zerolog.New(&out), links: map[string]link.Link{refusedHook: lnk},
			drops: drops{looked: now.Add(-3 * time.Second), seen: -tt.drops, rest: tt.rested}}
		l.TendDrops(now)
		if lnk.closed != (tt.want != "") || !strings.Contains(out.String(), tt.want) || tt.want == "" && out.Len() > 0 {
			t.Errorf("%s: detached %t, said %q, want %q", tt.name, lnk.closed, out.String(), tt.want)
		}
	}
}
