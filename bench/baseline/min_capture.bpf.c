/* The kernel half of min_capture: copies plaintext, knows nothing else. */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "min_capture.h"

#define MAX_EVENTS_PER_CALL 128 /* 2 MiB */

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u32 work = WORK_WAKE;

extern bool bpf_session_is_return(void) __ksym __weak;

/* The arguments of a call that has not returned. */
struct call {
	__u64 context; /* SSL * */
	__u64 buf;
	__u64 processed; /* size_t * of the _ex functions, or 0 */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct call);
} calls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event);
} scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 << 20);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline void count(__u32 counter, __u64 n)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &counter);

	if (value)
		*value += n;
}

static __always_inline void emit(__u64 id, __u64 context, __u64 buf, __u32 len, __u32 direction)
{
	__u64 flags = work == WORK_BATCHED ? BPF_RB_NO_WAKEUP : 0;
	__u32 zero = 0;
	struct event *event;

	count(COUNTER_CALLS, 1);
	event = bpf_map_lookup_elem(&scratch, &zero);
	if (!event || work == WORK_COUNT)
		return;

	for (int i = 0; i < MAX_EVENTS_PER_CALL && len; i++) {
		__u64 n = len;

		/* The second check is for the verifier, and clang would drop it. */
		barrier_var(n);
		if (n > MAX_DATA)
			n = MAX_DATA;
		barrier_var(n);
		if (n > MAX_DATA)
			return;
		event->time = bpf_ktime_get_ns();
		event->context = context;
		event->pid = id >> 32;
		event->tid = id;
		event->direction = direction;
		event->len = n;
		if (bpf_probe_read_user(event->data, n, (void *)buf)) {
			count(COUNTER_UNREADABLE, len);
			return;
		}
		if (bpf_ringbuf_output(&ring, event, EVENT_HEAD + n, flags))
			count(COUNTER_LOST_BYTES, n);
		buf += n;
		len -= n;
	}
	count(COUNTER_LOST_BYTES, len);
}

static __always_inline int enter(struct pt_regs *ctx, bool has_processed)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct call call = {
		.context = PT_REGS_PARM1(ctx),
		.buf = PT_REGS_PARM2(ctx),
		.processed = has_processed ? PT_REGS_PARM4(ctx) : 0,
	};

	bpf_map_update_elem(&calls, &id, &call, BPF_ANY);
	return 0;
}

static __always_inline int leave(struct pt_regs *ctx, __u32 direction)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&calls, &id);
	int result = PT_REGS_RC(ctx);
	__u64 context, buf, processed, len = result;

	if (!call)
		return 0;
	context = call->context;
	buf = call->buf;
	processed = call->processed;
	bpf_map_delete_elem(&calls, &id);
	if (result <= 0)
		return 0;
	if (processed && bpf_probe_read_user(&len, sizeof(len), (void *)processed))
		return 0;
	emit(id, context, buf, len, direction);
	return 0;
}

SEC("uprobe")
int enter_plain(struct pt_regs *ctx)
{
	return enter(ctx, false);
}

SEC("uprobe")
int enter_ex(struct pt_regs *ctx)
{
	return enter(ctx, true);
}

SEC("uretprobe")
int leave_read(struct pt_regs *ctx)
{
	return leave(ctx, DIRECTION_READ);
}

SEC("uretprobe")
int leave_write(struct pt_regs *ctx)
{
	return leave(ctx, DIRECTION_WRITE);
}

/* The internal functions have the arguments of the _ex functions. */
SEC("uprobe")
int session_read(struct pt_regs *ctx)
{
	return bpf_session_is_return() ? leave(ctx, DIRECTION_READ) : enter(ctx, true);
}

SEC("uprobe")
int session_write(struct pt_regs *ctx)
{
	return bpf_session_is_return() ? leave(ctx, DIRECTION_WRITE) : enter(ctx, true);
}
