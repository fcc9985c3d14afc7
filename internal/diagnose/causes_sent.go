package diagnose

import "rstwhy/internal/event"

// sentCauses: resets that this host sent, in the order of the documentation.
var sentCauses = []Cause{
	{
		ID: ClosedPort, Direction: event.Sent, Actor: event.ActorKernel, Title: "nobody listens on the port",
		Meaning: "A peer tried to connect to a port of this host on which no process listens. The kernel answered for nobody.",
		Do:      "If the service should run, start it or correct its address. If not, find out why the peer asks.",
		Sources: []string{"net/ipv4/tcp_ipv4.c: tcp_v4_rcv (no_tcp_socket)", "RFC 9293 3.10.7.1"}, Sentence: sayClosedPort,
	},
	{
		ID: GoneConnection, Direction: event.Sent, Actor: event.ActorKernel, Title: "packet for a connection that this host does not have",
		Meaning: "A packet came for a connection of which this host has no socket: it timed out or was reset before, the host was restarted, or a load balancer sent the packet to the wrong host.",
		Do:      "Look at what happened to that connection earlier. If this host never had it, look at load balancers and duplicate addresses.",
		Sources: []string{"net/ipv4/tcp_ipv4.c: tcp_v4_rcv (no_tcp_socket)", "RFC 9293 3.5.1"}, Sentence: sayGone,
	},
	{
		ID: ConnectAbandoned, Direction: event.Sent, Actor: event.ActorKernel, Title: "the server's answer came after the connect was given up",
		Meaning: "The process gave up its connection attempt before the peer accepted it; the late answer was reset. Typical of connect time-outs that are too short.",
		Do:      "Find out why the peer answers slowly, or allow the connect more time.",
		Sources: []string{"net/ipv4/tcp.c: __tcp_close, tcp_disconnect (SYN_SENT sends nothing)"}, Sentence: sayAbandoned,
	},
	{
		ID: UnreadData, Direction: event.Sent, Actor: event.ActorProcess, Title: "closed with received data unread",
		Meaning: "The socket was closed, or its process ended, while data from the peer lay unread in the kernel. Linux then sends a reset instead of an orderly end, so that the peer learns that its data were not taken. Data just sent to the peer can be lost with it.",
		Do:      "Read to the end of file, or shut down the sending side and drain, before closing. If a signal killed the process, look for who sent it.",
		Sources: []string{"net/ipv4/tcp.c: __tcp_close (data_was_unread)", "RFC 1122 4.2.2.13", "RFC 2525 2.17"}, Sentence: sayUnread,
	},
	{
		ID: LingerZero, Direction: event.Sent, Actor: event.ActorProcess, Title: "closed with SO_LINGER 0",
		Meaning: "The program had set SO_LINGER with a time of zero, which makes close() reset the connection at once. Data not yet sent are thrown away.",
		Do:      "If it is not meant, remove the option (Java: setSoLinger(true, 0); Go: SetLinger(0)).",
		Sources: []string{"net/ipv4/tcp.c: __tcp_close, tcp_disconnect", "socket(7)"}, Sentence: sayLinger,
	},
	{
		ID: ConnectUnspec, Direction: event.Sent, Actor: event.ActorProcess, Title: "disconnected with connect(AF_UNSPEC)",
		Meaning: "The program called connect() with the address family AF_UNSPEC, which drops the connection with a reset and keeps the socket for another use.",
		Do:      "If it is not meant, use shutdown() and close().",
		Sources: []string{"net/ipv4/tcp.c: tcp_disconnect", "connect(2)"}, Sentence: sayUnspec,
	},
	{
		ID: LateData, Direction: event.Sent, Actor: event.ActorKernel, Title: "the peer sent after this side had closed",
		Meaning: "A packet from the peer came after the process had closed the socket or had ended. Nobody can read it any more, so the kernel resets. It is common where both sides end a connection at about the same time, and then harmless.",
		Do:      "If an answer is lost, wait for it (or for end of file) before closing. Otherwise nothing.",
		Sources: []string{"net/ipv4/tcp_input.c: tcp_rcv_state_process (TCPAbortOnData)", "net/ipv4/tcp_minisocks.c: tcp_timewait_state_process", "RFC 1122 4.2.2.13"}, Sentence: sayLate,
	},
	{
		ID: DataAfterShutdown, Direction: event.Sent, Actor: event.ActorKernel, Title: "the peer sent after shutdown in both directions",
		Meaning: "The socket was shut down in both directions but is still held by its process, and the peer sent more data. The kernel resets, as after a close.",
		Do:      "Shut down only the sending side (SHUT_WR) and read until end of file.",
		Sources: []string{"net/ipv4/tcp_input.c: tcp_rcv_state_process (TCPAbortOnData)"}, Sentence: sayShutdown,
	},
	{
		ID: StaleSegment, Direction: event.Sent, Actor: event.ActorKernel, Title: "stray packet to a listening port",
		Meaning: "A packet that belongs to no connection of this host came to a port on which a process listens. The connection ended earlier (this may be its echo), the server was restarted, or a load balancer changed its mind.",
		Do:      "Look for an earlier reset of the same connection; that one has the cause. After a restart, nothing.",
		Sources: []string{"net/ipv4/tcp_input.c: tcp_rcv_state_process (TCP_LISTEN)", "RFC 9293 3.10.7.2"}, Sentence: sayStale,
	},
	{
		ID: ListenerClosed, Direction: event.Sent, Actor: event.ActorProcess, Title: "listener closed before the connection was accepted",
		Meaning: "The handshake was complete and the connection waited to be accepted when the listening socket was closed or shut down, or its process ended.",
		Do:      "At a restart, take the server out of the load balancer first, or hand the listening socket over.",
		Sources: []string{"net/ipv4/inet_connection_sock.c: inet_csk_listen_stop, inet_child_forget"}, Sentence: sayListener,
	},
	{
		ID: BacklogOverflow, Direction: event.Sent, Actor: event.ActorKernel, Title: "accept queue full",
		Meaning: "More connections wait for accept() than the listener allows, and net.ipv4.tcp_abort_on_overflow makes the kernel reset the next one instead of letting the peer try again.",
		Do:      "Make the server accept faster or raise its backlog and net.core.somaxconn; consider tcp_abort_on_overflow=0.",
		Sources: []string{"net/ipv4/tcp_minisocks.c: tcp_check_req (listen_overflow)", "Documentation/networking/ip-sysctl.rst: tcp_abort_on_overflow"}, Sentence: sayOverflow,
	},
	{
		ID: KeepaliveTimeout, Direction: event.Sent, Actor: event.ActorTimer, Title: "the peer answered no keepalive probe",
		Meaning: "The connection was idle, keepalive probes got no answer, and the kernel gave the connection up. The peer's host is down or unreachable, or something between forgot the connection.",
		Do:      "Check the peer's host and the path. If a NAT or load balancer forgets idle connections, send keepalives more often than its limit.",
		Sources: []string{"net/ipv4/tcp_timer.c: tcp_keepalive_timer", "tcp(7): TCP_KEEPCNT"}, Sentence: sayKeepalive,
	},
	{
		ID: UserTimeout, Direction: event.Sent, Actor: event.ActorTimer, Title: "TCP_USER_TIMEOUT passed without a sign of the peer",
		Meaning: "The program set TCP_USER_TIMEOUT, and the idle peer left the keepalive probes unanswered for longer.",
		Do:      "Check the peer's host and the path; if the limit is too tight for this network, raise it.",
		Sources: []string{"net/ipv4/tcp_timer.c: tcp_keepalive_timer", "RFC 5482"}, Sentence: sayUserTimeout,
	},
	{
		ID: Linger2Abort, Direction: event.Sent, Actor: event.ActorProcess, Title: "closed with TCP_LINGER2 below zero",
		Meaning: "The program had set TCP_LINGER2 to a negative time: after close() the kernel does not wait for the peer to end its side but resets.",
		Do:      "If it is not meant, remove the option.",
		Sources: []string{"net/ipv4/tcp.c: __tcp_close", "net/ipv4/tcp_input.c: tcp_rcv_state_process (FIN_WAIT1)", "tcp(7): TCP_LINGER2"}, Sentence: sayLinger2,
	},
	{
		ID: OrphanMemory, Direction: event.Sent, Actor: event.ActorProcess, Title: "too many closed connections or too little TCP memory",
		Meaning: "A closed connection still had something to finish, but the limit on such connections (tcp_max_orphans) or on TCP memory (tcp_mem) was exceeded; the kernel dropped it with a reset.",
		Do:      "See 'TCP: too many orphaned sockets' or 'out of memory' in the kernel log; find the program that closes so many, then raise the limit.",
		Sources: []string{"net/ipv4/tcp.c: tcp_check_oom", "net/ipv4/tcp_timer.c: tcp_out_of_resources"}, Sentence: sayOrphan,
	},
	{
		ID: SocketDestroyed, Direction: event.Sent, Actor: event.ActorKiller, Title: "connection destroyed from outside the process",
		Meaning: "Somebody with the right to do so (CAP_NET_ADMIN) told the kernel to destroy the connection: ss -K, another user of SOCK_DESTROY, or a BPF program. The process got ECONNABORTED.",
		Do:      "Ask who runs such a tool on this host.",
		Sources: []string{"net/ipv4/tcp.c: tcp_abort", "ss(8): --kill"}, Sentence: sayDestroyed,
	},
	{
		ID: BadHandshakeACK, Direction: event.Sent, Actor: event.ActorKernel, Title: "answer does not fit the handshake",
		Meaning: "During the opening of a connection came an acknowledgement that does not fit it, typically because the other side still remembers an older connection with the same ports.",
		Do:      "Usually nothing: the attempt is repeated. If it stays, look for a firewall or NAT that rewrites sequence numbers.",
		Sources: []string{"net/ipv4/tcp_input.c: tcp_rcv_synsent_state_process, tcp_rcv_state_process", "RFC 9293 3.10.7.3"}, Sentence: sayBadACK,
	},
	{
		ID: HandshakeSYN, Direction: event.Sent, Actor: event.ActorKernel, Title: "second connection request inside a handshake",
		Meaning: "While a handshake with the same address and port was open, another connection request (SYN) with a different sequence number came.",
		Do:      "Usually nothing. If it stays, look for two hosts with the same address, or a NAT that reuses ports too fast.",
		Sources: []string{"net/ipv4/tcp_minisocks.c: tcp_check_req (embryonic_reset)"}, Sentence: sayHandshakeSYN,
	},
	{
		ID: MPTCPAbort, Direction: event.Sent, Actor: event.ActorKernel, Title: "Multipath TCP gave up the connection",
		Meaning: "The socket belongs to a Multipath TCP connection, and MPTCP reset it: the program closed it with data unread or SO_LINGER 0, or the MPTCP protocol refused a path.",
		Do:      "Look at what the program did with the MPTCP socket; ss -M and nstat (MPTcpExt*) tell more.",
		Sources: []string{"net/mptcp/protocol.c: mptcp_do_fastclose", "net/mptcp/subflow.c: subflow_v4_route_req", "RFC 8684 3.5, 3.6"}, Sentence: sayMPTCP,
	},
	{
		ID: FirewallReject, Direction: event.Sent, Actor: event.ActorFirewall, Title: "rejected by a firewall rule of this host",
		Meaning: "A netfilter rule of this host (nft 'reject with tcp reset', iptables -j REJECT --reject-with tcp-reset) answered a segment with a reset in the name of the address that the segment was sent to. No process and no socket took part. The segment was for this host, left it, or was being forwarded.",
		Do:      "Find the rule: nft list ruleset | grep reject, or iptables-save | grep REJECT. If it should not reject this, correct it; which rule it was the kernel does not tell.",
		Sources: []string{"net/ipv4/netfilter/nf_reject_ipv4.c: nf_send_reset", "net/ipv6/netfilter/nf_reject_ipv6.c: nf_send_reset6"}, Sentence: sayFirewall,
	},
}
