/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * What a thread is doing: the TLS calls it is inside of, and the socket that
 * it touched there.
 *
 * A frame is found again by its stack pointer, not by order: a call may never
 * return (longjmp, exit), calls nest (TLS inside TLS), and the same call may be
 * seen through two attachments of one file; the second finds nothing to report.
 */
#ifndef ECAPTURE_THREAD_H
#define ECAPTURE_THREAD_H

#define FRAMES 4 /* a power of two */
/* What happens further below a call's stack pointer is not part of it: a coroutine that waits inside of a call has another stack. */
#define CALL_DEPTH 65536
#define TIED_BITS 6
#define TIED (1 << TIED_BITS)

struct frame {
	__u64 sp; /* 0: free */
	__u64 object;
	__u64 buffer;
	__u64 length;
	__u64 out;
	__u64 hook;
	__u64 time;
	__u32 untied; /* its socket is not known yet */
	__u16 saw_socket; /* thread.peer is the socket that this call used last */
	__u16 reported; /* a call inside of it has reported its bytes */
};

/* The copy of one call's bytes. Not on the stack: there the verifier would follow each value through every round. */
struct chunks {
	struct data_event head; /* of the next chunk */
	__u64 buffer;
	__u64 left;
	__u64 vectors; /* the iovec that comes next */
	__u64 vectors_left;
	__u64 here; /* bytes left in the one before */
};

/* A part of a thread's own stack that is known to be in use: [low, high). */
struct own_stack {
	__u64 low;
	__u64 high;
	__u64 space; /* the address space that it is in: exec changes it */
};

/*
 * A call on a foreign stack, found again at its end. Not by the thread: a
 * coroutine may go on in another one. Not by the stack pointer alone: stacks
 * that are copied away (greenlets) have calls in progress at the same place.
 */
struct foreign_key {
	__u64 sp; /* 0: none */
	__u64 caller; /* hash of the registers that a function leaves as they were */
	__u32 pid;
	__u32 pad;
};

/* A secret that a thread computes (secret.h). */
struct due {
	__u64 object; /* 0: none */
	__u64 context; /* of the MAC that it is; 0: not known yet */
	__u32 length; /* that it has to have */
	__u32 pad;
	char label[LABEL_LEN];
	char computed[LABEL_LEN];
	__u8 client_random[RANDOM_LEN];
};

struct thread {
	__u64 id; /* process and thread id */
	struct own_stack own_stack;
	struct foreign_key foreign; /* its last call on a foreign stack */
	struct frame frames[FRAMES];
	struct chunks chunks;
	__u32 next; /* slot that is taken when none is free */
	__u32 depth; /* frames in use */
	__u32 slot; /* scratch of frame_at */
	__u32 untied; /* a call in progress has no known socket */
	__u64 tied[TIED]; /* objects whose socket was reported; a cache, found by address */
	struct peer peer;
	struct due due;
};

#ifdef ECAPTURE_LEGACY
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct thread);
} threads SEC(".maps");

/* A zeroed thread, too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct thread);
} blank SEC(".maps");

static __always_inline struct thread *thread_find(void)
{
	__u64 id = bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&threads, &id);
}

static __always_inline struct thread *thread_get(void)
{
	struct thread *thread = thread_find();
	__u64 id = bpf_get_current_pid_tgid();
	__u32 zero = 0;

	if (thread)
		return thread;
	thread = bpf_map_lookup_elem(&blank, &zero);
	if (!thread)
		return 0;
	bpf_map_update_elem(&threads, &id, thread, BPF_ANY);
	thread = bpf_map_lookup_elem(&threads, &id);
	if (thread)
		thread->id = id;
	return thread;
}
#else
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread);
} threads SEC(".maps");

static __always_inline struct thread *thread_find(void)
{
	return bpf_task_storage_get(&threads, bpf_get_current_task_btf(), 0, 0);
}

static __always_inline struct thread *thread_get(void)
{
	struct thread *thread = bpf_task_storage_get(&threads, bpf_get_current_task_btf(), 0,
						     BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (thread && !thread->id)
		thread->id = bpf_get_current_pid_tgid();
	return thread;
}
#endif

/* The stack pointer that call_enter saw, as seen by call_exit. */
#if defined(__TARGET_ARCH_x86)
#define SP_AT_ENTRY(ctx) (PT_REGS_SP(ctx) - 8) /* `ret` took the return address */
#else
#define SP_AT_ENTRY(ctx) PT_REGS_SP(ctx)
#endif

/* The slot of the call that was entered with this stack pointer (0: a free one); FRAMES: none. */
static __always_inline __u32 frame_slot(const struct thread *thread, __u64 sp)
{
	__u32 slot = FRAMES;

#pragma unroll
	for (__u32 i = 0; i < FRAMES; i++) {
		if (thread->frames[i].sp == sp)
			slot = i;
	}
	return slot;
}

/*
 * Through memory, so that the verifier forgets which slot it is and follows one
 * path from here instead of one for each slot.
 */
static __always_inline struct frame *frame_at(struct thread *thread, __u32 slot)
{
	*(volatile __u32 *)&thread->slot = slot;
	return &thread->frames[*(volatile __u32 *)&thread->slot & (FRAMES - 1)];
}

/* Fibonacci hashing: objects are a few KiB apart, at addresses that are multiples of 16. */
static __always_inline __u64 *tied_slot(struct thread *thread, __u64 object)
{
	return &thread->tied[object * 0x9e3779b97f4a7c15 >> (64 - TIED_BITS)];
}

/*
 * Calls in progress whose socket is not known, on the whole machine. While
 * there is none, as nearly always, the socket programs return at once. A call
 * that never returns leaves it too high, which costs time and nothing else.
 */
__u64 untied_calls;

static __always_inline void await_socket(struct thread *thread)
{
	thread->untied = 1;
	__sync_fetch_and_add(&untied_calls, 1);
}

static __always_inline void await_no_socket(void)
{
	__sync_fetch_and_add(&untied_calls, -1);
}

static __always_inline struct frame *frame_push(struct thread *thread, __u64 sp)
{
	struct frame *frame;
	__u32 slot = 0;

	if (!thread->depth) { /* nearly always */
		thread->depth = 1;
		thread->untied = 0;
	} else {
		slot = frame_slot(
			thread, sp); /* found: it never returned, or a second attachment sees it */
		if (slot == FRAMES) {
			slot = frame_slot(thread, 0);
			if (slot == FRAMES)
				slot = thread->next++;
			else
				thread->depth++;
		}
	}
	frame = frame_at(thread, slot);
	if (frame->sp) { /* it never returned */
		if (frame->untied)
			await_no_socket();
		if (frame->sp != sp)
			count(COUNT_NO_STATE, 0);
	}
	frame->sp = sp;
	frame->saw_socket = 0;
	frame->reported = 0;
	return frame;
}

/* The frame stays readable until the next push. */
static __always_inline struct frame *frame_pop(struct thread *thread, __u64 sp)
{
	struct frame *frame;
	__u32 slot = 0;

	if (thread->frames[0].sp != sp) {
		slot = frame_slot(thread, sp);
		if (slot == FRAMES)
			return 0;
	}
	frame = frame_at(thread, slot);
	frame->sp = 0;
	if (thread->depth)
		thread->depth--;
	return frame;
}

/* A handshake moves none. */
static __always_inline bool same_bytes(const struct frame *outer, const struct frame *inner)
{
	return outer->object == inner->object && HOOK_SENT(outer->hook) == HOOK_SENT(inner->hook) &&
	       HOOK_RESULT(inner->hook) != RESULT_OPEN;
}

/*
 * Calls around this one that move bytes of the same object in the same
 * direction move these very bytes: SSL_write_early_data calls SSL_write_ex.
 * The inner one reports them, so that a call that never returns hides nothing.
 */
static __always_inline void mark_reported(struct thread *thread, const struct frame *inner)
{
#pragma unroll
	for (int i = 0; i < FRAMES; i++) {
		struct frame *outer = &thread->frames[i];

		if (outer->sp && same_bytes(outer, inner))
			outer->reported = 1;
	}
}

/* A call that sends what counted when it was taken. */
static __always_inline bool is_flush(const struct frame *frame, __u64 object)
{
	return frame->sp && frame->object == object && HOOK_RESULT(frame->hook) == RESULT_FLUSH;
}

static __always_inline bool inside_flush(const struct thread *thread, __u64 object)
{
	bool inside = false;

#pragma unroll
	for (int i = 0; i < FRAMES; i++)
		inside |= is_flush(&thread->frames[i], object);
	return inside;
}

#endif
