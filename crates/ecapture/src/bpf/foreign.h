/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * Calls on foreign stacks: user space is told which function is called so, and
 * from where, and probes the instructions by which it returns, or those to which
 * it returns, for that process. There a call is found by its stack pointer.
 */
#ifndef ECAPTURE_FOREIGN_H
#define ECAPTURE_FOREIGN_H

/* From where calls came, and whether their returns are probed. User space sets it. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct foreign_site);
	__type(value, __u8);
} foreign_sites SEC(".maps");

/* Tells user space of them. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536); /* a page of any architecture */
} foreign_news SEC(".maps");

struct foreign_call {
	struct frame frame;
	struct foreign_key outer; /* the call that this one is part of */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct foreign_key);
	__type(value, struct foreign_call);
} foreign_calls SEC(".maps");

#define MIX(hash, value) (((hash) + (value)) * 0x9e3779b97f4a7c15)

static __always_inline __u64 caller_hash(struct pt_regs *ctx)
{
#if defined(__TARGET_ARCH_x86)
	__u64 hash = MIX(MIX(MIX(0, ctx->bx), ctx->bp), ctx->r12);

	return MIX(MIX(MIX(hash, ctx->r13), ctx->r14), ctx->r15);
#else
	__u64 *regs = ctx->user_regs.regs;
	__u64 hash = MIX(MIX(MIX(MIX(0, regs[19]), regs[20]), regs[21]), regs[22]);

	hash = MIX(MIX(MIX(MIX(hash, regs[23]), regs[24]), regs[25]), regs[26]);
	return MIX(MIX(MIX(hash, regs[27]), regs[28]), regs[29]);
#endif
}

/* `popped`: bytes that the stack pointer is above that of the entry. */
static __always_inline struct foreign_key foreign_key(struct pt_regs *ctx, struct thread *thread,
						      __u64 popped)
{
	struct foreign_key key = {
		.sp = PT_REGS_SP(ctx) - popped,
		.caller = caller_hash(ctx),
		.pid = thread->id >> 32,
	};

	return key;
}

/* The thread's last one, if something that happens at this stack pointer is part of it. */
static __always_inline struct foreign_call *foreign_around(struct thread *thread, __u64 sp)
{
	if (thread->foreign.sp - sp >= CALL_DEPTH)
		return 0;
	return bpf_map_lookup_elem(&foreign_calls, &thread->foreign);
}

static __always_inline __u64 return_address(struct pt_regs *ctx)
{
	__u64 address = 0;

#if defined(__TARGET_ARCH_x86)
	bpf_probe_read_user(&address, sizeof(address), (void *)PT_REGS_SP(ctx));
#else
	address = PT_REGS_RET(ctx);
#endif
	return address;
}

/* Whether the end of such a call will be seen. */
static __always_inline bool foreign_is_followed(struct pt_regs *ctx, struct thread *thread)
{
	struct foreign_site key = {
		.pid = thread->id >> 32,
		.hook = HOOK_NUMBER(bpf_get_attach_cookie(ctx)),
		.to = return_address(ctx) - PT_REGS_IP(ctx),
	};
	__u8 *is_followed = bpf_map_lookup_elem(&foreign_sites, &key);
	__u8 no = 0;

	if (is_followed)
		return *is_followed;
	if (!bpf_ringbuf_output(&foreign_news, &key, sizeof(key), 0))
		bpf_map_update_elem(&foreign_sites, &key, &no, BPF_NOEXIST);
	return false;
}

#endif
