package event

import (
	"encoding/json"
	"strconv"
)

// Number is a measurement that may be missing. A missing one is left out of
// the JSON object; zero is a measurement like any other.
type Number struct {
	N     int64
	Known bool
}

// Num is a known measurement.
func Num(n int64) Number { return Number{N: n, Known: true} }

// IsZero makes encoding/json's omitzero leave out what is not known.
func (n Number) IsZero() bool { return !n.Known }

// MarshalJSON writes the number, or null where it is not known.
func (n Number) MarshalJSON() ([]byte, error) {
	if !n.Known {
		return []byte("null"), nil
	}
	return strconv.AppendInt(nil, n.N, 10), nil
}

// UnmarshalJSON reads a number or null.
func (n *Number) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*n = Number{}
		return nil
	}
	n.Known = true
	return json.Unmarshal(b, &n.N)
}

// Evidence holds the measurements taken at the reset. Byte counts leave out
// SYN and FIN; sent_bytes leaves out retransmissions.
type Evidence struct {
	UnreadBytes        Number `json:"unread_bytes,omitzero"`        // received by the kernel and not read by the process, bytes
	SentBytes          Number `json:"sent_bytes,omitzero"`          // sent to the peer, first transmissions only, bytes
	AckedBytes         Number `json:"acked_bytes,omitzero"`         // of these, acknowledged by the peer, bytes
	ReceivedBytes      Number `json:"received_bytes,omitzero"`      // received from the peer in order, bytes
	UnsentBytes        Number `json:"unsent_bytes,omitzero"`        // written by the process and never sent, bytes
	RetransmitSegments Number `json:"retransmit_segments,omitzero"` // segments retransmitted over the connection's life
	ProbesUnanswered   Number `json:"probes_unanswered,omitzero"`   // keepalive or zero-window probes without an answer
	UserTimeoutMS      Number `json:"user_timeout_ms,omitzero"`     // TCP_USER_TIMEOUT, ms
	SilenceNS          Number `json:"silence_ns,omitzero"`          // since the last segment from the peer, ns
	SinceSentNS        Number `json:"since_sent_ns,omitzero"`       // since our last data segment, ns
	AgeNS              Number `json:"age_ns,omitzero"`              // since the connection was opened, ns
	SinceClosedNS      Number `json:"since_closed_ns,omitzero"`     // since the process closed or shut down the socket, ns
	RTTNS              Number `json:"rtt_ns,omitzero"`              // smoothed round-trip time, ns
	SegmentBytes       Number `json:"segment_bytes,omitzero"`       // payload of the segment that provoked the RST, bytes
	SegmentFlags       string `json:"segment_flags,omitzero"`       // its TCP flags as tcpdump writes them (S, F, P, ., R); of an accepted RST its own, where the kernel shows them
	BacklogConnections Number `json:"backlog_connections,omitzero"` // listener: connections waiting for accept()
	BacklogLimit       Number `json:"backlog_limit,omitzero"`       // listener: its backlog limit
	FileReferences     Number `json:"file_references,omitzero"`     // references to the socket's open file at the reset
}
