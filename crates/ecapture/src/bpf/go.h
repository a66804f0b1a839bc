/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * Plaintext calls of Go programs, and the life of their connections. Return
 * probes would break the runtime, which walks stacks; the instructions that
 * return are probed instead.
 */
#ifndef ECAPTURE_GO_H
#define ECAPTURE_GO_H

/* runtime.g: the top of the goroutine's stack. */
#define G_STACK_HI 8
/* runtime.itab: its methods; net.Conn has Read as third one. */
#define ITAB_FUN 24
#define CONN_READ 2
/* net.netFD, which begins with a poll.FD: state of its lock, with a bit for closed, and descriptor. */
#define FD_STATE 0
#define FD_CLOSED 1
#define FD_SYSFD 16

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MOST_DESCRIBED);
	__type(key, __u32);
	__type(value, struct go_hook);
} go_hooks SEC(".maps");

static __always_inline struct go_hook *go_hook_of(void *ctx)
{
	__u32 index = hook_of(ctx);

	return bpf_map_lookup_elem(&go_hooks, &index);
}

static __always_inline bool read_word(__u64 *value, __u64 address)
{
	return !bpf_probe_read_user(value, sizeof(*value), (void *)address);
}

static __always_inline bool call_key(struct pt_regs *ctx, const struct go_hook *hook,
				     struct call_key *key)
{
	__u64 top;

	if (!find(ctx, &hook->goroutine, &key->goroutine) ||
	    !read_word(&top, key->goroutine + G_STACK_HI))
		return false;
	key->depth = top - PT_REGS_SP(ctx);
	key->pid = bpf_get_current_pid_tgid() >> 32;
	return true;
}

#ifdef ECAPTURE_NO_BTF
static __always_inline bool go_socket(const struct go_hook *hook, const struct frame *call,
				      struct peer *peer)
{
	return false;
}
#else
/*
 * The socket of a connection whose transport is a net.TCPConn or net.UnixConn:
 * these begin with a pointer to a netFD. Their type shows in the methods of the
 * interface value, which is the first field of tls.Conn.
 */
static __always_inline bool go_socket(const struct go_hook *hook, const struct frame *call,
				      struct peer *peer)
{
	__u64 itab, connection, method, descriptor, fd, state;
	struct sock *sk;

	if (!read_word(&itab, call->object) || !read_word(&connection, call->object + 8) ||
	    !read_word(&method, itab + ITAB_FUN + CONN_READ * 8))
		return false;
	method -= call->out; /* where the entry is loaded */
	if (!method || (method != hook->sockets[0] && method != hook->sockets[1]))
		return false;
	if (!read_word(&descriptor, connection) || !read_word(&fd, descriptor + FD_SYSFD))
		return false;
	sk = socket_behind(fd);
	if (!sk || !describe_socket(peer, sk))
		return false;
	peer->fd = fd;
	/* Once it is closed, the number may be that of another one. */
	return read_word(&state, descriptor + FD_STATE) && !(state & FD_CLOSED);
}
#endif

/* The last call that leaves ends a connection that was closed meanwhile, and one that never had a byte. */
static __always_inline void leave_stream(__u32 pid, __u64 object)
{
	struct stream *stream = stream_find(pid, object);

	if (!stream || !stream->calls)
		return;
	__sync_fetch_and_add(&stream->calls, -1);
	if (!stream->calls && (stream->closed || !(stream->received | stream->sent)))
		stream_end(object);
}

#ifdef ECAPTURE_NO_BTF
static __always_inline void prepare_socket(const struct go_hook *hook, struct frame *call,
					   const struct call_key *key)
{
}
#else
static const struct peer no_peer;

/*
 * Which socket the call uses: by the type of the transport, now, as it may be
 * closed when the call returns; else the one that the goroutine uses last.
 */
static __always_inline void prepare_socket(const struct go_hook *hook, struct frame *call,
					   const struct call_key *key)
{
	struct goroutine goroutine = { .address = key->goroutine, .pid = key->pid };
	struct peer *peer;

	bpf_map_update_elem(&goroutine_sockets, &goroutine, &no_peer, BPF_ANY);
	peer = bpf_map_lookup_elem(&goroutine_sockets, &goroutine);
	if (!peer)
		return;
	call->saw_socket = 1;
	if (go_socket(hook, call, peer))
		return;
	peer->family = 0;
	call->untied = 1;
	__sync_fetch_and_add(&untied_calls, 1);
}
#endif

/* True: thread.peer is the socket that the call used. */
static __always_inline bool take_socket(struct thread *thread, const struct call_key *key)
{
	struct goroutine goroutine = { .address = key->goroutine, .pid = key->pid };
	struct peer *peer = bpf_map_lookup_elem(&goroutine_sockets, &goroutine);
	bool is_known = peer && peer->family;

	if (is_known)
		thread->peer = *peer;
	bpf_map_delete_elem(&goroutine_sockets, &goroutine);
	return is_known;
}

/* What was kept for a call that is over. */
static __always_inline void forget_call(const struct frame *call, const struct call_key *key)
{
	struct goroutine goroutine = { .address = key->goroutine, .pid = key->pid };

	if (call->untied)
		await_no_socket();
	if (call->saw_socket)
		bpf_map_delete_elem(&goroutine_sockets, &goroutine);
	leave_stream(key->pid, call->object);
}

SEC("uprobe")
int go_enter(struct pt_regs *ctx)
{
	struct go_hook *hook = go_hook_of(ctx);
	struct call_key key = {};
	struct frame call = {}, *earlier;
	struct stream *stream;

	if (!hook || !in_scope(bpf_get_current_pid_tgid() >> 32))
		return 0;
	if (!find(ctx, &hook->object, &call.object) || !find(ctx, &hook->buffer, &call.buffer) ||
	    !find(ctx, &hook->length, &call.length) || !call_key(ctx, hook, &key)) {
		count(COUNT_NO_STATE, 0);
		return 0;
	}
	/* It begins again when the stack has grown; another one that is still there ended in a panic. */
	earlier = bpf_map_lookup_elem(&goroutine_calls, &key);
	if (earlier)
		forget_call(earlier, &key);
	call.out = PT_REGS_IP(ctx);
	call.hook = hook->sent << 16; /* HOOK_SENT */
	/* A peer may have its answer out before this call returns. */
	if (hook->sent)
		call.time = bpf_ktime_get_ns();
	stream = stream_make(key.pid, call.object);
	if (stream && !stream->tied)
		prepare_socket(hook, &call, &key);
	if (bpf_map_update_elem(&goroutine_calls, &key, &call, BPF_ANY))
		count(COUNT_NO_STATE, 0);
	else if (stream)
		__sync_fetch_and_add(&stream->calls, 1);
	return 0;
}

SEC("uprobe")
int go_return(struct pt_regs *ctx)
{
	struct go_hook *hook = go_hook_of(ctx);
	struct call_key key = {};
	struct thread *thread;
	struct frame *call;
	__s64 bytes;

	if (!hook || !call_key(ctx, hook, &key))
		return 0;
	call = bpf_map_lookup_elem(&goroutine_calls, &key);
	if (!call)
		return 0; /* it began before this probe was here, or is not in scope */
	thread = thread_get();
	if (!thread || !find(ctx, &hook->result, (__u64 *)&bytes)) {
		count(COUNT_NO_STATE, 0);
	} else if (bytes > 0 && bytes > (__s64)call->length) {
		count(COUNT_UNREADABLE, 0);
	} else if (bytes > 0) {
		if (call->saw_socket)
			call->saw_socket = take_socket(thread, &key);
		deliver(thread, call, bytes, 0);
	}
	forget_call(call, &key);
	bpf_map_delete_elem(&goroutine_calls, &key);
	return 0;
}

/* A handshake begins: the collector gave the memory of an earlier connection to this one. */
SEC("uprobe")
int go_begin(struct pt_regs *ctx)
{
	struct go_hook *hook = go_hook_of(ctx);
	struct stream *stream;
	__u64 object;

	if (!hook || !find(ctx, &hook->object, &object))
		return 0;
	stream = stream_find(bpf_get_current_pid_tgid() >> 32, object);
	if (stream && (stream->received | stream->sent))
		stream_renew(stream);
	return 0;
}

/* Calls inside of it end later: the one that sent its last request may return after the answer was read. */
SEC("uprobe")
int go_close(struct pt_regs *ctx)
{
	struct go_hook *hook = go_hook_of(ctx);
	struct stream *stream;
	__u64 object;

	if (!hook || !find(ctx, &hook->object, &object))
		return 0;
	stream = stream_find(bpf_get_current_pid_tgid() >> 32, object);
	if (!stream)
		return 0;
	__sync_fetch_and_add(&stream->closed, 1);
	if (!stream->calls)
		stream_end(object);
	return 0;
}

#endif
