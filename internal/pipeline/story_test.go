package pipeline

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

// TestReplayNarrowsStorms: a replay leaves a storm out where all that it counts
// is known not to be wanted, and only there.
func TestReplayNarrowsStorms(t *testing.T) {
	storms := []event.Storm{
		{Cause: "server", Count: 1, LocalPort: 80, Remote: netip.MustParsePrefix("198.51.100.1/32")},
		{Cause: "client", Count: 2, RemotePort: 2181, Remote: netip.MustParsePrefix("198.51.100.2/32")},
		{Cause: "scan", Count: 4, Remote: netip.MustParsePrefix("0.0.0.0/0")},
		{Cause: "both", Count: 8, LocalPort: 179, RemotePort: 180, Remote: netip.MustParsePrefix("2001:db8::/48")},
	}
	file := bytes.NewBufferString(framedFrame(t, header(Options{}, testNames(), probe.Clock{})))
	for i := range storms {
		storms[i].Direction = event.Sent
		file.WriteString(framedFrame(t, frame{Storm: &storms[i]}))
	}
	file.WriteString(framedFrame(t, frame{Summary: &event.Summary{Account: event.Account{Seen: 15, Aggregated: 15}}}))
	for name, tt := range map[string]struct {
		filter probe.Filter
		want   string
	}{
		"none":                 {probe.Filter{}, "server client scan both"},
		"-D, told":             {probe.Filter{PeerPorts: []uint16{2181}}, "server client scan"},
		"-D, both told":        {probe.Filter{PeerPorts: []uint16{180}}, "server scan both"},
		"-L, told":             {probe.Filter{LocalPorts: []uint16{80}}, "server client scan"},
		"-L, not the other":    {probe.Filter{LocalPorts: []uint16{180}}, "client scan"},
		"-P, any may be":       {probe.Filter{Ports: []uint16{2181}}, "server client scan"},
		"-P, the remote one":   {probe.Filter{Ports: []uint16{180}}, "server client scan both"},
		"--addr, may be local": {probe.Filter{Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}}, "server client scan"},
		"--addr, IPv6":         {probe.Filter{Addrs: []netip.Prefix{netip.MustParsePrefix("2001:db8:1::/48")}}, "both"},
		"-4":                   {probe.Filter{NoIPv6: true}, "server client scan"},
		"--received":           {probe.Filter{NoSent: true}, ""},
	} {
		out, err := replay(file.Bytes(), Options{Filter: tt.filter})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		told := uint64(0)
		for _, st := range out.storms {
			got, told = append(got, st.Cause), told+st.Count
		}
		if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if a := out.summary.Account; a.Aggregated != told || a.Filtered != 15-told {
			t.Errorf("%s: account %+v", name, a)
		}
	}
}

func framedFrame(t *testing.T, v any) string {
	t.Helper()
	b, err := encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
