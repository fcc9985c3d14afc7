/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* socket.h: reading sockets and segments into events. */
#ifndef RSTWHY_SOCKET_H
#define RSTWHY_SOCKET_H

static __always_inline void map_v4(__u8 out[16], const void *v4)
{
	*(u64 *)out = 0;
	*(u32 *)(out + 8) = bpf_htonl(0xffff);
	__builtin_memcpy(out + 12, v4, 4);
}

/* sock_tuple takes the 4-tuple of a full socket. skc_num is 0 once close() or
 * disconnect gave the port back; inet_sport stays. */
static __always_inline void sock_tuple(struct tuple *t, struct inet_sock *inet)
{
	struct sock_common *c = &inet->sk.__sk_common;

	t->netns = c->skc_net.net->ns.inum;
	t->local_port = bpf_ntohs(inet->inet_sport);
	t->peer_port = bpf_ntohs(c->skc_dport);
	if (c->skc_family == AF_INET6) {
		/* a v4-mapped peer leaves both in mapped form */
		*(u64 *)t->local_addr = *(u64 *)&c->skc_v6_rcv_saddr.in6_u.u6_addr8[0];
		*(u64 *)(t->local_addr + 8) = *(u64 *)&c->skc_v6_rcv_saddr.in6_u.u6_addr8[8];
		*(u64 *)t->peer_addr = *(u64 *)&c->skc_v6_daddr.in6_u.u6_addr8[0];
		*(u64 *)(t->peer_addr + 8) = *(u64 *)&c->skc_v6_daddr.in6_u.u6_addr8[8];
	} else {
		u32 l = c->skc_rcv_saddr, p = c->skc_daddr;

		map_v4(t->local_addr, &l);
		map_v4(t->peer_addr, &p);
	}
}

struct segment {
	u32 seq, ack, len;
	u8 flags;
	u8 options; /* bytes of TCP options */
	u16 pad;
};

/* read_segment takes the tuple and the header fields of a segment whose TCP
 * header is at tcp_off, as the receiver sees it. Only probe reads: skb may be
 * NULL or any pointer. */
static __always_inline void read_segment(struct tuple *t, struct segment *s, struct sk_buff *skb, u32 tcp_off)
{
	unsigned char *head = BPF_CORE_READ(skb, head);
	u16 net_off = BPF_CORE_READ(skb, network_header);
	struct tcp_header th;
	struct ipv4_header ip;
	u32 length;

	if (bpf_probe_read_kernel(&ip, sizeof(ip), head + net_off) ||
	    bpf_probe_read_kernel(&th, sizeof(th), head + tcp_off))
		return;
	if (ip.version_ihl >> 4 == 4) {
		map_v4(t->local_addr, ip.daddr);
		map_v4(t->peer_addr, ip.saddr);
		length = bpf_ntohs(ip.tot_len) - (ip.version_ihl & 15) * 4;
	} else {
		struct ipv6_header ip6;

		if (bpf_probe_read_kernel(&ip6, sizeof(ip6), head + net_off))
			return;
		__builtin_memcpy(t->local_addr, ip6.daddr, 16);
		__builtin_memcpy(t->peer_addr, ip6.saddr, 16);
		length = bpf_ntohs(ip6.payload_len) + sizeof(ip6) - (tcp_off - net_off);
	}
	t->local_port = bpf_ntohs(th.dest);
	t->peer_port = bpf_ntohs(th.source);
	s->seq = bpf_ntohl(th.seq);
	s->ack = bpf_ntohl(th.ack_seq);
	s->flags = th.flags;
	length -= (th.doff >> 4) * 4;
	s->len = length < 0x80000000 ? length : 0;
	s->options = (th.doff >> 4) * 4 - 20;
}

/* flow: one direction of a conntrack entry. */
struct flow {
	u32 source[4], destination[4];
	u16 source_port, destination_port;
};

static __always_inline bool mirrored(const struct flow *a, const struct flow *b)
{
	return a->source[0] == b->destination[0] && a->source[1] == b->destination[1] &&
	       a->source[2] == b->destination[2] && a->source[3] == b->destination[3] &&
	       a->source_port == b->destination_port;
}

static __always_inline void nat_address(__u8 out[16], const u32 address[4], u16 family)
{
	if (family == AF_INET)
		map_v4(out, address);
	else
		__builtin_memcpy(out, address, 16);
}

/* read_nat fills in what conntrack translates. It is known only while the
 * segment still carries its entry: TCP drops it once a full socket has the
 * segment (KERNEL.md 9c). */
static __always_inline void read_nat(struct reset_event *e, struct sk_buff *skb)
{
	struct flow f[2] = {}; /* original, reply */
	struct nf_conn *ct;
	u16 family;

	if (!bpf_core_field_exists(skb->_nfct))
		return;
	ct = (struct nf_conn *)(BPF_CORE_READ(skb, _nfct) & ~7UL);
	if (!ct)
		return;
	/* constant indices: the stride of a variable one would be this header's */
#define READ_FLOW(i)                                                                         \
	BPF_CORE_READ_INTO(&f[i].source, ct, tuplehash[i].tuple.src.u3.all);                 \
	BPF_CORE_READ_INTO(&f[i].destination, ct, tuplehash[i].tuple.dst.u3.all);            \
	f[i].source_port = bpf_ntohs(BPF_CORE_READ(ct, tuplehash[i].tuple.src.u.all));       \
	f[i].destination_port = bpf_ntohs(BPF_CORE_READ(ct, tuplehash[i].tuple.dst.u.all))
	READ_FLOW(0);
	READ_FLOW(1);
#undef READ_FLOW
	if (mirrored(&f[0], &f[1]) && mirrored(&f[1], &f[0]))
		return; /* not translated */
	family = BPF_CORE_READ(ct, tuplehash[0].tuple.src.l3num);
	nat_address(e->nat_source, f[0].source, family);
	nat_address(e->nat_destination, f[0].destination, family);
	nat_address(e->nat_reply_source, f[1].source, family);
	nat_address(e->nat_reply_destination, f[1].destination, family);
	e->nat_source_port = f[0].source_port;
	e->nat_destination_port = f[0].destination_port;
	e->nat_reply_source_port = f[1].source_port;
	e->nat_reply_destination_port = f[1].destination_port;
	e->flags |= RESET_NAT;
}

static __always_inline bool in_cidr(const __u8 *addr, const volatile struct cidr *c)
{
	const u64 *a = (const u64 *)addr;
	const volatile u64 *n = (const volatile u64 *)c->addr;
	const volatile u64 *m = (const volatile u64 *)c->mask;

	return (a[0] & m[0]) == n[0] && (a[1] & m[1]) == n[1];
}

/* wanted applies the filters that need only the tuple. */
static __always_inline bool wanted(const struct tuple *t)
{
	bool v4 = *(const u64 *)t->local_addr == 0 && *(const u32 *)(t->local_addr + 8) == bpf_htonl(0xffff);
	bool hit;
	int i;

	if (v4 ? filters.no_ipv4 : filters.no_ipv6)
		return false;
#define MATCH(n, test)                                                   \
	if (filters.n##_len) {                                           \
		hit = false;                                             \
		for (i = 0; i < FILTER_ENTRIES; i++)                     \
			if (i < filters.n##_len && (test))               \
				hit = true;                              \
		if (!hit)                                                \
			return false;                                    \
	}
	MATCH(ports, filters.ports[i] == t->local_port || filters.ports[i] == t->peer_port)
	MATCH(local_ports, filters.local_ports[i] == t->local_port)
	MATCH(peer_ports, filters.peer_ports[i] == t->peer_port)
	MATCH(addrs, in_cidr(t->local_addr, &filters.addrs[i]) || in_cidr(t->peer_addr, &filters.addrs[i]))
#undef MATCH
	return true;
}

/* own tells rstwhy's own probe connections, which are registered by address
 * and port from both ends before their first packet. */
static __always_inline bool own(const struct tuple *t)
{
	struct tuple key = *t;

	key.netns = 0;
	return bpf_map_lookup_elem(&own_probes, &key) != NULL;
}

static __always_inline s64 file_references(struct file *file)
{
	if (bpf_core_field_exists(file->f_ref))
		return file->f_ref.refcnt.counter + 1;
	return ((struct file___f_count *)file)->f_count.counter;
}

/* fill_sock reads the evidence of KERNEL.md section 6 that a full socket has. */
static __always_inline void fill_sock(struct reset_event *e, struct tcp_sock *tp)
{
	struct sock *sk = &tp->inet_conn.icsk_inet.sk;
	unsigned long sf = sk->__sk_common.skc_flags;
	struct socket *socket = sk->sk_socket;
	u32 now = bpf_jiffies64(), heard = tp->rcv_tstamp, data = tp->inet_conn.icsk_ack.lrcvtime;
	u32 flags = RESET_COUNTERS;

	e->state = sk->__sk_common.skc_state;
	if (sock_flag(sf, bpf_core_enum_value(enum sock_flags, SOCK_DEAD)))
		flags |= RESET_DEAD;
	if (sock_flag(sf, bpf_core_enum_value(enum sock_flags, SOCK_DONE)))
		flags |= RESET_PEER_FIN;
	if (sock_flag(sf, bpf_core_enum_value(enum sock_flags, SOCK_LINGER)))
		flags |= RESET_LINGER;
	if (sk->sk_lock.owned)
		flags |= RESET_LOCK_OWNED;
	if (bpf_core_field_exists(tp->is_mptcp) && tp->is_mptcp)
		flags |= RESET_MPTCP;
	if (socket) {
		struct file *file = socket->file;

		flags |= RESET_HAS_SOCKET;
		if (file) {
			flags |= RESET_HAS_FILE;
			e->file_refs = file_references(file);
		}
	}
	e->flags |= flags;
	e->shutdown = sk->sk_shutdown;
	e->sk_err = sk->sk_err;
	e->linger_jiffies = sk->sk_lingertime;
	e->backlog = sk->sk_ack_backlog;
	e->max_backlog = sk->sk_max_ack_backlog;
	if (e->state == TCP_LISTEN)
		return;
	e->bytes_sent = tp->bytes_sent;
	e->bytes_retrans = tp->bytes_retrans;
	e->bytes_acked = tp->bytes_acked;
	e->bytes_received = tp->bytes_received;
	e->rcv_nxt = tp->rcv_nxt;
	e->copied_seq = tp->copied_seq;
	e->snd_una = tp->snd_una;
	e->snd_nxt = tp->snd_nxt;
	e->write_seq = tp->write_seq;
	e->srtt_us = tp->srtt_us >> 3; /* kept as eight times the value */
	e->total_retrans = tp->total_retrans;
	e->linger2 = tp->linger2;
	e->probes_out = tp->inet_conn.icsk_probes_out;
	e->user_timeout_ms = tp->inet_conn.icsk_user_timeout;
	e->sent_ago_jiffies = now - tp->lsndtime;
	if ((s32)(data - heard) > 0)
		heard = data;
	e->heard_ago_jiffies = now - heard;
}

/* small_socket describes a socket that is not a full one. Only probe reads: a
 * minisocket has few of a socket's fields, and sk may be one of a listener that
 * the verifier takes for NULL-free. */
static __always_inline void small_socket(struct reset_event *e, struct sock *sk, u8 state)
{
	if (state != TCP_TIME_WAIT) {
		e->socket = SOCKET_REQUEST;
		return;
	}
	e->socket = SOCKET_TIMEWAIT;
	e->tw_substate = BPF_CORE_READ((struct inet_timewait_sock *)sk, tw_substate);
	e->rcv_nxt = BPF_CORE_READ(sk, __sk_common.skc_tw_rcv_nxt);
}

#endif
