/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Copies the bytes of one call onto the ring, in chunks. */
#ifndef ECAPTURE_PAYLOAD_H
#define ECAPTURE_PAYLOAD_H

/*
 * Short payloads, by way of the stack: copying user memory straight into a
 * record makes a kernel with CONFIG_HARDENED_USERCOPY look up the record's
 * vmalloc area, which takes longer than all else here.
 */
#define SMALL 128

static __always_inline void emit_small(const struct data_event *head, __u64 buffer)
{
	struct {
		struct data_event head;
		__u64 payload[SMALL / 8];
	} * record;
	__u64 payload[SMALL / 8] = {};

	if (bpf_probe_read_user(payload, clamp_to(head->length, SMALL), (void *)buffer)) {
		count(COUNT_UNREADABLE, head->length);
		return;
	}
	record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);
	if (!record) {
		count(COUNT_RING_FULL, head->length);
		return;
	}
	record->head = *head;
	__builtin_memcpy(record->payload, payload, sizeof(payload));
	bpf_ringbuf_submit(record, wake_flag(sizeof(*record)));
}

/*
 * bpf_ringbuf_reserve wants a constant, so records come in a few sizes.
 * The reader goes by `length`; the rest of the record is stale memory.
 */
/* Answers 0, or the counter of what went wrong. */
static __always_inline __u32 emit_class(struct chunks *chunks, __u32 length, __u32 class)
{
	struct data_event *event = bpf_ringbuf_reserve(&events, sizeof(*event) + class, 0);

	if (!event)
		return COUNT_RING_FULL;
	*event = chunks->head;
	if (bpf_probe_read_user(event + 1, clamp_to(length, class), (void *)chunks->buffer)) {
		bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);
		return COUNT_UNREADABLE;
	}
	bpf_ringbuf_submit(event, wake_flag(sizeof(*event) + class));
	return 0;
}

static __always_inline __u32 emit_sized(struct chunks *chunks, __u32 length)
{
	if (length <= 512)
		return emit_class(chunks, length, 512);
	if (length <= 4096)
		return emit_class(chunks, length, 4096);
	if (length <= 16384)
		return emit_class(chunks, length, 16384);
	return emit_class(chunks, length, CHUNK_MAX);
}

#ifdef ECAPTURE_LEGACY
#define emit_chunk emit_sized
#else
/* Linux >= 6.16: records of exactly the size that is needed. */
extern int bpf_probe_read_user_dynptr(struct bpf_dynptr *dptr, __u64 off, __u64 size,
				      const void *unsafe_ptr) __ksym __weak;

static __always_inline __u32 emit_exact(struct chunks *chunks, __u32 length)
{
	struct bpf_dynptr record;

	if (bpf_ringbuf_reserve_dynptr(&events, sizeof(chunks->head) + length, 0, &record)) {
		bpf_ringbuf_discard_dynptr(&record, BPF_RB_NO_WAKEUP);
		return COUNT_RING_FULL;
	}
	bpf_dynptr_write(&record, 0, &chunks->head, sizeof(chunks->head), 0);
	if (bpf_probe_read_user_dynptr(&record, sizeof(chunks->head), length,
				       (void *)chunks->buffer)) {
		bpf_ringbuf_discard_dynptr(&record, BPF_RB_NO_WAKEUP);
		return COUNT_UNREADABLE;
	}
	bpf_ringbuf_submit_dynptr(&record, wake_flag(sizeof(chunks->head) + length));
	return 0;
}

static __always_inline __u32 emit_chunk(struct chunks *chunks, __u32 length)
{
	if (bpf_ksym_exists(bpf_probe_read_user_dynptr))
		return emit_exact(chunks, length);
	return emit_sized(chunks, length);
}
#endif

#define MOST_VECTORS 1024 /* IOV_MAX */

#ifndef ECAPTURE_LEGACY
/* False: there is no other one that can be read. */
static __always_inline bool next_vector(struct chunks *chunks)
{
	__u64 vector[2];

	if (!chunks->vectors_left ||
	    bpf_probe_read_user(vector, sizeof(vector), (void *)chunks->vectors))
		return false;
	chunks->vectors_left--;
	chunks->vectors += sizeof(vector);
	chunks->buffer = vector[0];
	chunks->here = vector[1] < chunks->left ? vector[1] : chunks->left;
	return true;
}

static long emit_vector(__u32 index, void *context)
{
	struct chunks *chunks = *(struct chunks **)context;
	__u32 failed, length;

	if (!chunks->here && !next_vector(chunks)) {
		count(COUNT_UNREADABLE, chunks->left);
		return 1;
	}
	if (!chunks->here)
		return 0;
	length = clamp_to(chunks->here, CHUNK_MAX);
	chunks->head.length = length;
	failed = emit_chunk(chunks, length);
	if (failed)
		count(failed, length);
	chunks->head.position += length;
	chunks->buffer += length;
	chunks->here -= length;
	chunks->left -= length;
	return !chunks->left;
}

/* Each round ends a vector or moves a whole chunk. */
static __always_inline void emit_vectors(struct chunks *chunks)
{
	__u64 rounds = (chunks->left >> 16) + 2 * MOST_VECTORS;

	chunks->here = 0;
	bpf_loop(rounds < 1 << 23 ? rounds : 1 << 23, emit_vector, &chunks, 0);
}
#else
/* There is no loop that is long enough. */
static __always_inline void emit_vectors(struct chunks *chunks)
{
	count(COUNT_TOO_LONG, chunks->left);
}
#endif

static long emit_next(__u32 index, void *context)
{
	struct chunks *chunks = *(struct chunks **)context;
	__u32 length = clamp_to(chunks->left, CHUNK_MAX);
	__u32 failed;

	chunks->head.length = length;
	failed = emit_chunk(chunks, length);
	if (failed)
		count(failed, length);
	chunks->head.position += length;
	chunks->buffer += length;
	chunks->left -= length;
	return !chunks->left;
}

#ifdef ECAPTURE_LEGACY
#define CHUNKS_PER_CALL 4 /* more and the verifier gives up */

static __always_inline void emit_chunks(struct chunks *chunks)
{
	for (int i = 0; i < CHUNKS_PER_CALL; i++) {
		if (emit_next(i, &chunks))
			return;
	}
	count(COUNT_TOO_LONG, chunks->left);
}
#else
static __always_inline void emit_chunks(struct chunks *chunks)
{
	/* Nearly every call fits one chunk: spare it the indirection. */
	if (!emit_next(0, &chunks))
		bpf_loop(1 << 23, emit_next, &chunks, 0);
}
#endif

/* Without payload: the bytes went from a file, not through memory we could read, or are on the ring. */
static __always_inline void emit_bare(const struct data_event *head)
{
	struct data_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		count(COUNT_RING_FULL, head->length);
		return;
	}
	*event = *head;
	bpf_ringbuf_submit(event, wake_flag(sizeof(*event)));
}

#endif
