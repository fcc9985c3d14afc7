/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* event.h: the one definition of what the kernel tells user space.
 *
 * Go structs and enum constants come from here through bpf2go, the wire part
 * of docs/reference/event.md and the layout that a recording carries through
 * this header's BTF (the DOC texts are BTF declaration tags). Every number is
 * in host byte order; times are nanoseconds of CLOCK_BOOTTIME. Names of kernel
 * states and reset reasons are never here: their numbers travel raw and are
 * named from the running kernel's BTF, because they moved between 6.10 and
 * 6.12. */
#ifndef RSTWHY_EVENT_H
#define RSTWHY_EVENT_H

#define DOC(text) __attribute__((btf_decl_tag("doc:" text)))

enum record_kind {
	RECORD_RESET = 1,   /* struct reset_event */
	RECORD_CLOSER = 2,  /* struct closer_event */
	RECORD_PROCESS = 3, /* struct closer_event: a process was seen for the first time */
};

enum reset_direction {
	DIRECTION_SENT = 1,
	DIRECTION_RECEIVED = 2,
};

/* The hook that showed a reset; counters are kept by it. */
enum reset_hook {
	HOOK_SEND = 1,     /* tcp_send_reset */
	HOOK_RECEIVE = 2,  /* tcp_receive_reset: the RST was accepted */
	HOOK_DROP = 3,     /* kfree_skb of a RST: it was not accepted; the segment is the RST itself */
	HOOK_FIREWALL = 4, /* a netfilter REJECT made the RST; the segment is the RST itself */
};

/* What an arriving RST did, where the kernel side can tell. */
enum reset_effect {
	EFFECT_UNKNOWN = 0,
	EFFECT_KILLED = 1,
	EFFECT_IGNORED = 2,
};

enum socket_kind {
	SOCKET_NONE = 0,
	SOCKET_FULL = 1,
	SOCKET_TIMEWAIT = 2,
	SOCKET_REQUEST = 3,
};

/* How the owner in an event or in a socket's storage was learned. */
enum owner_how {
	OWNER_NONE = 0,
	OWNER_CURRENT = 1,  /* current held the socket lock while the reset was sent */
	OWNER_CONNECT = 2,  /* called connect() on this socket */
	OWNER_LISTEN = 3,   /* called listen() on this socket */
	OWNER_INHERIT = 4,  /* called listen() on the socket that accepted this one */
	OWNER_SHUTDOWN = 5, /* called shutdown() or close(): the FIN left in its context */
	OWNER_WALK = 6,     /* held a descriptor when rstwhy walked them */
};

enum ended_by {
	ENDED_NONE = 0,
	ENDED_CLOSE = 1, /* close(), shutdown(), disconnect: the process lives on */
	ENDED_EXIT = 2,  /* the process was exiting; exit_code says how */
	ENDED_OOM = 3,   /* the same, chosen by the out-of-memory killer */
};

enum reset_flags {
	RESET_TRIGGER = 1 << 0,       /* a received segment provoked it (skb != NULL) */
	RESET_DEAD = 1 << 1,          /* SOCK_DEAD */
	RESET_HAS_SOCKET = 1 << 2,    /* sk_socket != NULL */
	RESET_HAS_FILE = 1 << 3,      /* sk_socket->file != NULL */
	RESET_LINGER = 1 << 4,        /* SOCK_LINGER */
	RESET_PEER_FIN = 1 << 5,      /* SOCK_DONE: the peer's FIN is in */
	RESET_LOCK_OWNED = 1 << 6,    /* a task holds the socket lock */
	RESET_MPTCP = 1 << 7,
	RESET_ACTIVE_OPEN = 1 << 8,   /* the local side connected */
	RESET_PASSIVE_OPEN = 1 << 9,  /* the local side accepted */
	RESET_TOMBSTONE = 1 << 10,    /* found among sockets closed lately */
	RESET_DOUBT = 1 << 11,        /* whoever closes the socket is asked to confirm */
	RESET_RECOVERED = 1 << 12,    /* seen by the shadow program: the first was busy on this CPU */
	RESET_COUNTERS = 1 << 13,     /* the tcp_sock's counters were read */
	RESET_NAT = 1 << 14,          /* nat_* is set: conntrack translates this connection */
	RESET_ACTOR = 1 << 15,        /* actor is set: another process than the owner may be */
	RESET_FORWARDED = 1 << 16,    /* firewall: the rejected segment was being forwarded (known to fentry only) */
	RESET_ARRIVED = 1 << 18,      /* receive: the segment was seen to be a RST; trigger_* are its numbers */
	RESET_UNTOLD = 1 << 17,       /* drop: this kernel does not tell which socket refused it (before 6.11) */
};

/* owner: a process as the kernel knows it. */
struct owner {
	__u64 start_ns DOC("task_struct.start_boottime of the thread group leader, ns since boot");
	__u64 cgroup_id DOC("cgroup v2 id of the task when it was learned");
	__u32 tgid DOC("process id in the initial pid namespace; 0: none");
	__u32 uid DOC("real user id in the initial user namespace");
	__u8 comm[16] DOC("comm of the thread group leader");
};

struct reset_event {
	__u32 kind DOC("enum record_kind: RECORD_RESET");
	__u32 flags DOC("enum reset_flags");
	__u64 time_ns DOC("boot-clock time at the hook, ns");
	__u64 cookie DOC("socket cookie; 0 where there is no socket and none is remembered");
	__u64 opened_ns DOC("when the connection was opened, boot-clock ns; 0: before rstwhy started");
	__u64 closed_ns DOC("when the process closed or shut down the socket, boot-clock ns; 0: it did not");
	__u64 bytes_sent DOC("tcp_sock.bytes_sent: data bytes, retransmissions included");
	__u64 bytes_retrans DOC("tcp_sock.bytes_retrans");
	__u64 bytes_acked DOC("tcp_sock.bytes_acked: counts an acknowledged SYN of a connecting socket, and FIN");
	__u64 bytes_received DOC("tcp_sock.bytes_received: counts a received FIN as one");
	__s64 file_refs DOC("references to the socket's file; 0: no file");
	struct owner owner DOC("process that holds or last held the socket");
	struct owner actor DOC("process that destroyed the socket or stopped its listener from outside (ss -K)");
	__u8 nat_source[16] DOC("conntrack's original direction: source address");
	__u8 nat_destination[16] DOC("its destination address");
	__u8 nat_reply_source[16] DOC("conntrack's reply direction: source address");
	__u8 nat_reply_destination[16] DOC("its destination address");
	__u8 local_addr[16] DOC("local address, IPv4 as v4-mapped IPv6");
	__u8 peer_addr[16] DOC("peer's address, IPv4 as v4-mapped IPv6");
	__u8 thread[16] DOC("comm of the acting thread; empty where no thread acted");
	__u32 netns DOC("inode number of the network namespace");
	__u32 cpu DOC("CPU of the hook");
	__u32 seq DOC("per-CPU number of the record");
	__u32 rcv_nxt DOC("tcp_sock.rcv_nxt; of a TIME_WAIT minisocket tw_rcv_nxt");
	__u32 copied_seq DOC("tcp_sock.copied_seq");
	__u32 snd_una DOC("tcp_sock.snd_una");
	__u32 snd_nxt DOC("tcp_sock.snd_nxt");
	__u32 write_seq DOC("tcp_sock.write_seq");
	__u32 trigger_seq DOC("sequence number of the segment that provoked the reset, or that is the RST itself (hooks drop and firewall)");
	__u32 trigger_ack DOC("its acknowledgement number");
	__u32 trigger_len DOC("its payload, bytes");
	__u32 srtt_us DOC("smoothed round-trip time, us");
	__u32 user_timeout_ms DOC("TCP_USER_TIMEOUT, ms");
	__u32 total_retrans DOC("segments retransmitted");
	__u32 sent_ago_jiffies DOC("jiffies since the last data segment was sent");
	__u32 heard_ago_jiffies DOC("jiffies since the last segment from the peer");
	__u32 backlog DOC("listener: sk_ack_backlog");
	__u32 max_backlog DOC("listener: sk_max_ack_backlog");
	__u32 linger_jiffies DOC("sk_lingertime");
	__s32 linger2 DOC("tcp_sock.linger2");
	__s32 sk_err DOC("sk_err");
	__s32 exit_code DOC("wait status of the exiting process: signal, or exit status << 8");
	__u16 local_port DOC("local port, host byte order");
	__u16 peer_port DOC("peer's port, host byte order");
	__u16 nat_source_port DOC("original direction: source port, host byte order");
	__u16 nat_destination_port DOC("its destination port");
	__u16 nat_reply_source_port DOC("reply direction: source port");
	__u16 nat_reply_destination_port DOC("its destination port");
	__u16 reason DOC("enum sk_rst_reason of the running kernel");
	__u16 drop_reason DOC("enum skb_drop_reason of the running kernel (hook drop)");
	__u8 direction DOC("enum reset_direction");
	__u8 socket DOC("enum socket_kind");
	__u8 state DOC("TCP state at the hook");
	__u8 prev_state DOC("TCP state before the socket went to CLOSE; 0: unknown");
	__u8 tw_substate DOC("TIME_WAIT minisocket: its substate");
	__u8 trigger_flags DOC("TCP flags byte of the segment that provoked the reset");
	__u8 probes_out DOC("icsk_probes_out: unanswered keepalive or window probes");
	__u8 shutdown DOC("sk_shutdown");
	__u8 how DOC("enum owner_how");
	__u8 ended DOC("enum ended_by");
	__u8 left_state DOC("tombstone: TCP state that the socket was in before it went");
	__u8 hook DOC("enum reset_hook");
	__u8 effect DOC("enum reset_effect");
	__u8 pad[3] DOC("zero");
};

/* closer_event: a socket in doubt died in this process's context, or (kind
 * RECORD_PROCESS) a process opened its first connection. */
struct closer_event {
	__u32 kind DOC("enum record_kind: RECORD_CLOSER or RECORD_PROCESS");
	__u32 exiting DOC("1: the process was exiting");
	__u64 time_ns DOC("boot-clock time, ns");
	__u64 cookie DOC("socket cookie");
	__u32 netns DOC("RECORD_PROCESS: inode number of the network namespace of its socket");
	__u32 pad DOC("zero");
	struct owner owner DOC("the process");
};

enum holder_flags {
	HOLDER_DOUBT = 1,  /* a reset of this socket waits for its owner */
	HOLDER_SOUGHT = 2, /* user space asked who holds the socket of this cookie */
	HOLDER_STORED = 4, /* it is the process that is stored with the socket */
};

/* holder: one line of the descriptor walk. */
struct holder {
	__u64 cookie DOC("socket cookie");
	__u32 doubt DOC("enum holder_flags");
	__u32 state DOC("TCP state");
	struct owner owner DOC("process that holds a descriptor");
};

/* tuple: a connection of a network namespace. */
struct tuple {
	__u8 local_addr[16];
	__u8 peer_addr[16];
	__u32 netns;
	__u16 local_port;
	__u16 peer_port;
};

/* tombstone: what is remembered of a socket that is gone. */
struct tombstone {
	struct owner owner;
	__u64 cookie;
	__u64 opened_ns;
	__u64 closed_ns;
	__u64 gone_ns;
	__s32 exit_code;
	__u8 how;
	__u8 ended;
	__u8 left_state;
	__u8 active_open; /* 0 unknown, 1 active, 2 passive */
};

/* What resets that are told only as a count have in common: who, with whom, and
 * all that the cause is made from. */
enum storm_shape {
	SHAPE_UNREAD = 1 << 0,       /* unread data */
	SHAPE_PROBES = 1 << 1,       /* unanswered probes */
	SHAPE_USER_TIMEOUT = 1 << 2, /* TCP_USER_TIMEOUT is set */
	SHAPE_LINGER_TIME = 1 << 3,  /* sk_lingertime is not zero */
	SHAPE_LINGER2 = 1 << 4,      /* TCP_LINGER2 below zero */
	SHAPE_SEGMENT_DATA = 1 << 5, /* the segment carried data */
	SHAPE_OVERFLOW = 1 << 6,     /* more connections wait for accept() than allowed */
	SHAPE_UNACKED = 1 << 7,      /* data sent and not acknowledged */
};

struct storm_key {
	__u64 owner_start_ns;
	__u8 peer_addr[16]; /* all zero, or ::ffff:0.0.0.0: several (the map was full) */
	__u32 owner_tgid;
	__u32 netns;
	__u32 flags;
	__u16 local_port; /* 0: several, or the local side connected */
	__u16 peer_port;  /* 0: several, or the peer connected */
	__u16 reason;
	__u16 drop_reason;
	__u8 hook;
	__u8 direction;
	__u8 socket;
	__u8 state;
	__u8 prev_state;
	__u8 tw_substate;
	__u8 left_state;
	__u8 trigger_flags;
	__u8 ended;
	__u8 shutdown;
	__u8 how;
	__u8 effect;
	__u8 shape;
	__u8 side;  /* storm_turn & 1 when it was counted */
	__u8 pad[6];
};

struct storm {
	struct owner owner;
	__u64 count;
	__u64 first_ns;
	__u64 last_ns;
	__s32 exit_code;
	__u16 peer_port; /* of the first */
	__u16 pad;
	/* In storms_kind: how many entries the kind has in storms and storms_any,
	 * and the remote address and the port of its first reset, and of the last
	 * one that had no storm of its own. */
	__u32 entries;
	__u32 entries_any;
	__u8 first_addr[16];
	__u8 last_addr[16];
	__u16 first_port;
	__u16 last_port;
	__u32 pad_port;
};

/* The resets of one process that were counted in doubt: whoever closes the
 * socket confirms it, or does not. */
struct doubt_key {
	__u64 start_ns;
	__u32 tgid;
	__u32 turn; /* storm_turn when they were counted: a close much later says nothing of these */
};

struct doubted {
	__u64 counted;
	__u64 confirmed;
};

struct cidr {
	__u8 addr[16];
	__u8 mask[16];
};

#define FILTER_ENTRIES 8

/* filter: what the kernel side leaves out; the Go side applies the same. */
struct filter {
	struct cidr addrs[FILTER_ENTRIES];
	__u16 ports[FILTER_ENTRIES];
	__u16 local_ports[FILTER_ENTRIES];
	__u16 peer_ports[FILTER_ENTRIES];
	__u8 addrs_len;
	__u8 ports_len;
	__u8 local_ports_len;
	__u8 peer_ports_len;
	__u8 no_ipv4;
	__u8 no_ipv6;
	__u8 no_sent;
	__u8 no_received;
};

#define HOOKS 5 /* enum reset_hook, from 1 */

/* counters: per CPU and hook; seen = filtered + joined + lost + aggregated +
 * submitted. joined: counted at first, and then found to be no reset. */
struct counters {
	__u64 seen[HOOKS];
	__u64 filtered[HOOKS];
	__u64 lost[HOOKS];
	__u64 aggregated[HOOKS];
	__u64 joined[HOOKS];
	__u64 submitted[HOOKS];
	__u64 recovered[HOOKS];
	__u64 dropped; /* hits of kfree_skb, whatever the segment */
	__u64 closer_lost;
	__u64 owner_lost; /* owners not stored with their socket: no memory, or the kernel refused */
};

#endif
