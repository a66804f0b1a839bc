// SPDX-License-Identifier: (MIT OR GPL-2.0)
/*
 * The shape "command text": functions that know what a person typed or a
 * client asked for, and what came of it. Which values and texts they have, and
 * where, is described in a table; the attach cookie is the index. Nothing here
 * knows a program.
 *
 * Built like tls.bpf.c.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "event.h"
#include "text.h"
#include "bounds.h"
#include "scope.h"
#include "ring.h"
#include "chain.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MOST_DESCRIBED);
	__type(key, __u32);
	__type(value, struct text_hook);
} text_hooks SEC(".maps");

/* What a thread keeps between hooks, and the call that is being told of. */
struct speaker {
	__u64 records;
	__u64 kept[MOST_KEPT];
	struct text_event event;
	__u64 at; /* the rest of the text */
	__u64 left; /* its length, unless it is a C string */
	__u32 sized;
	__u32 last; /* the field whose text is the last */
};

#ifdef ECAPTURE_LEGACY
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct speaker);
} speakers SEC(".maps");

static __always_inline struct speaker *speaker_get(void)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct speaker *speaker = bpf_map_lookup_elem(&speakers, &id);
	struct speaker fresh = {};

	if (speaker)
		return speaker;
	bpf_map_update_elem(&speakers, &id, &fresh, BPF_ANY);
	return bpf_map_lookup_elem(&speakers, &id);
}
#else
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct speaker);
} speakers SEC(".maps");

static __always_inline struct speaker *speaker_get(void)
{
	return bpf_task_storage_get(&speakers, bpf_get_current_task_btf(), 0,
				    BPF_LOCAL_STORAGE_GET_F_CREATE);
}
#endif

static __always_inline __u64 field_value(struct pt_regs *ctx, struct speaker *speaker,
					 const struct field *field)
{
	__s32 slot = KEPT(field->at.base);
	__u64 value = 0, loaded = 0;

	if (slot >= 0) {
		value = speaker->kept[slot & (MOST_KEPT - 1)];
		if (!follow(&field->at, &value))
			return 0;
	} else if (!find(ctx, &field->at, &value)) {
		return 0;
	}
	switch (field->kind) {
	case FIELD_INT:
		return (__u32)value;
	case FIELD_U32:
		bpf_probe_read_user(&loaded, 4, (void *)value);
		return loaded;
	case FIELD_U64:
		bpf_probe_read_user(&loaded, 8, (void *)value);
		return loaded;
	}
	return value;
}

static __always_inline bool is_wanted(const struct guard *guard, const struct text_event *event)
{
	__u64 value = event->value[guard->field < MOST_FIELDS ? guard->field : 0];

	if (!guard->set)
		return value;
	return value - guard->first < 64 && guard->set >> (value - guard->first & 63) & 1;
}

/* The head of the next record of this call. */
static __always_inline void next_record(struct speaker *speaker, __u32 length, __u32 flags)
{
	speaker->event.head.stream = ++speaker->records;
	speaker->event.length = length;
	speaker->event.flags = flags;
}

static __always_inline void emit_small(struct speaker *speaker, const char *text, __u32 length,
				       __u32 flags)
{
	struct {
		struct text_event event;
		char text[TEXT_SMALL];
	} * record;

	next_record(speaker, length, flags);
	record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);
	if (!record) {
		count(COUNT_RING_FULL, length);
		return;
	}
	record->event = speaker->event;
	__builtin_memcpy(record->text, text, TEXT_SMALL);
	bpf_ringbuf_submit(record, wake_flag(sizeof(*record)));
}

/* Whether the text is now complete, or nothing more can be had of it. */
static long emit_piece(__u32 index, void *context)
{
	struct speaker *speaker = *(struct speaker **)context;
	__u32 end = speaker->event.part == speaker->last ? TEXT_LAST : 0;
	struct {
		struct text_event event;
		char text[TEXT_PIECE];
	} * record;
	long length, more;

	next_record(speaker, 0, end);
	record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);
	if (!record) {
		count(COUNT_RING_FULL, speaker->sized ? speaker->left : TEXT_PIECE);
		return 1;
	}
	if (speaker->sized) {
		length = clamp_to(speaker->left, TEXT_PIECE);
		more = speaker->left > TEXT_PIECE;
		if (bpf_probe_read_user(record->text, clamp_to(length, TEXT_PIECE),
					(void *)speaker->at))
			length = -1;
	} else {
		length = bpf_probe_read_user_str(record->text, TEXT_PIECE, (void *)speaker->at);
		more = length == TEXT_PIECE;
		length--; /* without the NUL */
	}
	if (length < 0) {
		count(COUNT_UNREADABLE, 0);
		length = more = 0;
		speaker->event.flags |= TEXT_UNREADABLE;
	}
	if (more)
		speaker->event.flags = 0;
	speaker->event.length = length;
	record->event = speaker->event;
	bpf_ringbuf_submit(record, wake_flag(sizeof(*record)));
	speaker->at += length;
	speaker->left -= length;
	return !more;
}

#ifdef ECAPTURE_LEGACY
#define PIECES_PER_TEXT 17 /* 64 KiB and a little */

static __always_inline void emit_pieces(struct speaker *speaker)
{
	for (int i = 0; i < PIECES_PER_TEXT; i++) {
		if (emit_piece(i, &speaker))
			return;
	}
	count(COUNT_TOO_LONG, speaker->left);
}
#else
static __always_inline void emit_pieces(struct speaker *speaker)
{
	bpf_loop(1 << 20, emit_piece, &speaker, 0);
}
#endif

/* Most texts are short: those go by way of the stack, see payload.h. */
static __noinline int emit_text(struct speaker *speaker)
{
	__u32 end = speaker->event.part == speaker->last ? TEXT_LAST : 0;
	char text[TEXT_SMALL] = {};
	long length;

	if (speaker->sized) {
		length = speaker->left;
		if (length > TEXT_SMALL ||
		    bpf_probe_read_user(text, clamp_to(length, TEXT_SMALL), (void *)speaker->at))
			length = -1;
	} else {
		length = bpf_probe_read_user_str(text, sizeof(text), (void *)speaker->at) - 1;
		if (length == sizeof(text) - 1)
			length = -1;
	}
	if (length < 0)
		emit_pieces(speaker);
	else
		emit_small(speaker, text, length, end);
	return 0;
}

static __noinline int emit_values(struct speaker *speaker)
{
	struct text_event *record;

	next_record(speaker, 0, TEXT_LAST);
	record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);
	if (!record) {
		count(COUNT_RING_FULL, 0);
		return 0;
	}
	*record = speaker->event;
	bpf_ringbuf_submit(record, wake_flag(sizeof(*record)));
	return 0;
}

static __always_inline bool is_text(const struct field *field, __u64 value)
{
	return field->kind >= FIELD_TEXT && value;
}

static __always_inline void emit(struct speaker *speaker, const struct text_hook *hook)
{
	struct text_event *event = &speaker->event;

	speaker->last = MOST_FIELDS;
#pragma unroll
	for (__u32 i = 0; i < MOST_FIELDS; i++) {
		if (i < hook->fields && is_text(&hook->field[i], event->value[i]))
			speaker->last = i;
	}
	if (speaker->last == MOST_FIELDS) {
		emit_values(speaker);
		return;
	}
#pragma unroll
	for (__u32 i = 0; i < MOST_FIELDS; i++) {
		if (i >= hook->fields || !is_text(&hook->field[i], event->value[i]))
			continue;
		event->part = i;
		speaker->at = event->value[i];
		speaker->sized = hook->field[i].kind == FIELD_SIZED;
		speaker->left = i ? event->value[i - 1] : 0;
		emit_text(speaker);
	}
}

static __always_inline int tell(struct pt_regs *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32, index = hook_of(ctx);
	struct text_hook *hook = bpf_map_lookup_elem(&text_hooks, &index);
	struct text_event *event;
	struct speaker *speaker;

	if (!hook || !in_scope(pid))
		return 0;
	speaker = speaker_get();
	if (!speaker) {
		count(COUNT_NO_STATE, 0);
		return 0;
	}
	event = &speaker->event;
#pragma unroll
	for (__u32 i = 0; i < MOST_FIELDS; i++)
		event->value[i] = i < hook->fields ? field_value(ctx, speaker, &hook->field[i]) : 0;
#pragma unroll
	for (__u32 i = 0; i < MOST_GUARDS; i++) {
		if (i < hook->guards && !is_wanted(&hook->guard[i], event))
			return 0;
	}
#pragma unroll
	for (__u32 i = 0; i < MOST_FIELDS; i++) {
		if (i < hook->fields && hook->field[i].keep >= 0)
			speaker->kept[hook->field[i].keep & (MOST_KEPT - 1)] = event->value[i];
	}
	if (hook->silent)
		return 0;
	event->head.kind = EVENT_TEXT;
	event->head.tid = (__u32)bpf_get_current_pid_tgid();
	event->head.time = bpf_ktime_get_ns();
	event->pid = pid;
	event->uid = (__u32)bpf_get_current_uid_gid();
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	event->point = hook->point;
	emit(speaker, hook);
	return 0;
}

SEC("uprobe")
int text_at(struct pt_regs *ctx)
{
	return tell(ctx);
}

SEC("uretprobe")
int text_after(struct pt_regs *ctx)
{
	return tell(ctx);
}
