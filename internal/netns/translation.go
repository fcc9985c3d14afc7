package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
)

// translated asks conntrack of one namespace for the connection. known is false
// where it has no such entry, or none can be asked; then it may have been
// translated elsewhere. A nil NAT that is known was not translated here.
func translated(s *Spaces, netns uint32, t Tuple) (nat *event.NAT, known bool, err error) {
	var conn *conntrack.Conn
	if err := s.Enter(netns, func() (err error) {
		conn, err = conntrack.Dial(&netlink.Config{})
		return err
	}); err != nil {
		return nil, false, fmt.Errorf("ask conntrack: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return nil, false, err
	}
	var f conntrack.Flow
	f.TupleOrig.IP.SourceAddress, f.TupleOrig.IP.DestinationAddress = t.Local.Addr(), t.Peer.Addr()
	f.TupleOrig.Proto = conntrack.ProtoTuple{
		Protocol: unix.IPPROTO_TCP, SourcePort: t.Local.Port(), DestinationPort: t.Peer.Port(),
	}
	// The kernel looks in both directions (nf_conntrack_find_get).
	entry, err := conn.Get(f)
	if errors.Is(err, unix.ENOENT) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("ask conntrack: %w", err)
	}
	nat = natOf(&entry)
	return nat, true, nil
}

// natOf is nil where the reply is the mirror of the original.
func natOf(entry *conntrack.Flow) *event.NAT {
	n := event.NAT{
		Source:           endpoint(entry.TupleOrig.IP.SourceAddress, entry.TupleOrig.Proto.SourcePort),
		Destination:      endpoint(entry.TupleOrig.IP.DestinationAddress, entry.TupleOrig.Proto.DestinationPort),
		ReplySource:      endpoint(entry.TupleReply.IP.SourceAddress, entry.TupleReply.Proto.SourcePort),
		ReplyDestination: endpoint(entry.TupleReply.IP.DestinationAddress, entry.TupleReply.Proto.DestinationPort),
	}
	if n.Source == n.ReplyDestination && n.Destination == n.ReplySource {
		return nil
	}
	return &n
}

func endpoint(a netip.Addr, port uint16) event.Endpoint {
	return event.Endpoint{Address: a.Unmap(), Port: port}
}

// tracks tells whether conntrack has entries in the namespace. The file is that
// of the reading thread's namespace (net/netfilter/nf_conntrack_standalone.c).
func tracks(s *Spaces, netns uint32) (bool, error) {
	used := false
	err := s.Enter(netns, func() error {
		b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
		used = err == nil && strings.TrimSpace(string(b)) != "0"
		return nil // without conntrack there is no such file
	})
	return used, err
}
