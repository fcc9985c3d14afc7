/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* maps.h: what the programs share with each other and with user space. */
#ifndef RSTWHY_MAPS_H
#define RSTWHY_MAPS_H

/* sock_owner: carried with the socket, cloned from listener to child. */
struct sock_owner {
	struct owner owner;
	u64 opened_ns;
	u64 closed_ns;
	s32 exit_code;
	u8 how;
	u8 ended;
	u8 prev_state;
	u8 doubt;
	u8 active;
	u8 passive;
	u8 gone; /* destroyed; only where the map by address stands in */
	u8 pad;
	u32 counted; /* 1 + storm_turn: a reset of it was counted in doubt then */
	u64 id;      /* stands in for the cookie where programs may not ask for one */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct sock_owner);
} sock_owners SEC(".maps");

/* The same by address, where programs may not use socket storage (5.10). A socket
 * leaves when it is destroyed; it takes 64 Ki sockets, and the least used go. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, u64);
	__type(value, struct sock_owner);
} owners_by_address SEC(".maps");

struct listener_key {
	u8 addr[16];
	u32 netns;
	u16 port;
	u16 pad;
};

/* Listeners by what they are bound to, for the children that inherit their owner
 * there; 0 where several are bound to the same (SO_REUSEPORT). */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct listener_key);
	__type(value, u64);
} listeners SEC(".maps");

/* Sockets that are gone but may still draw late segments. 64 Ki connections:
 * the kernel keeps FIN_WAIT2 minisockets for 60 s, so this covers about 1,000
 * unclean closes a second. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct tuple);
	__type(value, struct tombstone);
} tombstones SEC(".maps");

struct listener_stop {
	u32 netns;
	u16 port;
	u16 outside; /* 1: not a holder of the listener stops it, but ss -K or the like */
};

/* Threads that stop a listener: its unaccepted children are reset in their
 * context (inet_csk_listen_stop), but under bh_lock_sock, so that the lock's
 * owner does not prove it. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u32);
	__type(value, struct listener_stop);
} listener_stops SEC(".maps");

struct process_key {
	u64 start_ns;
	u32 tgid;
	u32 pad;
};

/* Processes already announced to user space. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct process_key);
	__type(value, u32);
} processes SEC(".maps");

/* rstwhy's own probe connections, seen from either end; netns is 0. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct tuple);
	__type(value, u32);
} own_probes SEC(".maps");

#define EVENTS_BYTES (4 << 20)
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, EVENTS_BYTES);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct counters);
} counts SEC(".maps");

struct busy {
	u32 depth[HOOKS]; /* by enum reset_hook; 0: the state program */
	u32 seq;
	/* The process announced last: one that connects often costs no look-up. */
	u64 announced_start_ns;
	u32 announced_tgid;
	/* The last RST that TCP answered a segment with: the device hook must not
	 * take it for a firewall's. */
	u32 answered_seq;
	u32 answered_ports;
	u32 states_recovered; /* state changes that the shadow program took */
	/* The socket whose received reset was told, or counted, last: where it was
	 * none, the send that shows it follows at once. It must be told too, or the
	 * count be taken back. */
	u64 told_sk;
	u64 counted_sk;
	u32 counted_place; /* its draft */
	u32 ids;	   /* given to sockets so far */
	u64 answered_skb;  /* the segment whose answer was told at its function */
	u64 nobody_skb;	   /* a RST for which there was no socket: it is freed at once */
	/* The segment for which tcp_reset was called last, and on which socket. */
	u64 arrived_sk;
	u32 arrived_seq;
	u32 arrived_ack;
	u32 arrived_flags;
	u32 pad_arrived;
	/* The TIME_WAIT entry that was ended last, and when: the RST that did is freed
	 * at once. */
	u64 ended_ns;
	u32 ended_ports;
	u32 ended_netns;
	u32 ended_rcv_nxt;
	u32 ended_window;
	u32 ended_substate;
	u32 pad_ended;
	u32 nested[HOOKS]; /* the program met itself, and took the hit that its shadow would */
	u32 pad;
};

/* What each CPU is in the middle of. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct busy);
} busy_cpus SEC(".maps");

/* Where a record is made before it is known whether it is told or only counted.
 * A program and its shadow can be under way on one CPU at once, and so can the
 * programs of different hooks: each has a place of its own. */
struct draft {
	struct reset_event event;
	struct storm_key key;
	struct storm_key kind; /* the key without remote address and port */
	struct storm storm;
	u32 counted_in; /* enum counted_in */
	u32 turn;	/* storm_turn when the key was made */
};

/* Which map a draft was counted in. */
enum counted_in {
	COUNTED_NOWHERE,
	COUNTED_STORM,
	COUNTED_ANY,
	COUNTED_KIND,
	COUNTED_REST,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2 * HOOKS);
	__type(key, u32);
	__type(value, struct draft);
} drafts SEC(".maps");

/* Resets that are too many to be told one by one. User space adds one to
 * storm_turn, whose last bit is the side that works, and takes the entries of the
 * side that rests, so that no count is lost between reading and deleting. */
#define STORMS 8192
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, STORMS);
	__type(key, struct storm_key);
	__type(value, struct storm);
} storms SEC(".maps");

/* What storms has no room for, without the port, or without the remote address:
 * whichever differs each time. */
#define STORMS_ANY 2048
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, STORMS_ANY);
	__type(key, struct storm_key);
	__type(value, struct storm);
} storms_any SEC(".maps");

/* What that has no room for, without both. Every kind that is counted
 * has an entry here, which tells how many it has in the two others. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct storm_key);
	__type(value, struct storm);
} storms_kind SEC(".maps");

/* What even that has no room for: only what happened, not to whom. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 512);
	__type(key, struct storm_key);
	__type(value, struct storm);
} storms_rest SEC(".maps");

/* Counted in doubt, by the owner that is stored. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct doubt_key);
	__type(value, struct doubted);
} storm_doubts SEC(".maps");

/* 1: storm_doubts may hold something; while 0, closing a socket costs nothing. */
u32 storm_doubts_open = 0;
u32 pad_doubts = 0;

/* Entries made on each side; user space sets a side to 0 when it takes it. */
struct entries {
	u32 storms;
	u32 any;
};
struct entries used_0 = {};
struct entries used_1 = {};

u32 storm_turn = 0;
u32 pad_side = 0;
u64 storms_made = 0; /* entries made so far, so that quiet times need no look */

/* How many records a second are told in full: the first full_budget whatever
 * they are, kind_budget that are the first of their kind whatever the remote
 * address and port, and new_budget that are the first from their address or at
 * their port. A scan spends only the last. full_budget 0: no bound. */
const volatile u32 full_budget = 0;
const volatile u32 kind_budget = 0;
const volatile u32 new_budget = 0;
u64 budget_window = 0; /* seconds (of 2^30 ns) of the boot clock */
u32 full_used = 0;
u32 kind_used = 0;
u32 new_used = 0;
u32 pad_used = 0;

/* Hits of the hooks in each network namespace, filtered ones included, to hold
 * against the namespace's own counters. */
struct netns_hits {
	u64 hits[HOOKS];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, u32);
	__type(value, struct netns_hits);
} netns_counts SEC(".maps");

/* Cookies of sockets whose holders user space asks the next walk for; 0: none. */
#define SOUGHT 16
u64 sought[SOUGHT] = {};

/* What the kernel lets tracing programs call, found out by loading programs that
 * try (internal/probe/ability.go). */
const volatile u32 can_store = 1;     /* socket storage and typed current task: since 5.11 */
const volatile u32 can_ask_cookie = 1; /* since 5.12 */
const volatile u32 can_read_regs = 1;  /* bpf_task_pt_regs: since 5.15 */
const volatile u32 stack_bytes = 16384; /* of a task, where the registers are at its end */
const volatile u32 pad_abilities = 0;
const volatile u64 id_secret = 0; /* hides addresses in the identities made of them */

/* Numbers of the drop reasons that a RST can be dropped for, as a bit set. */
const volatile u64 drop_reasons[4] = {};
const volatile u32 drop_not_specified = 0;
const volatile u32 drop_no_socket = 0;
const volatile u32 pad_drop = 0;
/* Functions that drop RSTs, where kfree_skb has no reason, and what that means in
 * the numbers of drop_reasons; size 0: none. */
struct drop_place {
	u64 start;
	u32 size;
	u32 reason;
};
#define DROP_PLACES 8
#define DROP_ANYWHERE 3 /* internal/probe/places.go */
#define DROP_UNPLACED 4
const volatile struct drop_place drop_places[DROP_PLACES] = {};
/* shutdown(2) on this architecture */
const volatile u32 shutdown_call = 0;

const volatile struct filter filters = {};
const volatile u32 self_tgid = 0;

/* System calls that can drop the last reference to a socket's file without its
 * process ever having held a descriptor of it: reading /proc/PID/fd and walking
 * descriptors take a reference for a moment. Numbers of this architecture, set
 * by user space. */
#define READING_CALLS 12
const volatile u32 reading_calls[READING_CALLS] = {};

/* Records that wait for whoever closes the socket: made by the reset programs,
 * done by user space. While they are equal, tcp_destroy_sock returns at once. */
u64 doubts_made = 0;
u64 doubts_done = 0;

#endif
