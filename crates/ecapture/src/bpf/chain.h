/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Follows the ways to values that event.h describes. */
#ifndef ECAPTURE_CHAIN_H
#define ECAPTURE_CHAIN_H

/* False: this kernel does not tell. */
static __always_inline bool thread_pointer(__u64 *value)
{
#ifdef ECAPTURE_NO_BTF
	return false;
#else
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

#if defined(__TARGET_ARCH_x86)
	*value = BPF_CORE_READ(task, thread.fsbase);
#elif defined(__TARGET_ARCH_arm64)
	*value = BPF_CORE_READ(task, thread.uw.tp_value);
#endif
	return true;
#endif
}

/* The value at the end of a chain that starts at `value`. False: its memory can not be read. */
static __always_inline bool follow(const struct chain *chain, __u64 *value)
{
#pragma unroll
	for (__u32 i = 0; i < MOST_LOADS; i++) {
		if (i < chain->loads &&
		    bpf_probe_read_user(value, sizeof(*value), (void *)*value + chain->load[i]))
			return false;
	}
	*value += chain->add;
	return true;
}

/* The same from the registers at the probe. */
static __always_inline bool find(struct pt_regs *ctx, const struct chain *chain, __u64 *value)
{
	*value = 0;
	if (chain->base == CHAIN_THREAD && !thread_pointer(value))
		return false;
	/* Not as a load from the context, which has to be at a constant offset. */
	if (chain->base >= 0)
		bpf_probe_read_kernel(value, sizeof(*value), (void *)ctx + (chain->base & 0x1f8));
	return follow(chain, value);
}

#endif
