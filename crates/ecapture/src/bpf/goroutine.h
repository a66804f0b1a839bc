/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * What goroutines are doing: the calls that they are inside of, and the sockets
 * of those. A goroutine may leave a call on another thread than it entered it on,
 * and its stack moves when it grows: a call is found again by the goroutine and
 * its distance from the top of that stack.
 */
#ifndef ECAPTURE_GOROUTINE_H
#define ECAPTURE_GOROUTINE_H

struct call_key {
	__u64 goroutine;
	__u64 depth;
	__u32 pid;
	__u32 pad;
};

/* A call that never returns (panic, end of the program) stays until others need its place. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct call_key);
	__type(value, struct frame);
} goroutine_calls SEC(".maps");

struct goroutine {
	__u64 address;
	__u32 pid;
	__u32 pad;
};

/* Of goroutines inside of a call whose socket was not reported: the socket, if it is known. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct goroutine);
	__type(value, struct peer);
} goroutine_sockets SEC(".maps");

#if defined(__TARGET_ARCH_x86)
#define GOROUTINE(registers) ((registers)->r14)
#elif defined(__TARGET_ARCH_arm64)
#define GOROUTINE(registers) ((registers)->user_regs.regs[28])
#endif

#endif
