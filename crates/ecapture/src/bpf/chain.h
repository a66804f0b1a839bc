/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Follows the ways to values that event.h describes. */
#ifndef ECAPTURE_CHAIN_H
#define ECAPTURE_CHAIN_H

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
	/* Not as a load from the context, which has to be at a constant offset. */
	if (chain->base >= 0)
		bpf_probe_read_kernel(value, sizeof(*value), (void *)ctx + (chain->base & 0x1f8));
	return follow(chain, value);
}

#endif
