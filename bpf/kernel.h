/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* kernel.h: the kernel fields that rstwhy reads, and no others.
 *
 * Offsets are relocated at load (CO-RE), so the order here means nothing. All
 * fields exist with these types from 5.10 to 7.3 unless a note says otherwise. */
#ifndef RSTWHY_KERNEL_H
#define RSTWHY_KERNEL_H

typedef unsigned char __u8;
typedef signed int __s32;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u16 __sum16;
typedef __u64 __be64;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LRU_PERCPU_HASH = 10,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_F_NO_PREALLOC = 1U << 0,
	BPF_F_CLONE = 1U << 9,
	BPF_SK_STORAGE_GET_F_CREATE = 1U << 0,
	BPF_RB_NO_WAKEUP = 1U << 0,
	BPF_RB_AVAIL_DATA = 0,
};

/* include/net/tcp_states.h: the numbers are ABI (ss, /proc/net/tcp). */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT1 = 4,
	TCP_FIN_WAIT2 = 5,
	TCP_TIME_WAIT = 6,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
	TCP_CLOSING = 11,
	TCP_NEW_SYN_RECV = 12,
};

#define IPPROTO_TCP 6
#define AF_INET 2
#define AF_INET6 10
#define SHUTDOWN_MASK 3
#define SOCKFS_MAGIC 0x534f434b /* include/uapi/linux/magic.h */
#define PF_EXITING 0x00000004 /* include/linux/sched.h */
#define PF_KTHREAD 0x00200000
#define RTN_UNSPEC 0 /* include/uapi/linux/rtnetlink.h */
#define RTN_LOCAL 2
#define FLAG_FIN 0x01
#define FLAG_SYN 0x02
#define FLAG_RST 0x04
#define FLAG_ACK 0x10

/* Partial structs have holes by nature; -Wpadded guards only our own. */
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wpadded"
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* SOCK_* bit numbers, resolved from the running kernel. */
enum sock_flags {
	SOCK_DEAD = 0,
	SOCK_DONE = 1,
	SOCK_LINGER = 5,
};

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};
struct ns_common {
	unsigned int inum;
};
struct netns_ipv4 {
	u8 sysctl_tcp_rfc1337; /* int to 5.11; zero or one, so its first byte tells on little-endian */
};
struct net {
	struct ns_common ns;
	struct netns_ipv4 ipv4;
};
typedef struct {
	struct net *net;
} possible_net_t;
typedef struct {
	s64 counter;
} atomic64_t;
typedef struct {
	int owned;
} socket_lock_t;

struct sock_common {
	union {
		struct {
			__be32 skc_daddr;
			__be32 skc_rcv_saddr;
		};
	};
	union {
		struct {
			__be16 skc_dport;
			__u16 skc_num;
		};
	};
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
	union {
		unsigned long skc_flags;
	};
	union {
		u32 skc_tw_rcv_nxt;
	};
};

typedef struct {
	atomic64_t refcnt;
} file_ref_t;
struct file {
	file_ref_t f_ref; /* since 6.13 (the count is one less than the references) */
};
struct file___f_count {
	atomic64_t f_count; /* to 6.12 */
};
struct socket {
	struct file *file;
	struct sock *sk;
};

/* How a socket's file is told without bpf_sock_from_file (before 5.11). */
struct super_block {
	unsigned long s_magic;
};
struct inode {
	struct super_block *i_sb;
};
struct file___before_5_11 {
	struct inode *f_inode;
	void *private_data; /* struct socket * in sockfs */
};

struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	struct socket *sk_socket;
	int sk_err;
	u32 sk_ack_backlog;
	u32 sk_max_ack_backlog;
	u16 sk_protocol;
	u8 sk_shutdown;
	unsigned long sk_lingertime;
};
struct inet_sock {
	struct sock sk;
	__be16 inet_sport; /* stays when skc_num is already 0 (close, disconnect) */
};
struct inet_connection_sock {
	struct inet_sock icsk_inet;
	__u8 icsk_probes_out;
	struct {
		__u32 lrcvtime;
	} icsk_ack;
	u32 icsk_user_timeout;
};
struct tcp_sock {
	struct inet_connection_sock inet_conn;
	u64 bytes_received;
	u64 bytes_acked;
	u64 bytes_sent;
	u64 bytes_retrans;
	u32 rcv_nxt;
	u32 copied_seq;
	u32 snd_una;
	u32 snd_nxt;
	u32 write_seq;
	u32 lsndtime;
	u32 rcv_tstamp;
	u32 srtt_us;
	u32 total_retrans;
	int linger2;
	bool is_mptcp; /* since 5.11 */
};
struct inet_timewait_sock {
	struct sock_common __tw_common;
	volatile unsigned char tw_substate;
};

struct tcp_timewait_sock {
	struct inet_timewait_sock tw_sk;
	u32 tw_rcv_wnd;
};

struct net_device {
	possible_net_t nd_net;
};
struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned long _skb_refdst; /* struct dst_entry *, the lowest bit is a flag */
	unsigned long _nfct;       /* struct nf_conn *, the lowest three bits are its enum ip_conntrack_info */
	int skb_iif;
	__be16 protocol;
	unsigned char *head, *data;
	__u16 transport_header;
	__u16 network_header;
};
struct dst_entry {
	struct net_device *dev;
};
struct rtable {
	__u16 rt_type;
};

/* conntrack; its types are in vmlinux's BTF also where it is a module. */
union nf_inet_addr {
	__u32 all[4];
};
union nf_conntrack_man_proto {
	__be16 all;
};
struct nf_conntrack_man {
	union nf_inet_addr u3;
	union nf_conntrack_man_proto u;
	__u16 l3num;
};
struct nf_conntrack_tuple {
	struct nf_conntrack_man src;
	struct {
		union nf_inet_addr u3;
		union {
			__be16 all;
		} u;
	} dst;
};
struct nf_conntrack_tuple_hash {
	struct nf_conntrack_tuple tuple;
};
struct nf_conn {
	struct nf_conntrack_tuple_hash tuplehash[2]; /* original, reply */
};

struct mm_struct;
struct signal_struct {
	int group_exit_code;
	struct mm_struct *oom_mm; /* set on victims of the OOM killer, mm/oom_kill.c mark_oom_victim */
};
typedef struct {
	u32 val;
} kuid_t;
struct cred {
	kuid_t uid;
};
struct kernfs_node {
	u64 id;
};
struct cgroup {
	struct kernfs_node *kn;
};
struct css_set {
	struct cgroup *dfl_cgrp; /* cgroup v2 */
};
struct task_struct {
	const struct cred *real_cred;
	struct css_set *cgroups;
	unsigned int flags;
	int exit_code;
	int pid;
	int tgid;
	u64 start_boottime;
	struct task_struct *group_leader;
	struct signal_struct *signal;
	void *stack;
	char comm[16];
};

/* The number of the system call that a task is in: x86 keeps it in orig_ax,
 * arm64 in syscallno (asm/ptrace.h of each). */
struct pt_regs {
	unsigned long orig_ax;
};
struct pt_regs___arm64 {
	s32 syscallno;
};

struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
	u64 session_id;
	u64 seq_num;
};
struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	u32 fd;
	struct file *file;
};

#pragma clang attribute pop

/* Packet headers are wire format: never relocated. */
struct tcp_header {
	__be16 source, dest;
	__be32 seq, ack_seq;
	__u8 doff; /* upper four bits */
	__u8 flags;
};
struct ipv4_header {
	__u8 version_ihl, tos;
	__be16 tot_len, id, frag_off;
	__u8 ttl, protocol;
	__sum16 check;
	__u8 saddr[4], daddr[4];
};
struct ipv6_header {
	__u8 version_priority, flow[3];
	__be16 payload_len;
	__u8 nexthdr, hop_limit;
	__u8 saddr[16], daddr[16];
};

#pragma clang diagnostic pop

#endif
