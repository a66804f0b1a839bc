/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Tells user space of a call: its values, and its texts in pieces. */
#ifndef ECAPTURE_SPEAK_H
#define ECAPTURE_SPEAK_H

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

/* Who makes the call that is told from now on. */
static __always_inline void introduce(struct speaker *speaker, __u32 point)
{
	struct text_event *event = &speaker->event;
	__u64 id = bpf_get_current_pid_tgid();

	event->head.kind = EVENT_TEXT;
	event->head.tid = (__u32)id;
	event->head.time = bpf_ktime_get_ns();
	event->pid = id >> 32;
	event->uid = (__u32)bpf_get_current_uid_gid();
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	event->point = point;
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

/* The text at the value of a field; `sized` and `left` say where it ends. */
static __always_inline void say(struct speaker *speaker, __u32 part)
{
	speaker->event.part = part;
	speaker->at = speaker->event.value[part];
	emit_text(speaker);
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

#endif
