// SPDX-License-Identifier: (MIT OR GPL-2.0)
/*
 * All that runs at functions of TLS libraries. The shape "secret" is in
 * secret.h. The shape "plaintext call": a function that moves plaintext between a
 * buffer and a TLS object. call_enter and call_exit run around it; what they
 * read is described by the attach cookie (event.h), so they know no library.
 *
 * Built three times: modern (task storage, bpf_loop, kfuncs), legacy, and
 * legacy for kernels without BTF, which reads no kernel structs.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "event.h"
#include "bounds.h"
#include "scope.h"
#include "thread.h"
#include "ring.h"
#include "stream.h"
#include "payload.h"
#include "chain.h"
#include "secret.h"
#ifndef ECAPTURE_LEGACY
#include "stack.h"
#include "foreign.h"
#endif

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Only to have these types in BTF, where a test compares them with event.rs. */
const struct stream_event *stream_event_type;
const struct peer_event *peer_event_type;
const struct close_event *close_event_type;
const struct secret_event *secret_event_type;
const struct object_event *object_event_type;
const struct foreign_site *foreign_site_type;

/* The empty asm keeps clang from merging the loads into one at a computed address, which is forbidden. */
#define LOADED(value)                            \
	({                                       \
		__u64 loaded = (value);          \
		asm volatile("" : "+r"(loaded)); \
		loaded;                          \
	})

static __always_inline __u64 argument(struct pt_regs *regs, __u32 number)
{
	switch (number) {
	case 1:
		return LOADED(PT_REGS_PARM1(regs));
	case 2:
		return LOADED(PT_REGS_PARM2(regs));
	case 3:
		return LOADED(PT_REGS_PARM3(regs));
	case 4:
		return LOADED(PT_REGS_PARM4(regs));
	case 5:
		return LOADED(PT_REGS_PARM5(regs));
	}
	return 0;
}

/* Without plaintext, calls matter that show that an object has keys which were not seen. */
static __always_inline bool is_wanted(struct pt_regs *ctx, __u32 pid)
{
	return settings.plaintext ||
	       !stream_is_keyed(pid, argument(ctx, HOOK_OBJECT(hook_of(ctx))));
}

/* The thread that makes a call; 0 if the call does not matter. */
static __always_inline struct thread *caller(struct pt_regs *ctx)
{
	struct thread *thread = thread_get();

	if (!thread) {
		count(COUNT_NO_STATE, 0);
		return 0;
	}
	if (!in_scope(thread->id >> 32) || !is_wanted(ctx, thread->id >> 32))
		return 0;
	return is_due(ctx, thread) ? thread : 0;
}

static __always_inline void fill_frame(struct frame *frame, struct pt_regs *ctx,
				       struct thread *thread)
{
	__u64 hook = hook_of(ctx);
	__u64 object = argument(ctx, HOOK_OBJECT(hook));

	frame->object = object;
	frame->buffer = argument(ctx, HOOK_BUFFER(hook));
	frame->length = argument(ctx, HOOK_LENGTH(hook));
	frame->out = argument(ctx, HOOK_OUT(hook));
	frame->hook = hook;
	frame->untied = settings.plaintext && HOOK_RESULT(hook) != RESULT_MAC &&
			*tied_slot(thread, object) != object;
	if (frame->untied)
		await_socket(thread);
	/* A peer may have its answer out before this call returns; what is received is there at the return. */
	if (HOOK_SENT(hook))
		frame->time = bpf_ktime_get_ns();
}

#define MSG_PEEK 2 /* PR_MSG_PEEK of NSPR, too */

/* The second word of a result. */
#if defined(__TARGET_ARCH_x86)
#define PT_REGS_SECOND(ctx) ((ctx)->dx)
#elif defined(__TARGET_ARCH_arm64)
#define PT_REGS_SECOND(ctx) ((ctx)->user_regs.regs[1])
#endif

/* Bytes that the call moved, or 1 for a handshake; 0: none, or it failed. */
static __always_inline __u64 moved(struct pt_regs *ctx, const struct frame *call)
{
	__s64 result = PT_REGS_RC(ctx);
	__u64 bytes = 0;

	switch (HOOK_RESULT(call->hook)) {
	case RESULT_FILE:
	case RESULT_RESUMED: /* compared with what was kept, too */
		return result > 0 ? result : 0;
	case RESULT_OPEN:
		return (__s32)result == 1;
	case RESULT_SIZE:
		if (result <= 0)
			return 0;
		if (!call->buffer)
			return result;
		bytes = result;
		break;
	case RESULT_FLUSH:
	case RESULT_MADE:
	case RESULT_MAC:
		return 0;
	case RESULT_UNPEEKED:
		if ((__s32)result <= 0 || call->out & MSG_PEEK)
			return 0;
		bytes = (__s32)result;
		break;
	case RESULT_PAIR:
		if (result & 1)
			return 0;
		bytes = PT_REGS_SECOND(ctx);
		if (HOOK_VECTORS(call->hook))
			return bytes;
		break;
	default:
		if ((__s32)result <= 0)
			return 0;
		if (HOOK_RESULT(call->hook) == RESULT_COUNT)
			bytes = (__s32)result;
		else if (bpf_probe_read_user(&bytes, sizeof(bytes), (void *)call->out))
			count(COUNT_UNREADABLE, 0);
	}
	if (bytes <= call->length)
		return bytes;
	count(COUNT_UNREADABLE, 0); /* the number comes from the program: it is a lie */
	return 0;
}

#define GNUTLS_E_AGAIN -28
#define GNUTLS_E_INTERRUPTED -52
#define KEPT_MAX 16384 /* a record of TLS */

/*
 * Bytes of a call that the library keeps: it has encrypted as many as fit a
 * record, and a later call with the same buffer, or none, says how many.
 */
static __always_inline __u64 kept(struct pt_regs *ctx, const struct frame *call)
{
	__s64 result = PT_REGS_RC(ctx);

	if (HOOK_RESULT(call->hook) != RESULT_RESUMED ||
	    (result != GNUTLS_E_AGAIN && result != GNUTLS_E_INTERRUPTED))
		return 0;
	return call->length < KEPT_MAX ? call->length : KEPT_MAX;
}

/* Counts the bytes of a call in their direction. False: there is nothing to emit. */
static __always_inline bool advance(struct data_event *head, struct stream *stream,
				    const struct frame *call, __u64 bytes)
{
	/* With a buffer it has the same bytes, or others if those that were kept are thrown away. */
	bool resumed = HOOK_RESULT(call->hook) == RESULT_RESUMED && stream->keeps && !call->length;

	if (!HOOK_SENT(call->hook)) {
		head->position = stream->received;
		stream->received += bytes;
	} else {
		head->position = stream->sent;
		if (head->flags & DATA_KEPT) {
			stream->keeps = 1;
			return true;
		}
		stream->sent += bytes;
		stream->keeps = 0;
	}
	if (resumed) {
		head->flags |= DATA_RESUMED;
	} else if (HOOK_RESULT(call->hook) == RESULT_FILE) {
		head->flags |= DATA_FILE;
	} else if (!call->buffer || (bytes > call->length && !HOOK_VECTORS(call->hook))) {
		count(COUNT_UNREADABLE, bytes);
		return false;
	}
	return true;
}

/* Hands over what a call moved or kept (DATA_KEPT). */
static __always_inline void deliver(struct thread *thread, struct frame *call, __u64 bytes,
				    __u32 flags)
{
	struct data_event head = {};
	struct stream *stream;
	__u64 id = thread->id;

	if (!HOOK_SENT(call->hook))
		call->time = bpf_ktime_get_ns();
	stream = stream_get(id >> 32, call->object, call->time);
	if (!stream) {
		count(COUNT_NO_STATE, bytes);
		return;
	}
	if (!stream->tied)
		stream_tie(stream, thread, call);
	else if (call->untied)
		*tied_slot(thread, call->object) = call->object;

	head.head.kind = EVENT_DATA;
	head.head.tid = (__u32)id;
	head.head.stream = stream->id;
	head.head.time = call->time;
	head.length = bytes;
	head.flags = HOOK_SENT(call->hook) ? flags | DATA_SENT : flags;
	if (!advance(&head, stream, call, bytes))
		return;
	if (head.flags & (DATA_FILE | DATA_RESUMED)) {
		emit_bare(&head);
	} else if (HOOK_VECTORS(call->hook)) {
		thread->chunks.head = head;
		thread->chunks.vectors = call->buffer;
		thread->chunks.vectors_left = call->length < MOST_VECTORS ? call->length :
									    MOST_VECTORS;
		thread->chunks.left = bytes;
		emit_vectors(&thread->chunks);
	} else if (bytes <= SMALL) {
		emit_small(&head, call->buffer);
	} else {
		thread->chunks.head = head;
		thread->chunks.buffer = call->buffer;
		thread->chunks.left = bytes;
		emit_chunks(&thread->chunks);
	}
}

/* The same, and keys that nobody handed over before. */
static __always_inline void report(struct thread *thread, struct frame *call, __u64 bytes,
				   __u32 flags)
{
	if (settings.secrets)
		emit_object(thread->id >> 32, call);
	if (settings.plaintext && HOOK_RESULT(call->hook) != RESULT_OPEN && !call->reported)
		deliver(thread, call, bytes, flags);
}

static __always_inline void enter(struct pt_regs *ctx, struct thread *thread)
{
	fill_frame(frame_push(thread, PT_REGS_SP(ctx)), ctx, thread);
}

/* A call returned an object: whatever we knew of one at this address is over. */
static __always_inline void made(struct pt_regs *ctx, const struct frame *call)
{
	__u64 object;

	if (HOOK_RESULT(call->hook) == RESULT_MADE && !(__s32)PT_REGS_RC(ctx) &&
	    !bpf_probe_read_user(&object, sizeof(object), (void *)call->out))
		stream_end(object);
}

static __always_inline int leave(struct pt_regs *ctx)
{
	struct thread *thread = thread_find();
	__u32 flags = 0;
	struct frame *call;
	__u64 bytes;

	if (!thread)
		return 0;
	call = frame_pop(thread, SP_AT_ENTRY(ctx));
	if (!call)
		return 0;
	if (call->untied)
		await_no_socket();
	made(ctx, call);
	computed(ctx, thread, call);
	bytes = moved(ctx, call);
	if (!bytes) {
		bytes = kept(ctx, call);
		flags = DATA_KEPT;
	}
	if (!bytes || (thread->depth && inside_flush(thread, call->object)))
		return 0;
	if (thread->depth && !call->reported && !flags)
		mark_reported(thread, call);
	report(thread, call, bytes, flags);
	return 0;
}

SEC("uprobe")
int call_enter(struct pt_regs *ctx)
{
	struct thread *thread = caller(ctx);

	if (thread)
		enter(ctx, thread);
	return 0;
}

SEC("uretprobe")
int call_exit(struct pt_regs *ctx)
{
	return leave(ctx);
}

#ifndef ECAPTURE_LEGACY
static __always_inline void enter_foreign(struct pt_regs *ctx, struct thread *thread)
{
	struct foreign_key key = foreign_key(ctx, thread, 0);
	struct foreign_call *outer, call = {};

	if (!foreign_is_followed(ctx, thread)) {
		count(COUNT_FOREIGN, 0);
		return;
	}
	fill_frame(&call.frame, ctx, thread);
	outer = foreign_around(thread, key.sp);
	if (outer && same_bytes(&outer->frame, &call.frame))
		call.outer = thread->foreign;
	if (bpf_map_update_elem(&foreign_calls, &key, &call, BPF_ANY))
		count(COUNT_NO_STATE, 0);
	thread->foreign = key;
}

/*
 * At an instruction that returns, or to which was returned, in a process with
 * calls on foreign stacks. The cookie has the bytes that the stack pointer is
 * above that of the entry.
 */
SEC("uprobe")
int call_return(struct pt_regs *ctx)
{
	struct thread *thread = thread_get();
	struct foreign_call *call, *outer;
	struct foreign_key key;
	__u32 flags = 0;
	__u64 bytes;

	if (!thread)
		return 0;
	key = foreign_key(ctx, thread, bpf_get_attach_cookie(ctx));
	call = bpf_map_lookup_elem(&foreign_calls, &key);
	if (!call)
		return 0; /* it began on the thread's own stack, or before this probe was here */
	if (call->frame.untied)
		await_no_socket();
	made(ctx, &call->frame);
	computed(ctx, thread, &call->frame);
	bytes = moved(ctx, &call->frame);
	if (!bytes) {
		bytes = kept(ctx, &call->frame);
		flags = DATA_KEPT;
	}
	outer = bytes ? bpf_map_lookup_elem(&foreign_calls, &call->outer) : 0;
	if (outer && HOOK_RESULT(outer->frame.hook) == RESULT_FLUSH)
		bytes = 0;
	if (outer && !flags)
		outer->frame.reported = 1;
	if (bytes)
		report(thread, &call->frame, bytes, flags);
	thread->foreign = call->outer;
	bpf_map_delete_elem(&foreign_calls, &key);
	return 0;
}

/*
 * Always empty. A program that may tail-call runs on the kernel's stack, else
 * (Linux >= 6.13) on one of its own; and hardened usercopy recognises only the
 * kernel's at once: a copy of user memory to anywhere else takes 30 ns longer.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} no_programs SEC(".maps");

/*
 * Linux >= 6.13: one probe for both ends, cheaper than two. Which end it is
 * shows in the instruction pointer; the kfunc that tells has changed over time.
 * At the entry the answer 1 means: no return probe for this call.
 */
SEC("uprobe.session")
int call_session(struct pt_regs *ctx)
{
	struct thread *thread;

	if (PT_REGS_IP(ctx) != bpf_get_func_ip(ctx))
		return leave(ctx);
	thread = caller(ctx);
	if (!thread)
		return 1;
	switch (stack_of(ctx, thread)) {
	case STACK_OWN:
		enter(ctx, thread);
		return 0;
	case STACK_FOREIGN:
		enter_foreign(ctx, thread);
		return 1;
	default:
		count(COUNT_NO_STATE, 0);
		bpf_tail_call(ctx, &no_programs, 0);
		return 1;
	}
}

/* object_new, and before it a look at the stack. */
SEC("uprobe.session")
int new_session(struct pt_regs *ctx)
{
	struct thread *thread;

	if (PT_REGS_IP(ctx) != bpf_get_func_ip(ctx)) {
		stream_end(PT_REGS_RC(ctx));
		return 0;
	}
	thread = caller(ctx);
	if (!thread)
		return 1;
	switch (stack_of(ctx, thread)) {
	case STACK_OWN:
		return 0;
	case STACK_FOREIGN:
		foreign_is_followed(ctx, thread);
	default:
		return 1;
	}
}
#endif

/* SSL_new returned an object: whatever we knew of one at this address is over. */
SEC("uretprobe")
int object_new(struct pt_regs *ctx)
{
	stream_end(PT_REGS_RC(ctx));
	return 0;
}

/* SSL_free, SSL_clear: argument 1 ends, or begins a new connection. */
SEC("uprobe")
int object_end(struct pt_regs *ctx)
{
	stream_end(PT_REGS_PARM1(ctx));
	return 0;
}

/* SSL_set_fd and its kin: argument 1 gets another socket. */
SEC("uprobe")
int object_untie(struct pt_regs *ctx)
{
	stream_untie(PT_REGS_PARM1(ctx));
	return 0;
}

/* A function that gets bytes that were decrypted: all of them are there, and count. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MOST_DESCRIBED);
	__type(key, __u32);
	__type(value, struct taken_hook);
} taken_hooks SEC(".maps");

SEC("uprobe")
int bytes_taken(struct pt_regs *ctx)
{
	__u32 index = hook_of(ctx);
	struct taken_hook *hook = bpf_map_lookup_elem(&taken_hooks, &index);
	struct thread *thread = thread_get();
	struct frame call = {};

	if (!hook || !in_scope(bpf_get_current_pid_tgid() >> 32))
		return 0;
	if (!thread || !find(ctx, &hook->object, &call.object) ||
	    !find(ctx, &hook->buffer, &call.buffer) || !find(ctx, &hook->length, &call.length)) {
		count(COUNT_NO_STATE, 0);
		return 0;
	}
	if (call.length)
		deliver(thread, &call, call.length, 0);
	return 0;
}

#include "goroutine.h"
#ifndef ECAPTURE_NO_BTF
#include "sockets.h"
#endif
#include "go.h"
