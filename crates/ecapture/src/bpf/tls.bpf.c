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
#include "stream.h"
#include "payload.h"
#include "secret.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Only to have these types in BTF, where a test compares them with event.rs. */
const struct stream_event *stream_event_type;
const struct peer_event *peer_event_type;
const struct close_event *close_event_type;
const struct secret_event *secret_event_type;
const struct object_event *object_event_type;

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

/* Answers 1 when the return of the call does not matter. */
static __always_inline int enter(struct pt_regs *ctx)
{
	__u64 hook = hook_of(ctx);
	struct thread *thread;
	struct frame *frame;
	__u64 object;

	thread = thread_get();
	if (!thread) {
		count(COUNT_NO_STATE, 0);
		return 1;
	}
	if (!in_scope(thread->id >> 32))
		return 1;
	object = argument(ctx, HOOK_OBJECT(hook));
	if (!settings.plaintext && stream_is_keyed(thread->id >> 32, object))
		return 1;
	frame = frame_push(thread, PT_REGS_SP(ctx));
	frame->object = object;
	frame->buffer = argument(ctx, HOOK_BUFFER(hook));
	frame->length = argument(ctx, HOOK_LENGTH(hook));
	frame->out = argument(ctx, HOOK_OUT(hook));
	frame->hook = hook;
	frame->untied = settings.plaintext && *tied_slot(thread, object) != object;
	if (frame->untied)
		await_socket(thread);
	/* A peer may have its answer out before this call returns; what is received is there at the return. */
	if (HOOK_SENT(hook))
		frame->time = bpf_ktime_get_ns();
	return 0;
}

/* Bytes that the call moved, or 1 for a handshake; 0: none, or it failed. */
static __always_inline __u64 moved(struct pt_regs *ctx, const struct frame *call)
{
	__s64 result = PT_REGS_RC(ctx);
	__u64 bytes = 0;

	if (HOOK_RESULT(call->hook) == RESULT_FILE)
		return result > 0 ? result : 0;
	if (HOOK_RESULT(call->hook) == RESULT_OPEN)
		return (__s32)result == 1;
	if ((__s32)result <= 0)
		return 0;
	if (HOOK_RESULT(call->hook) == RESULT_COUNT)
		bytes = (__s32)result;
	else if (bpf_probe_read_user(&bytes, sizeof(bytes), (void *)call->out))
		count(COUNT_UNREADABLE, 0);
	if (bytes <= call->length)
		return bytes;
	count(COUNT_UNREADABLE, 0); /* the number comes from the program: it is a lie */
	return 0;
}

static __always_inline int leave(struct pt_regs *ctx)
{
	struct thread *thread = thread_find();
	struct data_event head = {};
	struct stream *stream;
	struct frame *call;
	__u64 bytes, id;

	if (!thread)
		return 0;
	call = frame_pop(thread, SP_AT_ENTRY(ctx));
	if (!call)
		return 0;
	if (call->untied)
		await_no_socket();
	bytes = moved(ctx, call);
	if (!bytes)
		return 0;
	id = thread->id;
	if (settings.secrets)
		emit_object(id >> 32, call);
	if (!settings.plaintext || HOOK_RESULT(call->hook) == RESULT_OPEN)
		return 0;
	if (call->reported)
		return 0;
	if (thread->depth)
		mark_reported(thread, call);

	if (!HOOK_SENT(call->hook))
		call->time = bpf_ktime_get_ns();
	stream = stream_get(id >> 32, call->object, call->time);
	if (!stream) {
		count(COUNT_NO_STATE, bytes);
		return 0;
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
	if (HOOK_SENT(call->hook)) {
		head.flags = DATA_SENT;
		head.position = stream->sent;
		stream->sent += bytes;
	} else {
		head.position = stream->received;
		stream->received += bytes;
	}
	if (HOOK_RESULT(call->hook) == RESULT_FILE) {
		emit_file(&head);
	} else if (bytes <= SMALL) {
		emit_small(&head, call->buffer);
	} else {
		thread->chunks.head = head;
		thread->chunks.buffer = call->buffer;
		thread->chunks.left = bytes;
		emit_chunks(&thread->chunks);
	}
	return 0;
}

SEC("uprobe")
int call_enter(struct pt_regs *ctx)
{
	enter(ctx);
	return 0;
}

SEC("uretprobe")
int call_exit(struct pt_regs *ctx)
{
	return leave(ctx);
}

#ifndef ECAPTURE_LEGACY
/*
 * Linux >= 6.13: one probe for both ends, cheaper than two. Which end it is
 * shows in the instruction pointer; the kfunc that tells has changed over time.
 */
SEC("uprobe.session")
int call_session(struct pt_regs *ctx)
{
	if (PT_REGS_IP(ctx) == bpf_get_func_ip(ctx))
		return enter(ctx);
	return leave(ctx);
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

#ifndef ECAPTURE_NO_BTF
#include "sockets.h"
#endif
