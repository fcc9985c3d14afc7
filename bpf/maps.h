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
	u8 pad[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct sock_owner);
} sock_owners SEC(".maps");

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
	u16 pad;
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

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct counters);
} counts SEC(".maps");

struct busy {
	u32 depth[3]; /* by enum reset_direction */
	u32 seq;
	/* The process announced last: one that connects often costs no look-up. */
	u64 announced_start_ns;
	u32 announced_tgid;
	u32 pad;
};

/* What each CPU is in the middle of. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct busy);
} busy_cpus SEC(".maps");

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
