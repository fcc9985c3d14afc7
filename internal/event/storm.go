package event

import (
	"net/netip"
	"time"
)

// Storm counts the resets of one kind that were too many to be told one by
// one: they share direction, cause, owner, remote address (or prefix) and local
// port. It covers about a second.
type Storm struct {
	Type        string       `json:"type"`         // always "storm"
	Schema      int          `json:"schema"`       // version of this format
	Host        string       `json:"host"`         // host name
	Time        time.Time    `json:"time"`         // when the last of them happened, UTC
	DurationNS  int64        `json:"duration_ns"`  // from the first to the last, ns
	Count       uint64       `json:"count"`        // how many
	Direction   Direction    `json:"direction"`    // sent or received
	Cause       string       `json:"cause"`        // cause id, from what they share
	Owner       *Process     `json:"owner"`        // process that holds, or last held, the sockets; null where that is not known
	LocalPort   uint16       `json:"local_port"`   // local port; 0: several, as where the local side connected
	RemotePort  uint16       `json:"remote_port"`  // remote port; 0: several, as where the peer connected
	Remote      netip.Prefix `json:"remote"`       // remote address, as a prefix where there are several
	NetNS       uint32       `json:"netns"`        // inode number of the network namespace; 0: several
	Effect      *Effect      `json:"effect"`       // what the arriving RSTs did; null for sent ones
	Verdict     *Verdict     `json:"verdict"`      // verdict of a reset of this kind that was told in full lately; null where there is none
	OwnerProven bool         `json:"owner_proven"` // the owner acted itself, or closed all of the sockets
	Others      []Process    `json:"others"`       // where the owner is not known, who opened the sockets, or listened: others may have held them
	Merged      bool         `json:"merged"`       // counted without owner and network namespace, for want of room: the resets may be of several, and no filter can take them apart
}
