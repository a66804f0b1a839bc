/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* One record per (process, TLS object): identity, positions, what was announced. */
#ifndef ECAPTURE_STREAM_H
#define ECAPTURE_STREAM_H

struct stream_key {
	__u64 object;
	__u32 pid;
	__u32 pad;
};

struct stream {
	__u64 id; /* unique within a run */
	__u64 received; /* bytes so far, whether or not they reached user space */
	__u64 sent;
	__u32 announced; /* EVENT_STREAM is on the ring */
	__u32 tied; /* EVENT_PEER is on the ring */
	__u32 keyed; /* a secret of it, or EVENT_OBJECT, is on the ring */
	__u32 untied; /* user space knows a socket that it no longer has */
	__u32 keeps; /* DATA_KEPT is on the ring, and no call has said yet how many */
	__u32 calls; /* of Go: calls in progress */
	__u32 closed; /* of Go: it ends with the last of them */
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct stream_key);
	__type(value, struct stream);
} streams SEC(".maps");

static __always_inline void fill_head(struct event_head *head, __u32 kind, __u64 stream, __u64 time)
{
	head->kind = kind;
	head->tid = (__u32)bpf_get_current_pid_tgid();
	head->stream = stream;
	head->time = time;
}

#ifdef ECAPTURE_LEGACY
/* Fetching atomics came with Linux 5.12. */
static __always_inline __u64 stream_id(void)
{
	return bpf_ktime_get_ns() << 8 | (bpf_get_smp_processor_id() & 0xff);
}
#else
__u64 streams_made;

static __always_inline __u64 stream_id(void)
{
	return __sync_fetch_and_add(&streams_made, 1) + 1;
}
#endif

static __always_inline void stream_announce(struct stream *stream, __u32 pid, __u64 now)
{
	struct stream_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		return; /* tried again at the next call */
	fill_head(&event->head, EVENT_STREAM, stream->id, now);
	event->pid = pid;
	event->uid = (__u32)bpf_get_current_uid_gid();
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	stream->announced = 1;
}

static __always_inline struct stream *stream_find(__u32 pid, __u64 object)
{
	struct stream_key key = { .object = object, .pid = pid };

	return bpf_map_lookup_elem(&streams, &key);
}

/* User space does not know of it before it is announced. */
static __always_inline struct stream *stream_make(__u32 pid, __u64 object)
{
	struct stream_key key = { .object = object, .pid = pid };
	struct stream *stream = bpf_map_lookup_elem(&streams, &key);

	if (!stream) {
		struct stream fresh = { .id = stream_id() };

		bpf_map_update_elem(&streams, &key, &fresh, BPF_NOEXIST);
		stream = bpf_map_lookup_elem(&streams, &key);
	}
	return stream;
}

static __always_inline struct stream *stream_get(__u32 pid, __u64 object, __u64 now)
{
	struct stream *stream = stream_make(pid, object);

	if (stream && !stream->announced)
		stream_announce(stream, pid, now);
	return stream;
}

static __always_inline bool stream_is_keyed(__u32 pid, __u64 object)
{
	struct stream *stream = stream_find(pid, object);

	return stream && stream->keyed;
}

/* Says which socket the object speaks through, once it was seen; or that it is no longer the one that was said. */
static __always_inline void stream_tie(struct stream *stream, struct thread *thread,
				       struct frame *frame)
{
	__u64 *tied = tied_slot(thread, frame->object);
	struct peer_event *event;

	*tied = 0; /* an earlier object at this address may have been tied */
	if (!frame->saw_socket && !stream->untied)
		return;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return; /* tried again at the next call */
	fill_head(&event->head, EVENT_PEER, stream->id, frame->time);
	if (frame->saw_socket) {
		event->peer = thread->peer;
		stream->tied = 1;
		*tied = frame->object;
	} else {
		__builtin_memset(&event->peer, 0, sizeof(event->peer));
		event->peer.fd = -1;
	}
	stream->untied = 0;
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

static __always_inline void emit_close(const struct stream *stream)
{
	struct close_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		return;
	fill_head(&event->head, EVENT_CLOSE, stream->id, bpf_ktime_get_ns());
	event->received = stream->received;
	event->sent = stream->sent;
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

static __always_inline void stream_end(__u64 object)
{
	struct stream_key key = { .object = object, .pid = bpf_get_current_pid_tgid() >> 32 };
	struct stream *stream = bpf_map_lookup_elem(&streams, &key);
	struct thread *thread = thread_find();

	if (thread)
		*tied_slot(thread, object) = 0;
	if (!stream)
		return;
	if (stream->announced)
		emit_close(stream);
	bpf_map_delete_elem(&streams, &key);
}

/* The object begins a new connection, in which calls go on that are inside of it. */
static __always_inline void stream_renew(struct stream *stream)
{
	if (stream->announced)
		emit_close(stream);
	stream->id = stream_id();
	stream->received = 0;
	stream->sent = 0;
	stream->announced = 0;
	stream->tied = 0;
	stream->closed = 0;
}

static __always_inline void stream_untie(__u64 object)
{
	struct stream_key key = { .object = object, .pid = bpf_get_current_pid_tgid() >> 32 };
	struct stream *stream = bpf_map_lookup_elem(&streams, &key);
	struct thread *thread = thread_find();

	if (thread)
		*tied_slot(thread, object) = 0;
	if (stream && stream->tied) {
		stream->tied = 0;
		stream->untied = 1;
	}
}

#endif
