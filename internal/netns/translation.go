package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
)

// Attributes of a conntrack entry (include/uapi/linux/netfilter/
// nfnetlink_conntrack.h); numbers are in network byte order.
const (
	conntrackGet = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1 // IPCTNL_MSG_CT_GET

	attrOriginal, attrReply             = 1, 2 // CTA_TUPLE_ORIG, CTA_TUPLE_REPLY
	attrIP, attrProto                   = 1, 2 // CTA_TUPLE_IP, CTA_TUPLE_PROTO
	attrSource4, attrDestination4       = 1, 2 // CTA_IP_V4_SRC, CTA_IP_V4_DST
	attrSource6, attrDestination6       = 3, 4 // CTA_IP_V6_SRC, CTA_IP_V6_DST
	attrProtocol                        = 1    // CTA_PROTO_NUM
	attrSourcePort, attrDestinationPort = 2, 3 // CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT

	netfilterHeaderSize = 4 // struct nfgenmsg: family, version 0, resource 0
)

// translated asks conntrack of one namespace for the connection. Nil is a
// connection that was not translated there, or of which there is no entry.
//
// The exchange is our own: the kernel marks its single answer as one part of
// many (ctnetlink_fill_info) and sends no end, for which mdlayher/netlink 1.11
// waits.
func translated(s *Spaces, netns uint32, t Tuple) (nat *event.NAT, found bool, _ error) {
	fd := -1
	if err := s.Enter(netns, func() (err error) {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		return err
	}); err != nil {
		return nil, false, fmt.Errorf("ask conntrack: %w", err)
	}
	defer unix.Close(fd)
	question, err := conntrackQuestion(t)
	if err != nil {
		return nil, false, fmt.Errorf("ask conntrack: %w", err)
	}
	answer, err := exchange(fd, question)
	if errors.Is(err, unix.ENOENT) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("ask conntrack: %w", err)
	}
	nat, err = conntrackEntry(answer)
	if err != nil {
		return nil, false, fmt.Errorf("read conntrack entry: %w", err)
	}
	if nat.Source == nat.ReplyDestination && nat.Destination == nat.ReplySource {
		return nil, true, nil
	}
	return nat, true, nil
}

// conntrackQuestion asks for the entry of a tuple, in whichever direction it is
// (nf_conntrack_find_get).
func conntrackQuestion(t Tuple) ([]byte, error) {
	source, destination := uint16(attrSource4), uint16(attrDestination4)
	if family(t) == unix.AF_INET6 {
		source, destination = attrSource6, attrDestination6
	}
	e := netlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	e.Nested(attrOriginal, func(e *netlink.AttributeEncoder) error {
		e.Nested(attrIP, func(e *netlink.AttributeEncoder) error {
			e.Bytes(source, t.Local.Addr().AsSlice())
			e.Bytes(destination, t.Peer.Addr().AsSlice())
			return nil
		})
		e.Nested(attrProto, func(e *netlink.AttributeEncoder) error {
			e.Uint8(attrProtocol, unix.IPPROTO_TCP)
			e.Uint16(attrSourcePort, t.Local.Port())
			e.Uint16(attrDestinationPort, t.Peer.Port())
			return nil
		})
		return nil
	})
	attributes, err := e.Encode()
	if err != nil {
		return nil, err
	}
	body := append([]byte{family(t), 0, 0, 0}, attributes...)
	return netlink.Message{
		Header: netlink.Header{
			Length: uint32(unix.NLMSG_HDRLEN + len(body)), Type: conntrackGet,
			Flags: netlink.Request | netlink.Acknowledge, Sequence: 1,
		},
		Data: body,
	}.MarshalBinary()
}

// exchange sends one request on a fresh socket and gives the first message of
// the kernel's answer. The kernel answers within the call that sends.
func exchange(fd int, question []byte) ([]byte, error) {
	limit := unix.NsecToTimeval(answerTime.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return nil, err
	}
	if err := unix.Sendto(fd, question, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	b := make([]byte, 16<<10)
	n, from, err := unix.Recvfrom(fd, b, 0)
	if err != nil {
		return nil, err
	}
	if a, ok := from.(*unix.SockaddrNetlink); !ok || a.Pid != 0 {
		return nil, errors.New("an answer that is not the kernel's")
	}
	if n < unix.NLMSG_HDRLEN {
		return nil, errMalformed
	}
	length, kind := int(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint16(b[4:])
	if length < unix.NLMSG_HDRLEN || length > n {
		return nil, errMalformed
	}
	if data := b[unix.NLMSG_HDRLEN:length]; kind != unix.NLMSG_ERROR {
		return data, nil
	} else if len(data) >= 4 {
		return nil, unix.Errno(-int32(binary.NativeEndian.Uint32(data)))
	}
	return nil, errMalformed
}

var errMalformed = errors.New("malformed answer")

func conntrackEntry(b []byte) (*event.NAT, error) {
	if len(b) < netfilterHeaderSize {
		return nil, errMalformed
	}
	d, err := netlink.NewAttributeDecoder(b[netfilterHeaderSize:])
	if err != nil {
		return nil, err
	}
	var n event.NAT
	for d.Next() {
		switch d.Type() {
		case attrOriginal:
			d.Nested(func(d *netlink.AttributeDecoder) error { return readTuple(d, &n.Source, &n.Destination) })
		case attrReply:
			d.Nested(func(d *netlink.AttributeDecoder) error { return readTuple(d, &n.ReplySource, &n.ReplyDestination) })
		}
	}
	if err := d.Err(); err != nil {
		return nil, err
	}
	for _, e := range []event.Endpoint{n.Source, n.Destination, n.ReplySource, n.ReplyDestination} {
		if !e.Address.IsValid() {
			return nil, errMalformed
		}
	}
	return &n, nil
}

func readTuple(d *netlink.AttributeDecoder, source, destination *event.Endpoint) error {
	for d.Next() {
		switch d.Type() {
		case attrIP:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				for d.Next() {
					a, _ := netip.AddrFromSlice(d.Bytes())
					switch d.Type() {
					case attrSource4, attrSource6:
						source.Address = a.Unmap()
					case attrDestination4, attrDestination6:
						destination.Address = a.Unmap()
					}
				}
				return nil
			})
		case attrProto:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				d.ByteOrder = binary.BigEndian
				for d.Next() {
					switch d.Type() {
					case attrSourcePort:
						source.Port = d.Uint16()
					case attrDestinationPort:
						destination.Port = d.Uint16()
					}
				}
				return nil
			})
		}
	}
	return nil
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
