/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * The shape "secret": a function that a library calls with each TLS secret,
 * whether or not the program asked for a key log. Where label, client random
 * and secret are is described in a table; the attach cookie is the index.
 *
 * And connections whose secrets were not handed over while we watched: at the
 * first call that shows that one is open, what its object holds is copied.
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

/* False: this kernel does not tell. */
static __always_inline bool thread_pointer(__u64 *value)
{
#ifdef ECAPTURE_NO_BTF
	return false;
#else
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

#if defined(__TARGET_ARCH_x86)
	*value = BPF_CORE_READ(task, thread.fsbase);
#elif defined(__TARGET_ARCH_arm64)
	*value = BPF_CORE_READ(task, thread.uw.tp_value);
#endif
	return true;
#endif
}

/* The same from the registers at the probe. */
static __always_inline bool find(struct pt_regs *ctx, const struct chain *chain, __u64 *value)
{
	*value = 0;
	if (chain->base == CHAIN_THREAD && !thread_pointer(value))
		return false;
	/* Not as a load from the context, which has to be at a constant offset. */
	if (chain->base >= 0)
		bpf_probe_read_kernel(value, sizeof(*value), (void *)ctx + (chain->base & 0x1f8));
	return follow(chain, value);
}

static __always_inline bool read_label(struct pt_regs *ctx, const struct secret_hook *hook,
				       char *label)
{
	__u64 at, length;

	if (hook->label_kind == LABEL_FIXED) {
		__builtin_memcpy(label, hook->fixed, LABEL_LEN);
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

	if (!hook || !in_scope(pid))
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
		read |= READ_MASTER;
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
