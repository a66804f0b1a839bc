/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
#ifndef ECAPTURE_BOUNDS_H
#define ECAPTURE_BOUNDS_H

/*
 * min(value, max) that the verifier can follow: clang otherwise compares one
 * copy of the value and passes another.
 */
#define clamp_to(value, max)                                                             \
	({                                                                               \
		__u64 clamped = (value);                                                 \
		asm volatile("if %0 <= %1 goto +1\n%0 = %1" : "+r"(clamped) : "i"(max)); \
		clamped;                                                                 \
	})

/* The same, and at least 1: bpf_skb_load_bytes of Linux < 6.2 takes no length that may be 0. */
#define clamp_to_some(value, max)                                       \
	({                                                              \
		__u64 some = clamp_to(value, max);                      \
		asm volatile("if %0 > 0 goto +1\n%0 = 1" : "+r"(some)); \
		some;                                                   \
	})

#endif
