// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* reset.bpf.c: the index of rstwhy's hooks.
 *
 * On tcp_send_reset both arguments may be NULL, and kernels 6.2 to 6.8 either
 * oops on a load through them or delete the NULL check (KERNEL.md, hazard 1).
 * So its programs never load through them: scalars copied from the context are
 * tested and probe-read; the typed pointer is only handed to helpers that
 * tolerate NULL (bpf_skc_to_tcp_sock, bpf_sk_storage_get, net/core/filter.c
 * and bpf_sk_storage.c). internal/probe has a test that walks the
 * instructions. */
#include "kernel.h"
#include "libbpf/bpf_helpers.h"
#include "libbpf/bpf_core_read.h"
#include "libbpf/bpf_endian.h"
#include "event.h"
#include "maps.h"
#include "owner.h"
#include "socket.h"
#include "storage.h"
#include "record.h"
#include "registers.h"
#include "refused.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Keeps the types that only pass through pointers in the object's BTF. */
const struct closer_event *keep_closer_event __attribute__((unused));
const struct reset_event *keep_reset_event __attribute__((unused));
const struct holder *keep_holder __attribute__((unused));
const enum record_kind keep_record_kind __attribute__((unused));
const enum reset_direction keep_direction __attribute__((unused));
const enum socket_kind keep_socket_kind __attribute__((unused));
const enum owner_how keep_owner_how __attribute__((unused));
const enum ended_by keep_ended_by __attribute__((unused));
const enum reset_flags keep_reset_flags __attribute__((unused));
const enum reset_hook keep_reset_hook __attribute__((unused));
const enum reset_effect keep_reset_effect __attribute__((unused));
const enum storm_shape keep_storm_shape __attribute__((unused));
const enum holder_flags keep_holder_flags __attribute__((unused));
const struct storm_key *keep_storm_key __attribute__((unused));
const struct storm *keep_storm __attribute__((unused));

/* stopping tells whether current is closing the listener that this unaccepted
 * child belongs to. */
static __always_inline struct listener_stop *stopping(const struct tuple *t)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct listener_stop *l = bpf_map_lookup_elem(&listener_stops, &tid);

	return l && l->netns == t->netns && l->port == t->local_port ? l : NULL;
}

static __always_inline void outsider(struct reset_event *e, struct task_struct *task)
{
	fill_owner(&e->actor, task);
	bpf_get_current_comm(e->thread, sizeof(e->thread));
	e->flags |= RESET_ACTOR;
}

static __always_inline void full_socket(struct reset_event *e, struct tcp_sock *tp, struct tuple *t,
					struct sock_owner *s)
{
	struct sock *sk = &tp->inet_conn.icsk_inet.sk;
	bool active = !(e->flags & RESET_TRIGGER);
	struct task_struct *task = active ? acting_task(sk) : NULL;
	struct listener_stop *l = NULL;

	if (s)
		from_storage(e, s);
	if (active && !task && e->state == TCP_CLOSE && !(e->flags & (RESET_HAS_SOCKET | RESET_DEAD))) {
		l = stopping(t);
		if (l)
			task = current_task();
	}
	/* tcp_abort leaves the state alone and belongs to no holder (ss -K). */
	if (task && (e->state != TCP_CLOSE || (l && l->outside))) {
		if (!(e->flags & RESET_MPTCP))
			outsider(e, task);
		task = NULL;
	}
	if (task) {
		fill_owner(&e->owner, task);
		bpf_get_current_comm(e->thread, sizeof(e->thread));
		e->how = OWNER_CURRENT;
		e->ended = ending(task, &e->exit_code);
		/* connect(AF_UNSPEC) on a shared socket: a walk tells who else holds it */
		if (e->file_refs > 1)
			doubt(e);
	} else if (s) {
		doubt(e);
	}
}

/* answered notes the RST that answers this segment, for the device hook. */
static __always_inline void answered(struct busy *cpu, const struct tuple *t, const struct segment *seg)
{
	cpu->answered_seq = seg->flags & FLAG_ACK ? seg->ack : 0;
	cpu->answered_ports = (u32)t->local_port << 16 | t->peer_port;
}

/* answer records a RST for a segment that no full socket takes: there is none, or
 * only a TIME_WAIT entry or a request. Only probe reads. */
static __always_inline int answer(struct sock *sk, struct sk_buff *skb, u16 reason, struct busy *cpu,
				  struct counters *c, u32 extra)
{
	struct segment seg = {};
	struct tuple t = {};
	struct reset_event *e;
	struct draft *d;
	u8 state = 0;

	if (sk) {
		state = BPF_CORE_READ(sk, __sk_common.skc_state);
		t.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	} else {
		t.netns = BPF_CORE_READ(skb, dev, nd_net.net, ns.inum);
	}
	if (skb) {
		read_segment(&t, &seg, skb, BPF_CORE_READ(skb, transport_header));
		answered(cpu, &t, &seg);
	}
	if (!admit(c, &t, HOOK_SEND, false))
		return 0;
	d = begin(HOOK_SEND, &t, &seg, extra | (skb ? RESET_TRIGGER : 0));
	if (!d)
		return 0;
	e = &d->event;
	e->reason = reason;
	e->state = state;
	if (sk)
		small_socket(e, sk, state);
	/* a fresh SYN is about no earlier connection */
	if ((seg.flags & (FLAG_SYN | FLAG_ACK)) != FLAG_SYN)
		from_tombstone(e, &t);
	if (sk && can_ask_cookie)
		e->cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	if (skb)
		read_nat(e, skb);
	finish(d, HOOK_SEND, c, cpu, NULL, TELL_IF_ROOM);
	return 0;
}

/* sent records a RST of a full socket: of its own accord, or in answer to skb. */
static __always_inline int sent(struct sock *typed, u64 address, struct tcp_sock *tp, struct sk_buff *skb,
				u16 reason, struct busy *cpu, struct counters *c, u32 extra)
{
	struct sock *sk = &tp->inet_conn.icsk_inet.sk;
	struct sock_owner *s = stored_of_orphan(typed, address);
	struct segment seg = {};
	struct tuple t = {};
	struct reset_event *e;
	struct draft *d;
	u8 state;
	bool joins;

	if (!can_store && s && s->gone &&
	    !sock_flag(sk->__sk_common.skc_flags, bpf_core_enum_value(enum sock_flags, SOCK_DEAD)))
		s = NULL;

	sock_tuple(&t, &tp->inet_conn.icsk_inet);
	state = sk->__sk_common.skc_state;
	if (skb) {
		read_segment(&t, &seg, skb, BPF_CORE_READ(skb, transport_header));
		answered(cpu, &t, &seg);
	}
	/* the kernel never answers a RST with a RST */
	joins = skb && state == TCP_CLOSE;
	if (joins && cpu->counted_sk == address)
		uncount(cpu, c, s);
	if (!admit(c, &t, HOOK_SEND, joins))
		return 0;
	if (s && s->owner.tgid == self_tgid) {
		c->filtered[HOOK_SEND]++;
		return 0;
	}
	d = begin(HOOK_SEND, &t, &seg, extra | (skb ? RESET_TRIGGER : 0));
	if (!d)
		return 0;
	e = &d->event;
	e->reason = reason;
	e->state = state;
	e->socket = SOCKET_FULL;
	fill_sock(e, tp);
	e->cookie = identity((struct sock *)tp, s, address);
	full_socket(e, tp, &t, s);
	/* an answer from the listener may be about a connection that is gone */
	if (state == TCP_LISTEN && seg.flags & FLAG_ACK)
		from_tombstone(e, &t);
	finish(d, HOOK_SEND, c, cpu, s, joins && cpu->told_sk == address ? TELL : TELL_IF_ROOM);
	return 0;
}

/* send_reset takes the tracepoint's arguments as plain numbers. */
static __always_inline int send_reset(u64 *ctx, struct busy *cpu, u32 extra, u32 size)
{
	struct sock *typed = (struct sock *)ctx[0];
	struct counters *c = counter();
	struct tcp_sock *tp = NULL;
	struct sk_buff *skb;
	u64 args[3] = {};

	if (!c)
		return 0;
	bpf_probe_read_kernel(args, size, ctx);
	skb = (struct sk_buff *)args[1];
	if (args[0] && typed)
		tp = bpf_skc_to_tcp_sock(typed);
	if (tp)
		return sent(typed, args[0], tp, skb, args[2], cpu, c, extra);
	/* told at the function's entry already, by a kernel that needs no such hook */
	if (skb && cpu->answered_skb == args[1]) {
		cpu->answered_skb = 0;
		return 0;
	}
	return answer((struct sock *)args[0], skb, args[2], cpu, c, extra);
}

/* since 6.10: the reason is the third argument */
static __always_inline int send_reset_reason(u64 *ctx, struct busy *cpu, u32 extra)
{
	return send_reset(ctx, cpu, extra, 24);
}

/* before, for full sockets only */
static __always_inline int send_reset_bare(u64 *ctx, struct busy *cpu, u32 extra)
{
	return send_reset(ctx, cpu, extra, 16);
}

/* is_signed tells whether a segment has a signature (TCP-MD5, TCP-AO). */
static __always_inline bool is_signed(struct sk_buff *skb)
{
	unsigned char *th = BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, transport_header);
	u8 doff = 0, option[2] = {};
	u32 at = 20, end;
	int i;

	bpf_probe_read_kernel(&doff, 1, th + 12);
	end = (doff >> 4) * 4;
	for (i = 0; i < 40; i++) {
		if (at + 1 >= end || bpf_probe_read_kernel(option, 2, th + at) || option[0] == TCPOPT_EOL)
			return false;
		if (option[0] == TCPOPT_MD5SIG || option[0] == TCPOPT_AO)
			return true;
		at += option[0] == TCPOPT_NOP ? 1 : option[1] < 2 ? 2 : option[1];
	}
	return false;
}

/* unanswered tells a segment that those functions leave without an answer: it is
 * not for an address of this host, or it is signed, and nobody here has a key (one
 * of a listener at its source port would do). The later tracepoint comes after. */
static __always_inline bool unanswered(struct sock *sk, struct sk_buff *skb)
{
	unsigned long dst = BPF_CORE_READ(skb, _skb_refdst) & ~1UL;

	if (!sk && dst && BPF_CORE_READ(skb, protocol) == bpf_htons(ETH_P_IP)) {
		if (BPF_CORE_READ((struct rtable *)dst, rt_type) != RTN_LOCAL)
			return true;
	} else if (!sk && dst && !(BPF_CORE_READ((struct rt6_info *)dst, rt6i_flags) & RTF_LOCAL)) {
		return true;
	}
	return is_signed(skb);
}

/* unseen records what the tracepoint before 6.10 does not show, at the entry of
 * the function that answers segments (tcp_v4_send_reset, tcp_v6_send_reset): RSTs
 * without a socket and of TIME_WAIT entries (include/trace/events/tcp.h had
 * sk && sk_fullsock(sk)). Nothing is sent in answer to a RST: then it only tells
 * that nobody had a socket for it. */
static __always_inline int unseen(struct sock *sk, struct sk_buff *skb)
{
	struct busy *cpu = this_cpu();
	struct counters *c = counter();
	u8 flags = 0;

	if (!cpu || !c || !skb)
		return 0;
	if (sk && BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_TIME_WAIT)
		return 0;
	if (bpf_probe_read_kernel(&flags, 1, BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, transport_header) + 13) ||
	    flags & FLAG_RST) {
		/* tcp_v4_rcv comes here for each segment without a socket */
		if (!sk)
			cpu->nobody_skb = (u64)skb;
		return 0;
	}
	if (unanswered(sk, skb))
		return 0;
	/* the program of the tracepoint may be at work beneath this softirq */
	if (cpu->depth[HOOK_SEND]) {
		c->recovered[HOOK_SEND]++;
		return answer(sk, skb, 0, cpu, c, RESET_RECOVERED);
	}
	answer(sk, skb, 0, cpu, c, 0);
	cpu->answered_skb = (u64)skb;
	return 0;
}

SEC("fentry/tcp_v4_send_reset")
int answer4__tcp_v4_send_reset(u64 *ctx)
{
	u64 args[2];

	return bpf_probe_read_kernel(args, sizeof(args), ctx) ? 0 : unseen((struct sock *)args[0], (struct sk_buff *)args[1]);
}

SEC("fentry/tcp_v6_send_reset")
int answer6__tcp_v6_send_reset(u64 *ctx)
{
	u64 args[2];

	return bpf_probe_read_kernel(args, sizeof(args), ctx) ? 0 : unseen((struct sock *)args[0], (struct sk_buff *)args[1]);
}

/* where the kernel has kprobes and no fentry */
SEC("kprobe/tcp_v4_send_reset")
int kprobe4__tcp_v4_send_reset(void *ctx)
{
	struct registers r;

	return registers(&r, ctx) ? unseen((struct sock *)r.arg[0], (struct sk_buff *)r.arg[1]) : 0;
}

SEC("kprobe/tcp_v6_send_reset")
int kprobe6__tcp_v6_send_reset(void *ctx)
{
	struct registers r;

	return registers(&r, ctx) ? unseen((struct sock *)r.arg[0], (struct sk_buff *)r.arg[1]) : 0;
}

static __always_inline int receive_reset(u64 *ctx, struct busy *cpu, u32 extra)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct segment seg = {};
	struct tuple t = {};
	struct sock_owner *s;
	struct tcp_sock *tp;
	struct counters *c = counter();
	struct draft *d;
	u64 address = 0;

	if (!c)
		return 0;
	bpf_probe_read_kernel(&address, sizeof(address), ctx);
	cpu->counted_sk = 0;
	cpu->told_sk = 0;
	if (cpu->arrived_sk == address) {
		cpu->arrived_sk = 0;
		seg.seq = cpu->arrived_seq;
		seg.ack = cpu->arrived_ack;
		seg.flags = cpu->arrived_flags;
	}
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp) {
		c->seen[HOOK_RECEIVE]++;
		c->lost[HOOK_RECEIVE]++;
		return 0;
	}
	sock_tuple(&t, &tp->inet_conn.icsk_inet);
	if (!admit(c, &t, HOOK_RECEIVE, false))
		return 0;
	s = stored(sk);
	if (s && s->owner.tgid == self_tgid) {
		c->filtered[HOOK_RECEIVE]++;
		return 0;
	}
	/* data after close: the send that follows tells of it */
	if (seg.flags && !(seg.flags & FLAG_RST)) {
		c->joined[HOOK_RECEIVE]++;
		return 0;
	}
	d = begin(HOOK_RECEIVE, &t, &seg, extra | (seg.flags ? RESET_ARRIVED : 0));
	if (!d)
		return 0;
	d->event.socket = SOCKET_FULL;
	fill_sock(&d->event, tp);
	d->event.cookie = identity((struct sock *)tp, s, address);
	if (s) {
		from_storage(&d->event, s);
		doubt(&d->event);
	}
	if (finish(d, HOOK_RECEIVE, c, cpu, s, telling_of(&d->event))) {
		cpu->told_sk = (u64)sk;
	} else {
		cpu->counted_sk = (u64)sk;
		cpu->counted_place = extra & RESET_RECOVERED ? HOOK_RECEIVE + HOOKS : HOOK_RECEIVE;
	}
	return 0;
}

/* arrives notes the segment for which TCP tears a connection down: the tracepoint,
 * which fires next, does not tell it. It is no RST where data came after close
 * (KERNEL.md, hazard 4). */
static __always_inline int arrives(u64 sk, struct sk_buff *skb)
{
	struct busy *cpu = this_cpu();
	struct segment seg = {};
	struct tuple t;

	if (!cpu || !sk || !skb)
		return 0;
	read_segment(&t, &seg, skb, BPF_CORE_READ(skb, transport_header));
	cpu->arrived_sk = sk;
	cpu->arrived_seq = seg.seq;
	cpu->arrived_ack = seg.ack;
	cpu->arrived_flags = seg.flags;
	return 0;
}

/* since 5.11 (skb) */
SEC("fentry/tcp_reset")
int arrives__tcp_reset(u64 *ctx)
{
	u64 args[2];

	return bpf_probe_read_kernel(args, sizeof(args), ctx) ? 0 : arrives(args[0], (struct sk_buff *)args[1]);
}

SEC("kprobe/tcp_reset")
int kprobe__tcp_reset(void *ctx)
{
	struct registers r;

	return registers(&r, ctx) ? arrives(r.arg[0], (struct sk_buff *)r.arg[1]) : 0;
}

/* Each reset hook has a shadow. While a program runs, the kernel skips it on the
 * same CPU (a softirq on top of it), since 5.19 on tracepoints: the shadow handles
 * just those hits. An older kernel runs it once more, which it knows by the depth. */
#define HOOK(program, shadow, name, hook, call)                \
	SEC("tp_btf/tcp_" #name)                               \
	int program##__tcp_##name(u64 *ctx)                    \
	{                                                      \
		struct busy *cpu = this_cpu();                 \
		struct counters *c;                            \
                                                               \
		if (!cpu)                                      \
			return 0;                              \
		if (cpu->depth[hook]) {                        \
			cpu->nested[hook] = 1;                 \
			c = counter();                         \
			if (c)                                 \
				c->recovered[hook]++;           \
			return call(ctx, cpu, RESET_RECOVERED); \
		}                                              \
		cpu->depth[hook] = 1;                           \
		call(ctx, cpu, 0);                             \
		cpu->depth[hook] = 0;                           \
		return 0;                                      \
	}                                                      \
	SEC("tp_btf/tcp_" #name)                               \
	int shadow##__tcp_##name(u64 *ctx)                     \
	{                                                      \
		struct busy *cpu = this_cpu();                 \
		struct counters *c;                            \
                                                               \
		if (!cpu || !cpu->depth[hook])                  \
			return 0;                              \
		if (cpu->nested[hook]) {                       \
			cpu->nested[hook] = 0;                 \
			return 0;                              \
		}                                              \
		c = counter();                                 \
		if (c)                                         \
			c->recovered[hook]++;                   \
		return call(ctx, cpu, RESET_RECOVERED);        \
	}

HOOK(tp_btf, shadow, send_reset, HOOK_SEND, send_reset_reason)
HOOK(bare, bare_shadow, send_reset, HOOK_SEND, send_reset_bare)
HOOK(tp_btf, shadow, receive_reset, HOOK_RECEIVE, receive_reset)

/* sock_owner_of gives the socket's storage, made where it has none. It can fail:
 * out of memory, or where the kernel's lock does not work, as in 7.3 emulated
 * without cmpxchg16b. */
static __always_inline struct sock_owner *sock_owner_of(struct sock *sk)
{
	struct sock_owner *s = store(sk);
	struct counters *c;

	if (!s) {
		c = counter();
		if (c)
			c->owner_lost++;
	}
	return s;
}

static __always_inline void learn(struct sock *sk, u8 how)
{
	struct task_struct *task = acting_task(sk);
	struct sock_owner *s;

	if (!task) {
		unremember(sk);
		return;
	}
	s = sock_owner_of(sk);
	if (!s)
		return;
	fill_owner(&s->owner, task);
	s->how = how;
	s->opened_ns = bpf_ktime_get_boot_ns();
	s->closed_ns = 0;
	s->ended = ENDED_NONE;
	s->prev_state = 0;
	s->active = how == OWNER_CONNECT;
	s->passive = 0;
	s->doubt = 0;
	announce(&s->owner, sk->__sk_common.skc_net.net->ns.inum);
}

/* relearn notes who ends the connection, where a task does. After a half-close
 * (shutdown(SHUT_WR)) the socket is still in use: when and how it is closed is
 * not known until then, and no later state change may tell. */
static __always_inline void relearn(struct sock *sk, struct sock_owner *s, struct task_struct *task)
{
	if (s->owner.tgid != TASK(task, tgid) || s->owner.start_ns != TASK(task, group_leader, start_boottime))
		fill_owner(&s->owner, task);
	else
		fill_comm(&s->owner, TASK(task, group_leader)); /* it may run another program by now */
	s->how = OWNER_SHUTDOWN;
	if (sk->sk_shutdown != SHUTDOWN_MASK)
		return;
	s->ended = ending(task, &s->exit_code);
	s->closed_ns = bpf_ktime_get_boot_ns();
}

static __always_inline void stop_listener(struct sock *sk, struct sock_owner *s)
{
	struct task_struct *task = acting_task(sk);
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct listener_stop l = {};
	u32 tid;

	if (!task || !tp)
		return;
	/* close() and exit shut down both ways first; shutdown(SHUT_RD), which only
	 * a holder can call, and ss -K do not. */
	if (sk->sk_shutdown != SHUTDOWN_MASK && (!s || s->owner.tgid != TASK(task, tgid)))
		l.outside = system_call(task) != shutdown_call;
	tid = TASK(task, pid);
	l.netns = sk->__sk_common.skc_net.net->ns.inum;
	l.port = bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport);
	bpf_map_update_elem(&listener_stops, &tid, &l, BPF_ANY);
}

static __always_inline void bury(struct sock *sk, struct sock_owner *s, u8 old)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct tombstone b = {};
	struct tuple t = {};

	if (!tp)
		return;
	sock_tuple(&t, &tp->inet_conn.icsk_inet);
	b.owner = s->owner;
	b.cookie = identity(sk, s, 0);
	b.opened_ns = s->opened_ns;
	b.closed_ns = s->closed_ns;
	b.gone_ns = bpf_ktime_get_boot_ns();
	b.exit_code = s->exit_code;
	b.how = s->how == OWNER_LISTEN ? OWNER_INHERIT : s->how;
	b.ended = s->ended;
	b.left_state = old;
	b.active_open = s->active ? 1 : s->passive ? 2 : 0;
	bpf_map_update_elem(&tombstones, &t, &b, BPF_ANY);
}

static __always_inline bool unsent(struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

	return tp && tp->write_seq != tp->snd_nxt;
}

static __always_inline void closed(struct sock *sk, u8 old)
{
	bool done = sock_flag(sk->__sk_common.skc_flags, bpf_core_enum_value(enum sock_flags, SOCK_DONE));
	struct sock_owner *s;
	struct task_struct *task;

	/* Both FINs are in, and no task acts: the usual end of a connection, after
	 * which nothing can come late and this socket draws no reset. FIN_WAIT2 goes
	 * straight to TIME_WAIT on the peer's FIN (tcp_fin). */
	if (done && (old == TCP_FIN_WAIT2 || ((old == TCP_LAST_ACK || old == TCP_CLOSING) && !sk->sk_lock.owned)))
		return;
	s = stored(sk);
	if (old == TCP_LISTEN) {
		if (!can_store)
			forget_listener(sk, s, (u64)sk);
		stop_listener(sk, s);
		if (s)
			s->prev_state = old;
		return;
	}
	if (!s)
		return;
	s->prev_state = old;
	task = acting_task(sk);
	/* Both FINs are in: nothing can come late, unless a disconnect left our own
	 * unsent. */
	if (done && (old == TCP_LAST_ACK || old == TCP_CLOSING) && !(task && unsent(sk)))
		return;
	if (task && sk->sk_shutdown == SHUTDOWN_MASK) {
		/* Before FIN_WAIT only close() shuts down both ways. Later it may
		 * also be a backlogged segment or ss -K, so that only the known
		 * owner's own act counts. */
		if (old == TCP_ESTABLISHED || old == TCP_CLOSE_WAIT || old == TCP_SYN_SENT || old == TCP_SYN_RECV ||
		    s->owner.tgid == TASK(task, tgid))
			relearn(sk, s, task);
	}
	/* A refused connect draws no late segment. */
	if (old == TCP_SYN_SENT && !task)
		return;
	bury(sk, s, old);
}

static __always_inline int state_change(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	int old = ctx[1], new = ctx[2];
	struct sock_owner *s;
	struct task_struct *task;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	switch (new) {
	case TCP_SYN_SENT:
		learn(sk, OWNER_CONNECT);
		break;
	case TCP_LISTEN:
		learn(sk, OWNER_LISTEN);
		if (!can_store)
			note_listener(sk, stored(sk), (u64)sk);
		break;
	case TCP_SYN_RECV:
		if (old == TCP_LISTEN)
			inherit(sk, (u64)sk);
		renumber(sk);
		break;
	case TCP_ESTABLISHED:
		if (old != TCP_SYN_RECV)
			break;
		s = stored(sk);
		if (!s)
			break;
		if (s->how == OWNER_LISTEN)
			s->how = OWNER_INHERIT;
		s->passive = 1;
		s->opened_ns = bpf_ktime_get_boot_ns();
		break;
	case TCP_FIN_WAIT1:
	case TCP_LAST_ACK:
		task = acting_task(sk);
		if (!task)
			break;
		s = sock_owner_of(sk);
		if (s)
			relearn(sk, s, task);
		break;
	case TCP_CLOSE:
		closed(sk, old);
		break;
	}
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int tp_btf__inet_sock_set_state(u64 *ctx)
{
	struct busy *cpu = this_cpu();

	if (!cpu)
		return 0;
	if (cpu->depth[0]) { /* before 5.19, see HOOK */
		cpu->nested[0] = 1;
		return state_change(ctx);
	}
	cpu->depth[0] = 1;
	state_change(ctx);
	cpu->depth[0] = 0;
	return 0;
}

/* A softirq on top of the program above closes and accepts other sockets. */
SEC("tp_btf/inet_sock_set_state")
int shadow__inet_sock_set_state(u64 *ctx)
{
	struct busy *cpu = this_cpu();

	if (!cpu || !cpu->depth[0])
		return 0;
	if (cpu->nested[0]) {
		cpu->nested[0] = 0;
		return 0;
	}
	cpu->states_recovered++;
	return state_change(ctx);
}

/* confirm: the owner under which a reset was counted closes the socket itself. */
static __always_inline void confirm(struct sock_owner *s, struct task_struct *task)
{
	struct doubt_key key = { .start_ns = s->owner.start_ns, .tgid = s->owner.tgid, .turn = s->counted - 1 };
	struct doubted *o;

	s->counted = 0;
	if (TASK(task, tgid) != key.tgid || TASK(task, group_leader, start_boottime) != key.start_ns)
		return;
	o = bpf_map_lookup_elem(&storm_doubts, &key);
	if (o)
		__sync_fetch_and_add(&o->confirmed, 1);
}

/* closer tells who closes a socket in doubt. */
static __always_inline void closer(struct sock *sk)
{
	struct closer_event *e;
	struct task_struct *task;
	struct sock_owner *s;
	struct counters *c;

	s = stored(sk);
	if (!s || !(s->doubt || s->counted))
		return;
	task = acting_task(sk);
	if (!task || onlooker(task))
		return;
	if (s->counted)
		confirm(s, task);
	if (!s->doubt)
		return;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		c = counter();
		if (c)
			c->closer_lost++;
		return;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->kind = RECORD_CLOSER;
	e->exiting = !!(TASK(task, flags) & PF_EXITING);
	e->time_ns = bpf_ktime_get_boot_ns();
	e->cookie = identity(sk, s, 0);
	fill_owner(&e->owner, task);
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

/* Whoever closes a socket in doubt tells: this runs in the closer's context
 * with the lock owned, also long after a RST has put the socket to CLOSE. */
SEC("tp_btf/tcp_destroy_sock")
int tp_btf__tcp_destroy_sock(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];

	if (doubts_made != doubts_done || storm_doubts_open)
		closer(sk);
	forget(sk);
	return 0;
}

static __always_inline bool is_sought(u64 cookie)
{
	int i;

	if (!cookie)
		return false;
	for (i = 0; i < SOUGHT; i++)
		if (sought[i] == cookie)
			return true;
	return false;
}

/* tell_holder writes the lines that a holder has in the walk. */
static __always_inline void tell_holder(struct seq_file *seq, struct holder *h, const struct sock_owner *s, bool was,
					u64 id, u64 cookie)
{
	bool stores = was && s->owner.tgid == h->owner.tgid && s->owner.start_ns == h->owner.start_ns;

	h->opened_ns = s->opened_ns;
	if (!was || s->doubt) {
		h->doubt = was ? HOLDER_DOUBT : 0;
		h->cookie = id;
		bpf_seq_write(seq, h, sizeof(*h));
	}
	if (is_sought(cookie)) {
		h->doubt = HOLDER_SOUGHT | (stores ? HOLDER_STORED : 0);
		h->cookie = cookie;
		bpf_seq_write(seq, h, sizeof(*h));
	}
}

/* fill_holder takes the process from the walk's task, which is not current. */
static __always_inline void fill_holder(struct owner *o, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;

	o->tgid = task->tgid;
	o->start_ns = leader->start_boottime;
	o->uid = task->real_cred->uid.val;
	o->cgroup_id = task->cgroups->dfl_cgrp->kn->id;
	bpf_probe_read_kernel(o->comm, sizeof(o->comm), leader->comm);
}

/* found_open stores the holder of a socket of which nothing was remembered. Who
 * opened it? A connecting socket counts its own SYN among the acknowledged bytes,
 * an accepted one does not (tcp_snd_una_update). */
static __always_inline void found_open(struct sock_owner *s, const struct holder *h, u64 data, u64 acked)
{
	s->owner = h->owner;
	s->how = h->state == TCP_LISTEN ? OWNER_LISTEN : OWNER_WALK;
	if (h->state == TCP_ESTABLISHED || h->state == TCP_CLOSE_WAIT) {
		s->active = acked == data + 1;
		s->passive = acked == data;
	}
}

/* The walk over all descriptors: at start it stores the owners of sockets older
 * than rstwhy, later it names the holders of sockets in doubt. */
SEC("iter/task_file")
int iter__task_file(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct holder h = {};
	struct sock_owner *s;
	struct socket *socket;
	struct tcp_sock *tp;
	struct sock *sk;
	u64 data, cookie;
	u32 was;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	h.state = sk->__sk_common.skc_state;
	fill_holder(&h.owner, task);
	s = stored(sk);
	was = s != NULL;
	/* Never connected. A refused connect() leaves the same (tcp_disconnect),
	 * but a socket that was reset has its owner stored already. */
	if (!was && h.state == TCP_CLOSE && !sk->sk_shutdown)
		return 0;
	if (!s)
		s = store(sk);
	if (!s)
		return 0;
	data = tp->bytes_sent - tp->bytes_retrans - (u32)(tp->snd_nxt - tp->snd_una);
	if (!was)
		found_open(s, &h, data, tp->bytes_acked);
	cookie = sk->__sk_common.skc_cookie.counter;
	if (was && !s->doubt && !is_sought(cookie))
		return 0;
	tell_holder(ctx->meta->seq, &h, s, was, identity(sk, s, 0), cookie);
	return 0;
}

/* The same before 5.11, which has neither bpf_sock_from_file nor socket storage:
 * plain pointers, and so probe reads. */
SEC("iter/task_file")
int address__task_file(struct bpf_iter__task_file *ctx)
{
	struct file___before_5_11 *file = (struct file___before_5_11 *)ctx->file;
	struct task_struct *task = ctx->task;
	struct sock_owner *s;
	struct holder h = {};
	struct socket *socket;
	struct tcp_sock *tp;
	struct sock *sk;
	u64 data;
	u16 family;
	u32 was;

	if (!task || !file || BPF_CORE_READ(file, f_inode, i_sb, s_magic) != SOCKFS_MAGIC)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	if (!sk)
		return 0;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if ((family != AF_INET && family != AF_INET6) || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	tp = (struct tcp_sock *)sk;
	h.state = BPF_CORE_READ(sk, __sk_common.skc_state);
	fill_holder(&h.owner, task);
	s = by_address((u64)sk);
	was = s != NULL;
	if (!was && h.state == TCP_CLOSE && !BPF_CORE_READ(sk, sk_shutdown))
		return 0;
	if (!s)
		s = store(sk);
	if (!s)
		return 0;
	data = BPF_CORE_READ(tp, bytes_sent) - BPF_CORE_READ(tp, bytes_retrans) -
	       (u32)(BPF_CORE_READ(tp, snd_nxt) - BPF_CORE_READ(tp, snd_una));
	if (!was)
		found_open(s, &h, data, BPF_CORE_READ(tp, bytes_acked));
	if (h.state == TCP_LISTEN)
		note_listener(sk, s, (u64)sk);
	tell_holder(ctx->meta->seq, &h, s, was, s->id, BPF_CORE_READ(sk, __sk_common.skc_cookie.counter));
	return 0;
}

/* Written by a run of sample_clock. */
u64 clock_boot_ns = 0;
u64 clock_jiffies = 0;

/* Two samples give the kernel's HZ, which its configuration may not tell. A socket
 * filter, which user space can run without a socket (BPF_PROG_TEST_RUN). */
SEC("socket")
int sample_clock(void *ctx)
{
	clock_boot_ns = bpf_ktime_get_boot_ns();
	clock_jiffies = bpf_jiffies64();
	return 0;
}

/* Programs that call what older kernels refuse; loaded to see, and never attached. */
SEC("tp_btf/tcp_destroy_sock")
int try__store(u64 *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return bpf_sk_storage_get(&sock_owners, (struct sock *)ctx[0], NULL, 0) && task->tgid;
}

SEC("tp_btf/tcp_destroy_sock")
int try__ask_cookie(u64 *ctx)
{
	return bpf_get_socket_cookie((struct sock *)ctx[0]);
}

SEC("tp_btf/tcp_destroy_sock")
int try__read_regs(u64 *ctx)
{
	return bpf_task_pt_regs(bpf_get_current_task_btf()) != 0;
}

/* Empty programs on the busiest hooks: the floors that make bench compares with. */
SEC("tp_btf/kfree_skb")
int empty__kfree_skb(u64 *ctx)
{
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int empty__inet_sock_set_state(u64 *ctx)
{
	return 0;
}
