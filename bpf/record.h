/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* record.h: a reset's way from the hook to user space: counted, filtered, told
 * in full or counted in a storm. */
#ifndef RSTWHY_RECORD_H
#define RSTWHY_RECORD_H

static __always_inline struct counters *counter(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&counts, &zero);
}

static __always_inline struct busy *this_cpu(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&busy_cpus, &zero);
}

/* hit counts the hook's hit in its network namespace. */
static __always_inline void hit(u32 netns, u8 hook)
{
	struct netns_hits *h = bpf_map_lookup_elem(&netns_counts, &netns);

	if (!h) {
		struct netns_hits none = {};

		bpf_map_update_elem(&netns_counts, &netns, &none, BPF_NOEXIST);
		h = bpf_map_lookup_elem(&netns_counts, &netns);
		if (!h)
			return;
	}
	h->hits[hook]++;
}

/* admit counts the hit and tells whether it passes the filters. A received
 * reset whose socket was closed or shut down both ways may be no RST at all
 * (tcp_rcv_state_process calls tcp_reset for data after close); user space
 * joins it with the send that follows, so that send passes whatever the
 * direction filter says. */
static __always_inline bool admit(struct counters *c, const struct tuple *t, u8 hook, bool joins)
{
	bool sent = hook == HOOK_SEND || hook == HOOK_FIREWALL;

	c->seen[hook]++;
	hit(t->netns, hook);
	if ((sent ? filters.no_sent && !joins : filters.no_received) || !wanted(t) || own(t)) {
		c->filtered[hook]++;
		return false;
	}
	return true;
}

/* begin takes the CPU's draft of this hook and fills in what every record has. */
static __always_inline struct draft *begin(u8 hook, const struct tuple *t, const struct segment *seg, u32 extra)
{
	u32 place = extra & RESET_RECOVERED ? hook + HOOKS : hook;
	struct draft *d = bpf_map_lookup_elem(&drafts, &place);
	struct reset_event *e;

	if (!d)
		return NULL;
	e = &d->event;
	__builtin_memset(e, 0, sizeof(*e));
	e->kind = RECORD_RESET;
	e->hook = hook;
	e->direction = hook == HOOK_SEND || hook == HOOK_FIREWALL ? DIRECTION_SENT : DIRECTION_RECEIVED;
	e->flags = extra;
	e->netns = t->netns;
	__builtin_memcpy(e->local_addr, t->local_addr, 16);
	__builtin_memcpy(e->peer_addr, t->peer_addr, 16);
	e->local_port = t->local_port;
	e->peer_port = t->peer_port;
	e->trigger_seq = seg->seq;
	e->trigger_ack = seg->ack;
	e->trigger_len = seg->len;
	e->trigger_flags = seg->flags;
	return d;
}

static __always_inline u8 shape(const struct reset_event *e)
{
	/* a FIN that nobody read is no data */
	s32 unread = e->rcv_nxt - e->copied_seq - !!(e->flags & RESET_PEER_FIN);

	return (unread > 0 && e->socket == SOCKET_FULL ? SHAPE_UNREAD : 0) | (e->probes_out ? SHAPE_PROBES : 0) |
	       (e->user_timeout_ms ? SHAPE_USER_TIMEOUT : 0) | (e->linger_jiffies ? SHAPE_LINGER_TIME : 0) |
	       (e->linger2 < 0 ? SHAPE_LINGER2 : 0) | (e->trigger_len ? SHAPE_SEGMENT_DATA : 0) |
	       (e->backlog > e->max_backlog ? SHAPE_OVERFLOW : 0) | (e->snd_nxt != e->snd_una ? SHAPE_UNACKED : 0);
}

static __always_inline u16 port_of(const struct storm_key *k)
{
	return k->local_port ? k->local_port : k->peer_port;
}

static __always_inline void fill_key(struct draft *d)
{
	const struct reset_event *e = &d->event;
	struct storm_key *k = &d->key;

	d->turn = *(volatile u32 *)&storm_turn;
	__builtin_memset(k, 0, sizeof(*k));
	k->owner_start_ns = e->owner.start_ns;
	k->owner_tgid = e->owner.tgid;
	__builtin_memcpy(k->peer_addr, e->peer_addr, 16);
	k->netns = e->netns;
	k->flags = e->flags & ~(RESET_RECOVERED | RESET_NAT);
	/* the port of the side that was connected to; the other's is one of thousands */
	if (e->flags & RESET_ACTIVE_OPEN || e->state == TCP_SYN_SENT)
		k->peer_port = e->peer_port;
	else
		k->local_port = e->local_port;
	k->reason = e->reason;
	k->drop_reason = e->drop_reason;
	k->hook = e->hook;
	k->direction = e->direction;
	k->socket = e->socket;
	k->state = e->state;
	k->prev_state = e->prev_state;
	k->tw_substate = e->tw_substate;
	k->left_state = e->left_state;
	k->trigger_flags = e->trigger_flags;
	k->ended = e->ended;
	k->shutdown = e->shutdown;
	k->how = e->how;
	k->effect = e->effect;
	k->shape = shape(e);
	k->side = d->turn & 1;
}

/* storm_of finds the storm of a draft in a map, or makes an empty one and
 * counts it in own and used. */
static __always_inline struct storm *storm_of(void *map, struct storm_key *key, struct draft *d, u32 *own, u32 *used)
{
	struct storm *s = bpf_map_lookup_elem(map, key);

	if (s)
		return s;
	d->storm.owner = d->event.owner;
	d->storm.count = 0;
	d->storm.first_ns = d->event.time_ns;
	d->storm.last_ns = d->event.time_ns;
	d->storm.exit_code = d->event.exit_code;
	d->storm.peer_port = d->event.peer_port;
	d->storm.pad = 0;
	d->storm.entries = 0;
	d->storm.entries_any = 0;
	__builtin_memcpy(d->storm.first_addr, d->key.peer_addr, 16);
	__builtin_memcpy(d->storm.last_addr, d->key.peer_addr, 16);
	d->storm.first_port = port_of(&d->key);
	d->storm.last_port = d->storm.first_port;
	d->storm.pad_port = 0;
	__sync_fetch_and_add(&storms_made, 1);
	/* another CPU may be first: then its entry serves */
	if (!bpf_map_update_elem(map, key, &d->storm, BPF_NOEXIST)) {
		__sync_fetch_and_add(own, 1);
		__sync_fetch_and_add(used, 1);
	}
	return bpf_map_lookup_elem(map, key);
}

static __always_inline bool add_to(struct storm *s, u64 now)
{
	if (!s)
		return false;
	__sync_fetch_and_add(&s->count, 1);
	s->last_ns = now;
	return true;
}

/* any_address takes the remote address out of a key, and leaves its family. */
static __always_inline void any_address(struct storm_key *k)
{
	static const u8 mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (!__builtin_memcmp(k->peer_addr, mapped, 12))
		__builtin_memset(k->peer_addr + 12, 0, 4);
	else
		__builtin_memset(k->peer_addr, 0, 16);
}

static __always_inline void any_port(struct storm_key *k)
{
	k->local_port = 0;
	k->peer_port = 0;
}

/* kind_of finds the entry of all resets that differ only in remote address and
 * port; first: it is made for this one. NULL: no room. */
static __always_inline struct storm *kind_of(struct draft *d, bool *first)
{
	u32 made = 0, used = 0;
	struct storm *s;

	d->kind = d->key;
	any_address(&d->kind);
	any_port(&d->kind);
	s = storm_of(&storms_kind, &d->kind, d, &made, &used);
	*first = made;
	return s;
}

/* may_grow: no kind takes more entries of a map than it leaves free, so that a
 * scan of ports, or one from many addresses, leaves room to the others' resets
 * (dynamic thresholds: Choudhury and Hahne, IEEE/ACM ToN 6(2), 1998). */
static __always_inline bool may_grow(u32 own, u32 used, u32 size)
{
	return used < size && own < size - used;
}

/* used_by is what is counted of the entries of the key's side. */
static __always_inline struct entries *used_by(const struct storm_key *k)
{
	return k->side ? &used_1 : &used_0;
}

/* has_room tells whether a storm of its own may be made for the reset. */
static __always_inline bool has_room(const struct storm *kind)
{
	return may_grow(kind ? kind->entries : 0, used_0.storms + used_1.storms, STORMS);
}

/* own_storm makes a storm of its own for the reset, or finds that another CPU
 * just has. */
static __always_inline struct storm *own_storm(struct draft *d, struct storm *kind)
{
	u32 nobody = 0;

	return storm_of(&storms, &d->key, d, kind ? &kind->entries : &nobody, &used_by(&d->key)->storms);
}

static __always_inline bool same_addr(const u8 *a, const u8 *b)
{
	return !__builtin_memcmp(a, b, 16);
}

/* one_port tells which of the two the resets of the kind have in common: one
 * port at which many addresses knock, or one address that tries many ports. A
 * scan and a flood may be one kind: each is known by the reset before. */
static __always_inline bool one_port(struct storm *kind, const struct storm_key *k)
{
	u16 port = port_of(k);
	bool is;

	if (!kind)
		return false;
	is = !same_addr(kind->first_addr, k->peer_addr) && !same_addr(kind->last_addr, k->peer_addr) &&
	     (kind->first_port == port || kind->last_port == port);
	__builtin_memcpy(kind->last_addr, k->peer_addr, 16);
	kind->last_port = port;
	return is;
}

/* any_of finds, or makes, the storm of all ports or of all addresses. */
static __always_inline struct storm *any_of(struct draft *d, struct storm *kind)
{
	bool port = one_port(kind, &d->key);
	struct storm_key *k = &d->key;
	u32 nobody = 0;
	struct storm *s;
	u16 local = k->local_port, peer = k->peer_port;

	any_port(k);
	s = bpf_map_lookup_elem(&storms_any, k);
	if (s)
		return s;
	if (port) {
		k->local_port = local;
		k->peer_port = peer;
		any_address(k);
		s = bpf_map_lookup_elem(&storms_any, k);
		if (s)
			return s;
	}
	if (!may_grow(kind ? kind->entries_any : 0, used_0.any + used_1.any, STORMS_ANY))
		return NULL;
	return storm_of(&storms_any, k, d, kind ? &kind->entries_any : &nobody, &used_by(k)->any);
}

/* aggregate counts a reset that has no storm yet: in one of its own, else
 * without the port, or the remote address, that is another one each time, else
 * without both, else only what it is. */
static __always_inline u32 aggregate(struct draft *d, struct storm *kind)
{
	u32 nobody = 0;
	u64 now = d->event.time_ns;

	if (has_room(kind) && add_to(own_storm(d, kind), now))
		return COUNTED_STORM;
	if (add_to(any_of(d, kind), now))
		return COUNTED_ANY;
	if (add_to(kind, now))
		return COUNTED_KIND;
	d->kind.owner_tgid = 0;
	d->kind.owner_start_ns = 0;
	d->kind.netns = 0;
	__builtin_memset(&d->event.owner, 0, sizeof(d->event.owner));
	return add_to(storm_of(&storms_rest, &d->kind, d, &nobody, &nobody), now) ? COUNTED_REST : COUNTED_NOWHERE;
}

/* doubted_of finds, or makes, the account of the owner that a counted draft is in
 * doubt about. NULL: it is in none, or there is no room. */
static __always_inline struct doubted *doubted_of(struct draft *d)
{
	struct doubt_key key = { .start_ns = d->key.owner_start_ns, .tgid = d->key.owner_tgid, .turn = d->turn };
	struct doubted none = {}, *o;

	if (!(d->key.flags & RESET_DOUBT) || d->counted_in == COUNTED_REST)
		return NULL;
	o = bpf_map_lookup_elem(&storm_doubts, &key);
	if (o)
		return o;
	bpf_map_update_elem(&storm_doubts, &key, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&storm_doubts, &key);
}

/* counted notes where the draft was counted, and asks whoever closes the socket
 * to confirm a stored owner. Where there is no room to note that, nobody can. */
static __always_inline void counted(struct draft *d, u8 hook, struct counters *c, struct sock_owner *s, u32 in)
{
	struct doubted *o;

	d->counted_in = in;
	if (in == COUNTED_NOWHERE) {
		c->lost[hook]++;
		return;
	}
	c->aggregated[hook]++;
	o = doubted_of(d);
	if (!o)
		return;
	__sync_fetch_and_add(&o->counted, 1);
	if (s)
		s->counted = 1 + d->turn;
	if (!storm_doubts_open)
		storm_doubts_open = 1;
}

/* uncount takes back a received reset that was none: tcp_reset ran, and the send
 * that follows on the same socket says that no RST had come (KERNEL.md, hazard 4). */
static __always_inline void uncount(struct busy *cpu, struct counters *c, struct sock_owner *s)
{
	u32 place = cpu->counted_place;
	struct draft *d = bpf_map_lookup_elem(&drafts, &place);
	struct storm *storm = NULL;
	struct doubted *o;

	cpu->counted_sk = 0;
	if (!d)
		return;
	if (d->counted_in == COUNTED_STORM)
		storm = bpf_map_lookup_elem(&storms, &d->key);
	else if (d->counted_in == COUNTED_ANY)
		storm = bpf_map_lookup_elem(&storms_any, &d->key);
	else if (d->counted_in == COUNTED_KIND)
		storm = bpf_map_lookup_elem(&storms_kind, &d->kind);
	else if (d->counted_in == COUNTED_REST)
		storm = bpf_map_lookup_elem(&storms_rest, &d->kind);
	if (!storm)
		return;
	__sync_fetch_and_add(&storm->count, -1);
	c->aggregated[HOOK_RECEIVE]--;
	c->joined[HOOK_RECEIVE]++;
	o = doubted_of(d);
	if (!o)
		return;
	__sync_fetch_and_add(&o->counted, -1);
	if (s)
		s->counted = 0;
}

/* take spends one of a budget; who finds it spent writes nothing, so that a
 * storm does not move the line between the CPUs. As many CPUs as look at once
 * may spend more: an atomic that returns the value needs Linux 5.12. */
static __always_inline bool take(u32 *used, u32 budget)
{
	if (*(volatile u32 *)used >= budget)
		return false;
	__sync_fetch_and_add(used, 1);
	return true;
}

/* free_place tells whether the record is among the first of this second, which are
 * told whatever they are. */
static __always_inline bool free_place(struct draft *d)
{
	u64 window = d->event.time_ns >> 30;

	if (!full_budget)
		return true;
	if (*(volatile u64 *)&budget_window != window) {
		budget_window = window;
		full_used = 0;
		kind_used = 0;
		new_used = 0;
	}
	return take(&full_used, full_budget);
}

static __always_inline bool tell(struct draft *d, u8 hook, struct counters *c, struct busy *cpu, struct sock_owner *s)
{
	struct reset_event *e = &d->event;

	e->seq = cpu->seq++;
	/* The doubt is there before the record: the socket may be closed at once. */
	if (e->flags & RESET_DOUBT) {
		if (s)
			s->doubt = 1;
		__sync_fetch_and_add(&doubts_made, 1);
	}
	if (!bpf_ringbuf_output(&events, e, sizeof(*e), BPF_RB_NO_WAKEUP)) {
		c->submitted[hook]++;
		return true;
	}
	if (e->flags & RESET_DOUBT)
		__sync_fetch_and_add(&doubts_made, -1);
	return false;
}

/* What finish is to do. */
enum telling {
	TELL_IF_ROOM, /* within the budgets */
	TELL,	      /* whatever they say */
	COUNT,
};

/* telling_of: a received reset that may be none is told only where there is room
 * for the send as well that would say so. */
static __always_inline u8 telling_of(const struct reset_event *e)
{
	const u32 room = 64 << 10; /* what other CPUs may take meanwhile */
	bool gone = e->flags & RESET_DEAD || e->shutdown == SHUTDOWN_MASK;

	return gone && bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > EVENTS_BYTES - room ? COUNT : TELL_IF_ROOM;
}

/* finish tells the record, or counts it. It returns whether it told it. */
static __always_inline bool finish(struct draft *d, u8 hook, struct counters *c, struct busy *cpu, struct sock_owner *s,
				   u8 telling)
{
	struct reset_event *e = &d->event;
	bool first = false, must;
	struct storm *storm;

	e->time_ns = bpf_ktime_get_boot_ns();
	e->cpu = bpf_get_smp_processor_id();
	must = telling == TELL || (telling == TELL_IF_ROOM && free_place(d));
	if (must && tell(d, hook, c, cpu, s))
		return true;
	fill_key(d);
	storm = bpf_map_lookup_elem(&storms, &d->key);
	if (storm) {
		add_to(storm, e->time_ns);
		counted(d, hook, c, s, COUNTED_STORM);
		return false;
	}
	storm = kind_of(d, &first);
	if (!must && telling != COUNT) {
		if (first && take(&kind_used, kind_budget)) {
			must = true;
		} else if (has_room(storm) && take(&new_used, new_budget)) {
			/* empty: the next like this one is only counted */
			must = own_storm(d, storm);
		}
		if (must && tell(d, hook, c, cpu, s))
			return true;
	}
	counted(d, hook, c, s, aggregate(d, storm));
	return false;
}

#endif
