package diagnose

import "rstwhy/internal/event"

// generalRules add a remedy where the cause's sentence alone leaves a reader
// without a next step.
var generalRules = []Rule{
	{
		ID:    "accept-queue-full",
		Title: "the process does not accept its connections fast enough",
		Cases: []Case{
			{"this host, and the kernel says so", []Condition{resetSent, causeIn(BacklogOverflow), overflowReason}, event.Proven},
			{"this host, by the length of the queue alone", []Condition{resetSent, causeIn(BacklogOverflow), not(overflowReason)}, event.Likely},
		},
		Because: []Line{
			{nil, "a connection to port {local.port} was reset because the queue for accept() was over its limit"},
		},
		Do: []Line{
			{nil, "watch the queue (Recv-Q) and its limit (Send-Q): ss -ltnp 'sport = :{local.port}'"},
			{nil, "see why the process is slow to accept; else raise its backlog and net.core.somaxconn"},
			{nil, "let clients try again instead of resetting them: sysctl net.ipv4.tcp_abort_on_overflow=0"},
		},
		Sources: []string{"Documentation/networking/ip-sysctl.rst: tcp_abort_on_overflow"},
	},
	{
		ID:    "peer-silent",
		Title: "the peer or the path to it went silent",
		Cases: []Case{{"this host", []Condition{resetSent, causeIn(KeepaliveTimeout, UserTimeout)}, event.Likely}},
		Because: []Line{
			{nil, "keepalive probes to {peer} stayed without an answer"},
		},
		Do: []Line{
			{nil, "see whether the host answers: ping -c 3 {peer.host}"},
			{nil, "if it does, a firewall, NAT or load balancer forgot the idle connection: send keepalives more often than its limit (sysctl net.ipv4.tcp_keepalive_time, or TCP_KEEPIDLE)"},
		},
		Sources: []string{"net/ipv4/tcp_timer.c: tcp_keepalive_timer", "tcp(7)"},
	},
	{
		ID:    "orphan-limit",
		Title: "the host has too many closed connections, or too little memory for TCP",
		Cases: []Case{{"this host", []Condition{resetSent, causeIn(OrphanMemory)}, event.Likely}},
		Because: []Line{
			{nil, "the kernel dropped the closed connection to {peer} to save memory"},
		},
		Do: []Line{
			{nil, "see which limit was hit: dmesg | grep 'TCP:'; grep TCP: /proc/net/sockstat; sysctl net.ipv4.tcp_max_orphans net.ipv4.tcp_mem"},
			{nil, "find the peers that do not finish: ss -tno state fin-wait-1"},
		},
		Sources: []string{"net/ipv4/tcp.c: tcp_check_oom"},
	},
}

// overflowReason: before 6.10 a stray acknowledgement that meets a full queue
// cannot be told from the overflow.
var overflowReason = Condition{"the kernel's reason is INVALID_SYN", func(r *event.Reset) bool { return reason(r) == "INVALID_SYN" }}
