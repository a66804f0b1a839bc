/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * Calls on foreign stacks: user space is told which function is called so, and
 * probes the instructions at which it returns, for that process. There the
 * stack pointer is the one that the call began with, by which it is found.
 */
#ifndef ECAPTURE_FOREIGN_H
#define ECAPTURE_FOREIGN_H

/* Hooks that were called on foreign stacks: whether their returns are probed. User space sets it. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct foreign_hook);
	__type(value, __u8);
} foreign_hooks SEC(".maps");

/* Tells user space of them. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536); /* a page of any architecture */
} foreign_news SEC(".maps");

struct foreign_key {
	__u64 sp;
	__u32 pid; /* not the thread: a coroutine may go on in another one */
	__u32 pad;
};

struct foreign_call {
	struct frame frame;
	__u64 outer; /* where the call began that this one is part of; 0: none */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct foreign_key);
	__type(value, struct foreign_call);
} foreign_calls SEC(".maps");

static __always_inline struct foreign_call *foreign_at(struct thread *thread, __u64 sp)
{
	struct foreign_key key = { .sp = sp, .pid = thread->id >> 32 };

	return bpf_map_lookup_elem(&foreign_calls, &key);
}

/* Whether the end of such a call will be seen. */
static __always_inline bool foreign_is_followed(struct thread *thread, __u64 hook)
{
	struct foreign_hook key = { .pid = thread->id >> 32, .hook = HOOK_NUMBER(hook) };
	__u8 *is_followed = bpf_map_lookup_elem(&foreign_hooks, &key);
	__u8 no = 0;

	if (is_followed)
		return *is_followed;
	if (!bpf_ringbuf_output(&foreign_news, &key, sizeof(key), 0))
		bpf_map_update_elem(&foreign_hooks, &key, &no, BPF_NOEXIST);
	return false;
}

#endif
