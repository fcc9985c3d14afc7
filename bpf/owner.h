/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* owner.h: which process acts on a socket, where that can be known. */
#ifndef RSTWHY_OWNER_H
#define RSTWHY_OWNER_H

static __always_inline bool sock_flag(unsigned long flags, int bit)
{
	return flags & (1UL << bit);
}

/* TASK reads a field of current: by a load where the kernel gives a typed pointer
 * to it, else (5.10) by a probe read. */
#define TASK(task, ...) (can_store ? TASK_LOAD(task, __VA_ARGS__) : BPF_CORE_READ(task, __VA_ARGS__))
#define TASK_LOAD(...) ___apply(___arrow, ___narg(__VA_ARGS__))(__VA_ARGS__)

static __always_inline struct task_struct *current_task(void)
{
	if (can_store)
		return bpf_get_current_task_btf();
	return (struct task_struct *)bpf_get_current_task();
}

/* acting_task returns the task that is in a system call on sk, or NULL. The
 * socket lock is owned by a task only between lock_sock and release_sock
 * (include/net/sock.h sock_owned_by_user), and softirqs put aside what arrives
 * meanwhile, so an owned lock means that current is its holder. Kernel threads
 * close on behalf of others (delayed_fput, io_uring, MPTCP's worker). */
static __always_inline struct task_struct *acting_task(struct sock *sk)
{
	struct task_struct *task;

	if (!sk->sk_lock.owned)
		return NULL;
	task = current_task();
	if (TASK(task, flags) & PF_KTHREAD)
		return NULL;
	return task;
}

static __always_inline void fill_comm(struct owner *o, struct task_struct *leader)
{
	if (can_store) {
		*(u64 *)o->comm = *(u64 *)leader->comm;
		*(u64 *)(o->comm + 8) = *(u64 *)(leader->comm + 8);
	} else {
		BPF_CORE_READ_INTO(&o->comm, leader, comm);
	}
}

static __always_inline void fill_owner(struct owner *o, struct task_struct *task)
{
	struct task_struct *leader = TASK(task, group_leader);

	o->tgid = TASK(task, tgid);
	o->start_ns = TASK(leader, start_boottime);
	o->cgroup_id = bpf_get_current_cgroup_id();
	o->uid = bpf_get_current_uid_gid();
	fill_comm(o, leader);
}

/* ending tells how task gives up a socket now. do_exit sets exit_code before
 * it closes files; a group exit (exit_group, fatal signal) leaves its code in
 * signal_struct (kernel/exit.c, kernel/signal.c). */
static __always_inline u8 ending(struct task_struct *task, s32 *code)
{
	*code = 0;
	if (!(TASK(task, flags) & PF_EXITING))
		return ENDED_CLOSE;
	*code = TASK(task, signal, group_exit_code);
	if (!*code)
		*code = TASK(task, exit_code);
	return TASK(task, signal, oom_mm) ? ENDED_OOM : ENDED_EXIT;
}

/* registers_of gives current's registers at the entry into the kernel, which are
 * the last thing on its stack (asm/processor.h task_pt_regs of amd64 and arm64). */
static __always_inline struct pt_regs *registers_of(struct task_struct *task)
{
	if (can_read_regs)
		return (struct pt_regs *)bpf_task_pt_regs(task);
	return TASK(task, stack) + stack_bytes - bpf_core_type_size(struct pt_regs);
}

/* system_call gives the number of the system call that current is in. */
static __always_inline u32 system_call(struct task_struct *task)
{
	struct pt_regs *regs = registers_of(task);

	if (bpf_core_field_exists(regs->orig_ax))
		return BPF_CORE_READ(regs, orig_ax);
	return BPF_CORE_READ((struct pt_regs___arm64 *)regs, syscallno);
}

/* onlooker tells a task that merely looked at another process's descriptors
 * when the holder closed: the file's last reference is dropped in its context
 * (fs/proc/fd.c proc_fd_link, kernel/bpf/task_iter.c), and so is the socket. */
static __always_inline bool onlooker(struct task_struct *task)
{
	u32 nr;
	int i;

	if (TASK(task, flags) & PF_EXITING)
		return false;
	if (TASK(task, tgid) == self_tgid)
		return true;
	nr = system_call(task);
	for (i = 0; i < READING_CALLS; i++)
		if (reading_calls[i] == nr)
			return true;
	return false;
}

static __always_inline void announce(struct owner *o, u32 netns)
{
	struct process_key key = { .start_ns = o->start_ns, .tgid = o->tgid };
	struct closer_event *e;
	u32 zero = 0, one = 1;
	struct busy *cpu = bpf_map_lookup_elem(&busy_cpus, &zero);

	if (!cpu || (cpu->announced_start_ns == o->start_ns && cpu->announced_tgid == o->tgid))
		return;
	cpu->announced_start_ns = o->start_ns;
	cpu->announced_tgid = o->tgid;
	if (bpf_map_lookup_elem(&processes, &key))
		return;
	bpf_map_update_elem(&processes, &key, &one, BPF_ANY);
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return;
	__builtin_memset(e, 0, sizeof(*e));
	e->kind = RECORD_PROCESS;
	e->netns = netns;
	e->time_ns = bpf_ktime_get_boot_ns();
	e->owner = *o;
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

static __always_inline void from_storage(struct reset_event *e, struct sock_owner *s)
{
	e->owner = s->owner;
	e->how = s->how;
	e->opened_ns = s->opened_ns;
	e->closed_ns = s->closed_ns;
	e->ended = s->ended;
	e->exit_code = s->exit_code;
	if (e->state == TCP_CLOSE)
		e->prev_state = s->prev_state;
	if (s->active)
		e->flags |= RESET_ACTIVE_OPEN;
	if (s->passive || (s->how == OWNER_LISTEN && e->state != TCP_LISTEN))
		e->flags |= RESET_PASSIVE_OPEN;
	if (s->how == OWNER_LISTEN && e->state != TCP_LISTEN && e->prev_state != TCP_LISTEN)
		e->how = OWNER_INHERIT;
}

static __always_inline void from_tombstone(struct reset_event *e, const struct tuple *t)
{
	struct tombstone *b = bpf_map_lookup_elem(&tombstones, t);

	if (!b)
		return;
	e->flags |= RESET_TOMBSTONE;
	e->flags &= ~RESET_DOUBT; /* about the connection that is gone, not about the listener */
	if (b->active_open == 1)
		e->flags |= RESET_ACTIVE_OPEN;
	if (b->active_open == 2)
		e->flags |= RESET_PASSIVE_OPEN;
	e->owner = b->owner;
	e->how = b->how;
	e->cookie = b->cookie;
	e->opened_ns = b->opened_ns;
	e->closed_ns = b->closed_ns;
	e->ended = b->ended;
	e->exit_code = b->exit_code;
	e->left_state = b->left_state;
}

/* doubt asks whoever closes the socket next to tell (tcp_destroy_sock): a
 * stored owner may have handed the socket on. After close nobody can hold it. */
static __always_inline void doubt(struct reset_event *e)
{
	if (e->flags & RESET_HAS_FILE)
		e->flags |= RESET_DOUBT;
}

#endif
