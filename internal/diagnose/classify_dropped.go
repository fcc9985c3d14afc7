package diagnose

import (
	"slices"
	"strings"

	"rstwhy/internal/event"
)

// dropped: the RST arrived, and the kernel did not accept it (kfree_skb).
func dropped(r *event.Reset) bool {
	return r.Direction == event.Received && r.Hook == event.HookDrop
}

func dropReason(r *event.Reset) string {
	if r.DropReason == nil {
		return ""
	}
	return *r.DropReason
}

// dropIn tells whether the kernel's reason is one of the names; "" stands for
// none and for NOT_SPECIFIED, which says no more.
func dropIn(r *event.Reset, reasons ...string) bool {
	d := dropReason(r)
	if d == "NOT_SPECIFIED" {
		d = ""
	}
	return slices.Contains(reasons, d)
}

// connected: a full socket that has, or is about to have, both ends.
func connected(r *event.Reset) bool {
	return r.Socket == event.SocketFull && r.State != nil && !stateIn(r, "LISTEN", "SYN_SENT", "CLOSE")
}

// firewallRows: resets that netfilter made (nf_send_reset, nf_send_reset6).
var firewallRows = []row{
	{FirewallReject, "made by a netfilter rule (nf_send_reset)", firewalled},
}

// droppedRows: resets that arrived and were not accepted, by the reason of
// kfree_skb and the socket that it names. The reasons are those of 6.18;
// where an older kernel gives less, the cause stays unknown. Kernels below 6.11
// name no socket, and 5.10 no reason.
var droppedRows = []row{
	{ResetFiltered, "dropped before TCP looked at it (netfilter, socket filter, checksum, signature, IPsec ...)", func(r *event.Reset) bool {
		return dropped(r) && (filteredWords(r) != "" || withoutReason(r))
	}},
	{PeerResetTimewait, "for a TIME_WAIT minisocket (tcp_timewait_state_process)", func(r *event.Reset) bool {
		return dropped(r) && r.Socket == event.SocketTimewait
	}},
	// tcp_rcv_state_process in TCP_LISTEN: TCP_FLAGS where the RST has an ACK.
	{ResetToNobody, "for no connection (tcp_v4_rcv, no_tcp_socket; tcp_rcv_state_process, TCP_LISTEN, TCP_CLOSE)", func(r *event.Reset) bool {
		return dropped(r) && (dropIn(r, "NO_SOCKET", "TCP_CLOSE") || state(r) == "LISTEN" && dropIn(r, "TCP_RESET", "TCP_FLAGS"))
	}},
	// tcp_check_req drops with no reason, whether it ends the request or not;
	// kfree_skb names the listener.
	{PeerResetHandshake, "for a connection request (tcp_check_req)", func(r *event.Reset) bool {
		return dropped(r) && (r.Socket == event.SocketRequest || state(r) == "LISTEN" &&
			dropIn(r, "", "TCP_OVERWINDOW", "TCP_RFC7323_PAWS", "TCP_RFC7323_TSECR"))
	}},
	{ResetUnexpectedHandshake, "while connecting, without an acceptable ACK (tcp_rcv_synsent_state_process)", func(r *event.Reset) bool {
		return dropped(r) && state(r) == "SYN_SENT" && dropIn(r, "", "TCP_RESET", "TCP_INVALID_ACK_SEQUENCE", "TCP_RFC7323_PAWS", "TCP_RFC7323_TSECR")
	}},
	{ResetChallenged, "in the window, not exact (tcp_validate_incoming, RFC 5961)", func(r *event.Reset) bool {
		return dropped(r) && connected(r) && dropReason(r) == "TCP_RESET"
	}},
	// tcp_sequence names these for no other socket than a connected one.
	{ResetOutOfWindow, "out of the window (tcp_sequence)", func(r *event.Reset) bool {
		return dropped(r) && (connected(r) || r.Socket == event.SocketNone) &&
			(dropIn(r, "TCP_INVALID_SEQUENCE", "TCP_OLD_SEQUENCE", "TCP_INVALID_END_SEQUENCE") || connected(r) && dropReason(r) == "TCP_OVERWINDOW")
	}},
}

// filters say what dropped a RST before TCP looked at it, by the reason of
// kfree_skb (include/net/dropreason-core.h). A name that ends with "*" is a
// prefix. The first that fits counts.
var filters = []struct{ reason, words string }{
	{"NETFILTER_DROP", "a netfilter rule of this host dropped it"},
	{"SOCKET_FILTER", "a filter on the socket refused it (SO_ATTACH_FILTER, cgroup BPF or a security module)"},
	{"SECURITY_HOOK", "a security module refused it"},
	{"TCP_CSUM", "its TCP checksum is wrong"},
	{"IP_CSUM", "its IP checksum is wrong"},
	{"SKB_CSUM", "its checksum is wrong"},
	{"TCP_MD5NOTFOUND", "it has no TCP-MD5 signature, and the connection demands one"},
	{"TCP_MD5UNEXPECTED", "it has a TCP-MD5 signature, and the connection knows no key"},
	{"TCP_MD5*", "its TCP-MD5 signature is wrong"},
	{"TCP_AONOTFOUND", "it has no TCP-AO signature, and the connection demands one"},
	{"TCP_AOUNEXPECTED", "it has a TCP-AO signature, and the connection knows no key"},
	{"TCP_AOKEYNOTFOUND", "its TCP-AO key is not known"},
	{"TCP_AO*", "its TCP-AO signature is wrong"},
	{"TCP_AUTH_HDR", "its signature options are malformed"},
	{"XFRM*", "the IPsec policy refused it"},
	{"TCP_MINTTL", "its TTL is below the limit that the program set (IP_MINTTL)"},
	{"TC_INGRESS", "a traffic control rule (tc) dropped it"},
	{"XDP", "an XDP program dropped it"},
	{"IP_RPFILTER", "it came by another way than answers would take (rp_filter)"},
	{"OTHERHOST", "it is addressed to another host's link address"},
	{"PKT_TOO_SMALL", "it is malformed"},
	{"HDR_TRUNC", "it is malformed"},
	{"IP_INHDR", "its IP header is malformed"},
	{"IP_IN*", "this host's routing does not accept its addresses"},
	{"IP_LOCAL*", "this host's routing does not accept its addresses"},
	{"SOCKET_BACKLOG", "the socket was busy and its backlog full"},
	{"SOCKET_RCVBUFF", "the socket's receive buffer was full"},
	{"CPU_BACKLOG", "the CPU's packet queue was full"},
	{"PROTO_MEM", "TCP had too little memory"},
	{"NOMEM", "the kernel had too little memory"},
}

// withoutReason: TCP gives its reasons for what a connection itself refuses, so
// that without one something before it did (5.10, which has none, shows nothing
// of the former: tcp_validate_incoming frees silently there).
func withoutReason(r *event.Reset) bool { return dropped(r) && connected(r) && dropIn(r, "") }

func filteredWords(r *event.Reset) string {
	d := dropReason(r)
	if withoutReason(r) {
		return "something before TCP dropped it, and this kernel does not say what"
	}
	for _, f := range filters {
		if prefix, ok := strings.CutSuffix(f.reason, "*"); d == f.reason || ok && strings.HasPrefix(d, prefix) {
			return f.words
		}
	}
	return ""
}
