package diagnose

import "rstwhy/internal/event"

// rejectedCauses: resets that arrived and that the kernel did not accept, or
// that no socket sent. The field effect says what became of the connection.
var rejectedCauses = []Cause{
	{
		ID: PeerResetTimewait, Direction: event.Received, Actor: event.ActorPeer, Title: "reset for a connection that was closed here already",
		Meaning: "This host had closed the connection, and the kernel kept a TIME_WAIT entry for what might still come. A reset with the peer's address came for it. In the substate FIN_WAIT2 the peer had not ended its side: its program may have closed with our last data unread. In the substate TIME_WAIT both sides had ended, and nothing is lost; net.ipv4.tcp_rfc1337=1 makes the kernel ignore the reset.",
		Do:      "Usually nothing. If the peer seems to lose the last data, wait for its end of file before closing.",
		Sources: []string{"net/ipv4/tcp_minisocks.c: tcp_timewait_state_process", "RFC 1337"}, Sentence: sayTimewait,
	},
	{
		ID: ResetChallenged, Direction: event.Received, Actor: event.ActorPeer, Title: "reset with an inexact sequence number, not believed",
		Meaning: "A reset with the peer's address came whose sequence number lies in the window but is not the next one. The kernel does not believe it: it asks the peer with a challenge ACK (at a bounded rate), and a peer that has no such connection answers with an exact reset. Somebody guesses sequence numbers, or the peer lost its state, or segments before the reset were lost.",
		Do:      "If an exact reset of the same connection follows at once, look at that one. If many come for connections that stay open, somebody forges resets: look at the path.",
		Sources: []string{"net/ipv4/tcp_input.c: tcp_validate_incoming", "RFC 5961 3.2"}, Sentence: sayChallenged,
	},
	{
		ID: ResetOutOfWindow, Direction: event.Received, Actor: event.ActorPeer, Title: "reset with a sequence number outside the window, ignored",
		Meaning: "A reset with the peer's address came whose sequence number lies outside the window of the connection; TCP ignores it. It belongs to an earlier connection with the same ports, came late, or is forged by somebody who cannot see the connection.",
		Do:      "Nothing, if it is rare. If many come, somebody between the hosts forges resets, or a NAT reuses ports too fast.",
		Sources: []string{"net/ipv4/tcp_input.c: tcp_sequence, tcp_validate_incoming", "RFC 9293 3.5.3"}, Sentence: sayOutOfWindow,
	},
	{
		ID: ResetUnexpectedHandshake, Direction: event.Received, Actor: event.ActorPeer, Title: "reset that does not answer the connection attempt, ignored",
		Meaning: "While this host was connecting, a reset with the server's address came that does not acknowledge the attempt. TCP ignores it: a server that refuses acknowledges the SYN. It is left over from an earlier connection with the same ports, or forged.",
		Do:      "Usually nothing: the attempt goes on. If the connect times out as well, look at firewalls and NAT between.",
		Sources: []string{"net/ipv4/tcp_input.c: tcp_rcv_synsent_state_process", "RFC 9293 3.10.7.3"}, Sentence: sayUnexpected,
	},
	{
		ID: ResetToNobody, Direction: event.Received, Actor: event.ActorPeer, Title: "reset for no connection of this host, ignored",
		Meaning: "A reset came for which this host has no connection: the connection ended before it arrived, it answers a SYN cookie, or it is the echo of a scan with forged addresses. Usually it is a further packet of a reset that was told already.",
		Do:      "Nothing.",
		Sources: []string{"net/ipv4/tcp_ipv4.c: tcp_v4_rcv (no_tcp_socket)", "net/ipv4/tcp_input.c: tcp_rcv_state_process (TCP_LISTEN)", "RFC 9293 3.10.7.1"}, Sentence: sayNobody,
	},
	{
		ID: ResetFiltered, Direction: event.Received, Actor: event.ActorPeer, Title: "reset dropped before TCP looked at it",
		Meaning: "A reset came and was dropped on this host before TCP judged it: by a firewall rule, a socket filter, IPsec, a wrong checksum or signature, or for want of room. The connection does not know of it; if the peer is really gone, it will hang until a time-out.",
		Do:      "Look at drop_reason. A firewall that drops resets as invalid (ct state invalid drop) leaves half-open connections behind: let resets of known connections pass.",
		Sources: []string{"include/net/dropreason-core.h", "net/ipv4/tcp_ipv4.c: tcp_v4_rcv"}, Sentence: sayFiltered,
	},
	{
		ID: ResetNotSentHere, Direction: event.Received, Actor: event.ActorUnknown, Title: "reset in the name of this host that no socket here sent",
		Meaning: "The connection was within this host, and a reset ended it that claims to come from its other end; but no socket here sent one. A firewall rule of this host (REJECT with tcp-reset) makes such resets, and so does a program that forges segments.",
		Do:      "Look for a rule that rejects: nft list ruleset | grep reject, or iptables-save | grep REJECT. rstwhy trace --firewall names the firewall's resets.",
		Sources: []string{"net/ipv4/netfilter/nf_reject_ipv4.c: nf_send_reset", "net/ipv4/tcp_input.c: tcp_reset"}, Sentence: sayNotSentHere,
	},
}
