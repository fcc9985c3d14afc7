/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* storage.h: what is remembered of a socket, and a number that names it. Where
 * tracing programs may not use socket storage (5.10), or ask for cookies (before
 * 5.12), a map by address and numbers of our own stand in. The verifier knows the
 * constants and looks at one of each pair of branches. */
#ifndef RSTWHY_STORAGE_H
#define RSTWHY_STORAGE_H

static __always_inline struct sock_owner *last_by_address(u64 address)
{
	return bpf_map_lookup_elem(&owners_by_address, &address);
}

static __always_inline struct sock_owner *by_address(u64 address)
{
	struct sock_owner *s = last_by_address(address);

	return s && !s->gone ? s : NULL;
}

/* stored_at gives what is remembered of the socket at this address, or NULL. */
static __always_inline struct sock_owner *stored_at(struct sock *sk, u64 address)
{
	if (can_store)
		return bpf_sk_storage_get(&sock_owners, sk, NULL, 0);
	return by_address(address);
}

static __always_inline struct sock_owner *stored(struct sock *sk)
{
	return stored_at(sk, (u64)sk);
}

/* stored_of_orphan: an orphan's socket is destroyed before its last RST is sent
 * (tcp_done in tcp_rcv_state_process), and nothing else has its address yet. */
static __always_inline struct sock_owner *stored_of_orphan(struct sock *sk, u64 address)
{
	if (can_store)
		return bpf_sk_storage_get(&sock_owners, sk, NULL, 0);
	return last_by_address(address);
}

/* new_id numbers a socket. */
static __always_inline u64 new_id(void)
{
	u32 zero = 0;
	struct busy *cpu = bpf_map_lookup_elem(&busy_cpus, &zero);

	if (!cpu)
		return 0;
	cpu->ids++;
	return (u64)(bpf_get_smp_processor_id() + 1) << 32 | cpu->ids;
}

/* store gives what is remembered, made where there is nothing. */
static __always_inline struct sock_owner *store(struct sock *sk)
{
	struct sock_owner none = {}, *s;
	u64 key = (u64)sk;

	if (can_store) {
		s = bpf_sk_storage_get(&sock_owners, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	} else {
		s = by_address(key);
		if (!s) {
			bpf_map_update_elem(&owners_by_address, &key, &none, BPF_ANY);
			s = by_address(key);
		}
	}
	if (s && !can_ask_cookie && !s->id)
		s->id = new_id();
	return s;
}

/* identity names the socket as long as it lives, and in its tombstone. Where the
 * kernel has no cookie for us, a socket that nothing is remembered of is named by
 * its address, scrambled; 0: something is remembered of it. The verifier takes no
 * arithmetic with sk itself. */
static __always_inline u64 identity(struct sock *sk, const struct sock_owner *s, u64 address)
{
	if (can_ask_cookie)
		return bpf_get_socket_cookie(sk);
	if (s)
		return s->id;
	return (address ^ id_secret) * 0x9e3779b97f4a7c15ULL;
}

static __always_inline void listener_key(struct listener_key *k, struct tcp_sock *tp)
{
	struct tuple t = {};

	sock_tuple(&t, &tp->inet_conn.icsk_inet);
	__builtin_memcpy(k->addr, t.local_addr, 16);
	k->netns = t.netns;
	k->port = t.local_port;
}

/* note_listener and forget_listener keep the listeners by what they are bound to. */
static __always_inline void note_listener(struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct listener_key key = {};
	u64 address = (u64)sk, *known;

	if (!tp)
		return;
	listener_key(&key, tp);
	known = bpf_map_lookup_elem(&listeners, &key);
	if (known && *known != address)
		address = 0;
	bpf_map_update_elem(&listeners, &key, &address, BPF_ANY);
}

static __always_inline void forget_listener(struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct listener_key key = {};
	u64 *known;

	if (!tp)
		return;
	listener_key(&key, tp);
	known = bpf_map_lookup_elem(&listeners, &key);
	if (known && *known == (u64)sk)
		bpf_map_delete_elem(&listeners, &key);
}

/* inherit does for a child what cloning does to its storage. It is still bound as
 * its listener (inet_csk_clone_lock sets the state first). */
static __always_inline void inherit(struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct listener_key key = {};
	struct sock_owner *s;
	u64 *listener, at, child = (u64)sk;

	if (can_store || !tp)
		return;
	bpf_map_delete_elem(&owners_by_address, &child);
	listener_key(&key, tp);
	listener = bpf_map_lookup_elem(&listeners, &key);
	if (!listener || !*listener)
		return;
	at = *listener;
	s = bpf_map_lookup_elem(&owners_by_address, &at);
	if (s)
		bpf_map_update_elem(&owners_by_address, &child, s, BPF_ANY);
}

/* renumber: a child is another socket than the listener whose storage it has. */
static __always_inline void renumber(struct sock *sk)
{
	struct sock_owner *s;

	if (can_ask_cookie)
		return;
	s = stored(sk);
	if (s)
		s->id = new_id();
}

/* forget: the address may soon be another socket's. */
static __always_inline void forget(struct sock *sk)
{
	struct sock_owner *s;

	if (can_store)
		return;
	s = last_by_address((u64)sk);
	if (s)
		s->gone = 1;
}

#endif
