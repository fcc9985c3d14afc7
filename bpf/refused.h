/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* refused.h: RSTs that no TCP tracepoint shows: those that arrive and are not
 * accepted (kfree_skb), and those that a netfilter rule makes. */
#ifndef RSTWHY_REFUSED_H
#define RSTWHY_REFUSED_H

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define IPPROTO_UDP 17
#define IPPROTO_ICMPV6 58
#define NF_INET_FORWARD 2 /* include/uapi/linux/netfilter.h */
#define NO_TRANSPORT_HEADER 0xffff

/* rst_offset gives where the TCP header of a RST begins, from skb->head, or 0
 * for every other segment. skb is the trusted argument of a tracepoint that is
 * never NULL. Where IP has walked its headers one short probe read decides for
 * all segments without the RST bit, and half of what is not TCP. */
static __always_inline u32 rst_offset(struct sk_buff *skb)
{
	unsigned char *head = skb->head;
	u32 net = skb->network_header, at = skb->transport_header;
	__be16 protocol = skb->protocol;
	bool known = at != NO_TRANSPORT_HEADER && at > net;
	u8 b = 0;

	if (known && (bpf_probe_read_kernel(&b, 1, head + at + 13) || !(b & FLAG_RST)))
		return 0;
	if (protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_probe_read_kernel(&b, 1, head + net + 9) || b != IPPROTO_TCP ||
		    bpf_probe_read_kernel(&b, 1, head + net))
			return 0;
		at = net + (b & 15) * 4;
	} else if (protocol == bpf_htons(ETH_P_IPV6)) {
		if (bpf_probe_read_kernel(&b, 1, head + net + 6) || b == IPPROTO_UDP || b == IPPROTO_ICMPV6)
			return 0;
		if (b == IPPROTO_TCP)
			at = net + 40;
		else if (!known || at <= net + 40) /* extension headers that nobody walked */
			return 0;
	} else {
		return 0;
	}
	return !bpf_probe_read_kernel(&b, 1, head + at + 13) && b & FLAG_RST ? at : 0;
}

/* timewait_effect does what tcp_timewait_state_process will do with this RST
 * (net/ipv4/tcp_minisocks.c). Timestamps could make it old (PAWS). */
static __always_inline u8 timewait_effect(struct reset_event *e, struct sock *sk, const struct segment *seg)
{
	u32 window = BPF_CORE_READ((struct tcp_timewait_sock *)sk, tw_rcv_wnd);
	u32 ahead = seg->seq - e->rcv_nxt;

	if (seg->options)
		return EFFECT_UNKNOWN;
	if (e->tw_substate == TCP_FIN_WAIT2)
		return ahead <= window ? EFFECT_KILLED : EFFECT_IGNORED;
	if (ahead)
		return EFFECT_IGNORED;
	return BPF_CORE_READ(sk, __sk_common.skc_net.net, ipv4.sysctl_tcp_rfc1337) ? EFFECT_IGNORED : EFFECT_KILLED;
}

/* foreign tells a RST that this host was only to forward. */
static __always_inline bool foreign(struct sk_buff *skb)
{
	struct rtable *rt = (struct rtable *)(skb->_skb_refdst & ~1UL);
	u16 type;

	if (!rt || skb->protocol != bpf_htons(ETH_P_IP))
		return false;
	type = BPF_CORE_READ(rt, rt_type);
	return type != RTN_LOCAL && type != RTN_UNSPEC;
}

/* reached_tcp: IP takes its header off just before it hands over to TCP, which takes
 * its own off only once a connection has the segment. The copy that a packet tap
 * drops has both. */
static __always_inline bool reached_tcp(struct sk_buff *skb)
{
	return skb->data - skb->head == skb->transport_header;
}

/* netns_of: TCP takes the device out of a segment that a socket has (tcp_v4_rcv);
 * its route stays. */
static __always_inline u32 netns_of(struct sk_buff *skb)
{
	struct net_device *dev = BPF_CORE_READ(skb, dev);
	struct dst_entry *dst = (struct dst_entry *)(skb->_skb_refdst & ~1UL);

	if (!dev && dst && bpf_core_field_exists(dst->dev))
		dev = BPF_CORE_READ(dst, dev);
	return BPF_CORE_READ(dev, nd_net.net, ns.inum);
}

#define AT_ONCE 1000000000ULL /* ns: the same softirq, on an emulated and busy CPU too */

/* timewait_ended: the RST has just ended a TIME_WAIT entry on this CPU. */
static __always_inline void timewait_ended(struct reset_event *e, struct busy *cpu)
{
	u32 ahead = e->trigger_seq - cpu->ended_rcv_nxt;

	if (!cpu->ended_ns || cpu->ended_ports != ((u32)e->local_port << 16 | e->peer_port) ||
	    cpu->ended_netns != e->netns || bpf_ktime_get_boot_ns() - cpu->ended_ns > AT_ONCE)
		return;
	/* what tcp_timewait_state_process asks of a RST; a new connection ends it too */
	if (ahead > (cpu->ended_substate == TCP_FIN_WAIT2 ? cpu->ended_window : 0))
		return;
	cpu->ended_ns = 0;
	e->flags &= ~RESET_UNTOLD;
	e->socket = SOCKET_TIMEWAIT;
	e->state = TCP_TIME_WAIT;
	e->tw_substate = cpu->ended_substate;
	e->rcv_nxt = cpu->ended_rcv_nxt;
	e->effect = EFFECT_KILLED;
}

/* timewait_ends notes a TIME_WAIT entry that ends before its time, by a RST or by
 * a new connection (inet_twsk_deschedule_put). */
static __always_inline int timewait_ends(struct sock *tw)
{
	struct busy *cpu = this_cpu();

	if (!cpu || !tw)
		return 0;
	cpu->ended_ns = bpf_ktime_get_boot_ns();
	cpu->ended_ports = (u32)BPF_CORE_READ(tw, __sk_common.skc_num) << 16 |
			   bpf_ntohs(BPF_CORE_READ(tw, __sk_common.skc_dport));
	cpu->ended_netns = BPF_CORE_READ(tw, __sk_common.skc_net.net, ns.inum);
	cpu->ended_rcv_nxt = BPF_CORE_READ(tw, __sk_common.skc_tw_rcv_nxt);
	cpu->ended_substate = BPF_CORE_READ((struct inet_timewait_sock *)tw, tw_substate);
	cpu->ended_window = BPF_CORE_READ((struct tcp_timewait_sock *)tw, tw_rcv_wnd);
	return 0;
}

SEC("fentry/inet_twsk_deschedule_put")
int ends__inet_twsk_deschedule_put(u64 *ctx)
{
	u64 tw;

	return bpf_probe_read_kernel(&tw, sizeof(tw), ctx) ? 0 : timewait_ends((struct sock *)tw);
}

SEC("kprobe/inet_twsk_deschedule_put")
int kprobe__inet_twsk_deschedule_put(void *ctx)
{
	struct registers r;

	return registers(&r, ctx) ? timewait_ends((struct sock *)r.arg[0]) : 0;
}

/* dropped records a RST that the kernel frees unaccepted. rx is the socket that
 * refused it where the kernel tells (since 6.11), NULL or a minisocket too: it
 * goes only to helpers that tolerate both, and is probe-read. */
static __always_inline int dropped(struct sk_buff *skb, u32 reason, struct sock *typed, u64 rx, bool untold,
				   struct busy *cpu, struct counters *c, u32 at)
{
	struct sock *sk = (struct sock *)rx;
	struct sock_owner *s = NULL;
	struct tcp_sock *tp = NULL;
	struct segment seg = {};
	struct tuple t = {};
	struct reset_event *e;
	struct draft *d;
	u8 state = 0;

	read_segment(&t, &seg, skb, at);
	if (sk) {
		state = BPF_CORE_READ(sk, __sk_common.skc_state);
		t.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
		if (typed)
			tp = bpf_skc_to_tcp_sock(typed);
		if (tp && typed)
			s = stored_at(typed, rx);
		/* another protocol's socket: a raw socket that got a copy */
		if (!tp && state != TCP_TIME_WAIT && state != TCP_NEW_SYN_RECV)
			return 0;
	} else {
		t.netns = netns_of(skb);
	}
	if (!admit(c, &t, HOOK_DROP, false))
		return 0;
	if (s && s->owner.tgid == self_tgid) {
		c->filtered[HOOK_DROP]++;
		return 0;
	}
	d = begin(HOOK_DROP, &t, &seg, 0);
	if (!d)
		return 0;
	e = &d->event;
	e->drop_reason = reason;
	e->state = state;
	e->effect = EFFECT_IGNORED;
	if (tp) {
		e->socket = SOCKET_FULL;
		fill_sock(e, tp);
		e->cookie = identity((struct sock *)tp, s, rx);
		if (s) {
			from_storage(e, s);
			doubt(e);
		}
		/* A connection request: the kernel hands its listener. */
		if (state == TCP_LISTEN && reason == drop_not_specified)
			e->effect = EFFECT_UNKNOWN;
	} else if (sk) {
		small_socket(e, sk, state);
		e->cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
		e->effect = state == TCP_TIME_WAIT ? timewait_effect(e, sk, &seg) : EFFECT_UNKNOWN;
		from_tombstone(e, &t);
	} else {
		/* Before 6.11 no socket is told: it may have been a request or a
		 * TIME_WAIT entry, and may be gone. */
		if (reason == drop_not_specified || (untold && reason == DROP_UNPLACED && drop_no_socket))
			e->effect = EFFECT_UNKNOWN;
		if (untold) {
			e->flags |= RESET_UNTOLD;
			timewait_ended(e, cpu);
		}
		from_tombstone(e, &t);
		read_nat(e, skb);
	}
	finish(d, HOOK_DROP, c, cpu, s, TELL_IF_ROOM);
	return 0;
}

/* One early-out for what is no refused RST: a reason that is none, an outgoing
 * segment (no interface), another protocol, another flag. */
#define DROP_PROLOGUE                                                                      \
	struct sk_buff *skb = (struct sk_buff *)ctx[0];                                    \
	u32 reason = ctx[2], at;                                                           \
	struct counters *c = counter();                                                    \
	struct busy *cpu;                                                                  \
                                                                                           \
	if (!c)                                                                            \
		return 0;                                                                  \
	c->dropped++;                                                                      \
	if (reason > 255 || !(drop_reasons[reason >> 6 & 3] >> (reason & 63) & 1) || !skb->skb_iif) \
		return 0;                                                                  \
	at = rst_offset(skb);                                                              \
	if (!at || foreign(skb))                                                           \
		return 0;                                                                  \
	cpu = this_cpu();                                                                  \
	if (!cpu)                                                                          \
		return 0

/* since 6.11 (rx_sk) */
SEC("tp_btf/kfree_skb")
int tp_btf__kfree_skb(u64 *ctx)
{
	u64 args[4];
	DROP_PROLOGUE;

	if (bpf_probe_read_kernel(args, sizeof(args), ctx))
		return 0;
	/* Without a socket only these say that TCP or a filter before it refused. */
	if (!args[3] && reason == drop_not_specified)
		return 0;
	return dropped(skb, reason, (struct sock *)ctx[3], args[3], false, cpu, c, at);
}

/* 5.17 to 6.10: no socket, so that requests, TIME_WAIT and others look alike */
SEC("tp_btf/kfree_skb")
int reason__kfree_skb(u64 *ctx)
{
	DROP_PROLOGUE;

	/* without a reason only TCP's own say anything */
	if (reason == drop_not_specified && !reached_tcp(skb))
		return 0;
	return dropped(skb, reason, NULL, 0, true, cpu, c, at);
}

/* Before 5.17: no reason, but the place in the kernel that dropped it. */
SEC("tp_btf/kfree_skb")
int place__kfree_skb(u64 *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx[0];
	struct counters *c = counter();
	u32 reason = 0, at;
	struct busy *cpu;
	bool known = false, untold = true;
	u64 place;
	int i;

	if (!c)
		return 0;
	c->dropped++;
	if (!skb->skb_iif)
		return 0;
	at = rst_offset(skb);
	if (!at || foreign(skb))
		return 0;
	place = ctx[1];
	for (i = 0; i < DROP_PLACES; i++) {
		if (place - drop_places[i].start < drop_places[i].size) {
			reason = drop_places[i].reason;
			known = true;
		}
	}
	cpu = this_cpu();
	if (!known || !cpu)
		return 0;
	if (reason == DROP_ANYWHERE)
		reason = reached_tcp(skb) ? drop_not_specified : DROP_UNPLACED;
	if (cpu->nobody_skb == (u64)skb) {
		reason = drop_no_socket;
		untold = false;
	}
	cpu->nobody_skb = 0;
	return dropped(skb, reason, NULL, 0, untold, cpu, c, at);
}

/* rejected records the RST that a netfilter rule is about to make for a segment
 * (net/ipv4/netfilter/nf_reject_ipv4.c nf_reject_ip_tcphdr_put): its numbers are
 * those that the rule will write. */
static __always_inline int rejected(struct net *net, struct sk_buff *old, u32 at, u64 place)
{
	struct busy *cpu = this_cpu();
	struct counters *c = counter();
	struct segment seg = {};
	struct tuple t = {};
	struct draft *d;

	if (!cpu || !c)
		return 0;
	read_segment(&t, &seg, old, at);
	if (seg.flags & FLAG_RST)
		return 0; /* a RST is never answered */
	if (seg.flags & FLAG_ACK) {
		seg.seq = seg.ack;
		seg.ack = 0;
		seg.flags = FLAG_RST;
	} else {
		seg.ack = seg.seq + seg.len + !!(seg.flags & FLAG_SYN) + (seg.flags & FLAG_FIN);
		seg.seq = 0;
		seg.flags = FLAG_RST | FLAG_ACK;
	}
	seg.len = 0;
	t.netns = BPF_CORE_READ(net, ns.inum);
	if (!admit(c, &t, HOOK_FIREWALL, false))
		return 0;
	d = begin(HOOK_FIREWALL, &t, &seg, (u32)place == NF_INET_FORWARD ? RESET_FORWARDED : 0);
	if (!d)
		return 0;
	read_nat(&d->event, old);
	finish(d, HOOK_FIREWALL, c, cpu, NULL, TELL_IF_ROOM);
	return 0;
}

static __always_inline int rejected4(struct net *net, struct sk_buff *old, u64 place)
{
	u32 at = BPF_CORE_READ(old, network_header);
	u8 ihl = 0;

	bpf_probe_read_kernel(&ihl, 1, BPF_CORE_READ(old, head) + at);
	return rejected(net, old, at + (ihl & 15) * 4, place);
}

static __always_inline int rejected6(struct net *net, struct sk_buff *old, u64 place)
{
	u32 at = BPF_CORE_READ(old, network_header), walked = BPF_CORE_READ(old, transport_header);
	u8 next = 0;

	bpf_probe_read_kernel(&next, 1, BPF_CORE_READ(old, head) + at + 6);
	return rejected(net, old, next == IPPROTO_TCP ? at + 40 : walked, place);
}

/* Both functions since 5.10: (net, sk, oldskb, hook). */
SEC("fentry/nf_send_reset")
int reject4__nf_send_reset(u64 *ctx)
{
	return rejected4((struct net *)ctx[0], (struct sk_buff *)ctx[2], ctx[3]);
}

SEC("fentry/nf_send_reset6")
int reject6__nf_send_reset6(u64 *ctx)
{
	return rejected6((struct net *)ctx[0], (struct sk_buff *)ctx[2], ctx[3]);
}

/* where the kernel has kprobes and no fentry */
SEC("kprobe/nf_send_reset")
int kprobe4__nf_send_reset(void *ctx)
{
	struct registers r;

	return registers(&r, ctx) ? rejected4((struct net *)r.arg[0], (struct sk_buff *)r.arg[2], r.arg[3]) : 0;
}

SEC("kprobe/nf_send_reset6")
int kprobe6__nf_send_reset6(void *ctx)
{
	struct registers r;

	return registers(&r, ctx) ? rejected6((struct net *)r.arg[0], (struct sk_buff *)r.arg[2], r.arg[3]) : 0;
}

/* A netfilter rule's RST leaves without a socket and without having arrived
 * (KERNEL.md 9b). IPv6's answers of TCP itself look the same: the one that
 * tcp_send_reset announced on this CPU is not it. */
SEC("tp_btf/net_dev_queue")
int tp_btf__net_dev_queue(u64 *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx[0];
	struct segment seg = {};
	struct tuple in = {}, t;
	struct counters *c;
	struct busy *cpu;
	struct draft *d;
	u32 at;

	if (skb->sk || skb->skb_iif)
		return 0;
	at = rst_offset(skb);
	if (!at)
		return 0;
	cpu = this_cpu();
	c = counter();
	if (!cpu || !c)
		return 0;
	read_segment(&in, &seg, skb, at);
	__builtin_memcpy(t.local_addr, in.peer_addr, 16);
	__builtin_memcpy(t.peer_addr, in.local_addr, 16);
	t.local_port = in.peer_port;
	t.peer_port = in.local_port;
	t.netns = BPF_CORE_READ(skb, dev, nd_net.net, ns.inum);
	if (cpu->answered_seq == seg.seq && cpu->answered_ports == ((u32)t.local_port << 16 | t.peer_port))
		return 0;
	if (!admit(c, &t, HOOK_FIREWALL, false))
		return 0;
	d = begin(HOOK_FIREWALL, &t, &seg, 0);
	if (!d)
		return 0;
	read_nat(&d->event, skb);
	finish(d, HOOK_FIREWALL, c, cpu, NULL, TELL_IF_ROOM);
	return 0;
}

#endif
