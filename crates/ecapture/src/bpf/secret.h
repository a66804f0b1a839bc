/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * The shape "secret": a function that a library calls with each TLS secret,
 * whether or not the program asked for a key log. Where label, client random
 * and secret are is described in a table; the attach cookie is the index.
 *
 * And connections whose secrets were not handed over while we watched: at the
 * first call that shows that one is open, what its object holds is copied.
 *
 * A library may keep secrets where no address leads to (NSS). Then one function
 * says for which connection its thread computes one, and the functions for MACs
 * what of, and what it is.
 */
#ifndef ECAPTURE_SECRET_H
#define ECAPTURE_SECRET_H

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MOST_DESCRIBED);
	__type(key, __u32);
	__type(value, struct secret_hook);
} secret_hooks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MOST_DESCRIBED);
	__type(key, __u32);
	__type(value, struct object_keys);
} object_keys SEC(".maps");

#define CLIENT_RANDOM "CLIENT_RANDOM"
/* RFC 5246, section 6.3 */
#define KEY_EXPANSION "key expansion"

/* clang makes a call of memcmp of more than a few bytes. */
static __always_inline bool is_text(const char *bytes, const char *text, __u32 length)
{
	bool same = true;

#pragma unroll
	for (__u32 i = 0; i < length; i++)
		same &= bytes[i] == text[i];
	return same;
}

/* A function that computes keys from secrets computes other things as well. */
static __always_inline bool is_other(struct pt_regs *ctx, const struct secret_hook *hook)
{
	char label[sizeof(KEY_EXPANSION)];
	__u64 at;

	if (hook->label_kind != LABEL_KEY_EXPANSION)
		return false;
	return !find(ctx, &hook->label, &at) ||
	       bpf_probe_read_user(label, sizeof(label), (void *)at) ||
	       !is_text(label, KEY_EXPANSION, sizeof(label));
}

static __always_inline bool read_label(struct pt_regs *ctx, const struct secret_hook *hook,
				       char *label)
{
	__u64 at, length;

	if (hook->label_kind == LABEL_FIXED) {
		__builtin_memcpy(label, hook->fixed, LABEL_LEN);
		return true;
	}
	if (hook->label_kind == LABEL_KEY_EXPANSION) {
		__builtin_memcpy(label, CLIENT_RANDOM, sizeof(CLIENT_RANDOM));
		return true;
	}
	if (!find(ctx, &hook->label, &at))
		return false;
	if (hook->label_kind == LABEL_TEXT)
		return bpf_probe_read_user_str(label, LABEL_LEN, (void *)at) > 0;
	return find(ctx, &hook->label_length, &length) &&
	       !bpf_probe_read_user(label, clamp_to(length, LABEL_LEN), (void *)at);
}

static __always_inline bool read_secret(struct pt_regs *ctx, const struct secret_hook *hook,
					struct secret_event *event)
{
	__u64 client_random, secret, length;

	if (!read_label(ctx, hook, event->label) || !find(ctx, &hook->length, &length) ||
	    !find(ctx, &hook->client_random, &client_random) || !find(ctx, &hook->secret, &secret))
		return false;
	event->length = length;
	return !bpf_probe_read_user(event->client_random, RANDOM_LEN, (void *)client_random) &&
	       !bpf_probe_read_user(event->secret, clamp_to(event->length, SECRET_LEN),
				    (void *)secret);
}

SEC("uprobe")
int secret(struct pt_regs *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32, index = hook_of(ctx);
	struct secret_hook *hook = bpf_map_lookup_elem(&secret_hooks, &index);
	struct secret_event event = {}, *record;
	__u64 now = bpf_ktime_get_ns(), object;
	struct stream *stream = 0;

	if (!hook || !in_scope(pid) || is_other(ctx, hook))
		return 0;
	if (!read_secret(ctx, hook, &event)) {
		count(COUNT_NO_SECRET, 0);
		return 0;
	}
	if (find(ctx, &hook->object, &object) && object)
		stream = stream_get(pid, object, now);
	fill_head(&event.head, EVENT_SECRET, stream ? stream->id : 0, now);
	event.pid = pid;
	record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);
	if (!record) {
		count(COUNT_NO_SECRET, 0);
		return 0;
	}
	*record = event;
	bpf_ringbuf_submit(record, wake_flag(sizeof(*record)));
	if (stream)
		stream->keyed = 1;
	return 0;
}

/* A call that computes a secret of a connection. */
SEC("uprobe")
int secret_derive(struct pt_regs *ctx)
{
	__u32 index = hook_of(ctx);
	struct secret_hook *hook = bpf_map_lookup_elem(&secret_hooks, &index);
	__u64 object, client_random;
	struct thread *thread;
	struct due *due;

	if (!hook || !in_scope(bpf_get_current_pid_tgid() >> 32))
		return 0;
	thread = thread_get();
	if (!thread) {
		count(COUNT_NO_SECRET, 0);
		return 0;
	}
	due = &thread->due;
	due->object = 0;
	due->context = 0;
	if (find(ctx, &hook->object, &object) && read_label(ctx, hook, due->label) &&
	    find(ctx, &hook->client_random, &client_random) &&
	    !bpf_probe_read_user(due->client_random, RANDOM_LEN, (void *)client_random))
		due->object = object;
	else
		count(COUNT_NO_SECRET, 0);
	return 0;
}

#define TLS13 "tls13 "

/* What a secret of TLS 1.3 is the MAC of begins so: HkdfLabel of RFC 8446, section 7.1. */
struct hkdf_label {
	__u8 length[2];
	__u8 size; /* of the label, with what all begin with */
	char tls13[sizeof(TLS13) - 1];
};

/* A MAC of more bytes, (context, bytes, length). */
SEC("uprobe")
int secret_mac(struct pt_regs *ctx)
{
	__u64 bytes = PT_REGS_PARM2(ctx), length = (__u32)PT_REGS_PARM3(ctx);
	struct thread *thread = thread_find();
	struct hkdf_label head;
	struct due *due;

	if (!thread || !thread->due.object)
		return 0;
	due = &thread->due;
	if (length < sizeof(head) || bpf_probe_read_user(&head, sizeof(head), (void *)bytes) ||
	    !is_text(head.tls13, TLS13, sizeof(head.tls13)) || head.size <= sizeof(head.tls13))
		return 0;
	__builtin_memset(due->computed, 0, sizeof(due->computed));
	if (bpf_probe_read_user(due->computed, clamp_to(head.size - sizeof(head.tls13), LABEL_LEN),
				(void *)bytes + sizeof(head)))
		return 0;
	due->length = head.length[0] << 8 | head.length[1];
	due->context = PT_REGS_PARM1(ctx);
	return 0;
}

/* Whether a call may matter: of those that give out a MAC only that of the secret that is due. */
static __always_inline bool is_due(struct pt_regs *ctx, const struct thread *thread)
{
	return HOOK_RESULT(hook_of(ctx)) != RESULT_MAC ||
	       (thread->due.object && thread->due.context == PT_REGS_PARM1(ctx));
}

static __always_inline bool fill_due(struct secret_event *event, const struct due *due,
				     const struct frame *call)
{
	if (bpf_probe_read_user(&event->length, sizeof(event->length), (void *)call->out) ||
	    event->length != due->length)
		return false;
	__builtin_memcpy(event->label, due->label, sizeof(event->label));
	__builtin_memcpy(event->computed, due->computed, sizeof(event->computed));
	__builtin_memcpy(event->client_random, due->client_random, sizeof(event->client_random));
	return !bpf_probe_read_user(event->secret, clamp_to(event->length, SECRET_LEN),
				    (void *)call->buffer);
}

/* The MAC that was given out is the secret that was due. */
static __always_inline void computed(struct pt_regs *ctx, struct thread *thread,
				     const struct frame *call)
{
	struct secret_event *event;
	struct stream *stream;
	__u64 now;

	if (HOOK_RESULT(call->hook) != RESULT_MAC || (__s32)PT_REGS_RC(ctx))
		return;
	now = bpf_ktime_get_ns();
	stream = stream_get(thread->id >> 32, thread->due.object, now);
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event || !fill_due(event, &thread->due, call)) {
		if (event)
			bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);
		count(COUNT_NO_SECRET, 0);
	} else {
		fill_head(&event->head, EVENT_SECRET, stream ? stream->id : 0, now);
		event->pid = thread->id >> 32;
		bpf_ringbuf_submit(event, wake_flag(sizeof(*event)));
		if (stream)
			stream->keyed = 1;
	}
	thread->due.object = 0;
}

/* The memory around the exporter secret, but none from before the struct that it is in. */
static __always_inline bool read_window(const struct object_keys *keys, __u64 object,
					struct object_event *event)
{
	__u32 before = clamp_to((__u32)keys->exporter.add, WINDOW_BEFORE);

	event->exporter = before;
	return follow(&keys->exporter, &object) &&
	       !bpf_probe_read_user(event->window, before + WINDOW_AFTER, (void *)object - before);
}

/* Of a length of 8 bytes, the lower 4 are read. */
static __always_inline bool read_master(const struct object_keys *keys, __u64 object,
					struct object_event *event)
{
	__u64 length = object;

	event->master_length = 0;
	return follow(&keys->master_length, &length) && follow(&keys->master, &object) &&
	       !bpf_probe_read_user(&event->master_length,
				    clamp_to(keys->master_width, sizeof(__u32)), (void *)length) &&
	       !bpf_probe_read_user(event->master, MASTER_LEN, (void *)object);
}

static __always_inline __u32 read_object(const struct object_keys *keys, __u64 object,
					 struct object_event *event)
{
	__u64 random = object;
	__u32 read = READ_RANDOM;

	if (!(keys->has & READ_RANDOM) || !follow(&keys->client_random, &random) ||
	    bpf_probe_read_user(event->client_random, RANDOM_LEN, (void *)random))
		return 0;
	if (keys->has & READ_WINDOW) {
		if (!read_window(keys, object, event))
			return 0; /* without it a master secret may be one of TLS 1.3 */
		read |= READ_WINDOW;
	}
	if (keys->has & READ_MASTER && read_master(keys, object, event))
		read |= READ_MASTER | (keys->has & ESTABLISHED);
	return read;
}

/* Of a call that shows that its connection is open: copies the keys in its object, once. */
static __always_inline void emit_object(__u32 pid, const struct frame *call)
{
	__u64 now = bpf_ktime_get_ns();
	struct stream *stream = stream_get(pid, call->object, now);
	__u32 index = HOOK_KEYS(call->hook);
	struct object_event *event;
	struct object_keys *keys;

	if (!stream || stream->keyed)
		return;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return; /* tried again at the next call */
	fill_head(&event->head, EVENT_OBJECT, stream->id, now);
	keys = bpf_map_lookup_elem(&object_keys, &index);
	event->read = keys ? read_object(keys, call->object, event) : 0;
	bpf_ringbuf_submit(event, wake_flag(sizeof(*event)));
	stream->keyed = 1;
}

#endif
