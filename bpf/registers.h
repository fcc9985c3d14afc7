/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* registers.h: the arguments of a function, for programs on kprobes. One object
 * serves all architectures: the kernel's own types tell which registers there are
 * (internal/probe/attach.go, registersKnown). */
#ifndef RSTWHY_REGISTERS_H
#define RSTWHY_REGISTERS_H

struct pt_regs___amd64_arguments {
	unsigned long di, si, dx, cx;
} __attribute__((preserve_access_index));

struct pt_regs___arm64_arguments {
	u64 regs[31];
} __attribute__((preserve_access_index));

struct registers {
	u64 arg[4];
};

static __always_inline bool registers(struct registers *r, void *ctx)
{
	struct pt_regs___amd64_arguments *amd64 = ctx;
	struct pt_regs___arm64_arguments *arm64 = ctx;

	if (bpf_core_field_exists(amd64->di)) {
		r->arg[0] = BPF_CORE_READ(amd64, di);
		r->arg[1] = BPF_CORE_READ(amd64, si);
		r->arg[2] = BPF_CORE_READ(amd64, dx);
		r->arg[3] = BPF_CORE_READ(amd64, cx);
		return true;
	}
	if (bpf_core_field_exists(arm64->regs)) {
		r->arg[0] = BPF_CORE_READ(arm64, regs[0]);
		r->arg[1] = BPF_CORE_READ(arm64, regs[1]);
		r->arg[2] = BPF_CORE_READ(arm64, regs[2]);
		r->arg[3] = BPF_CORE_READ(arm64, regs[3]);
		return true;
	}
	return false;
}

#endif
