/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * Which socket belongs to a TLS object: the one that a thread uses while it is
 * inside a call on that object. Needs no struct of any library.
 */
#ifndef ECAPTURE_SOCKETS_H
#define ECAPTURE_SOCKETS_H

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1

#ifdef ECAPTURE_LEGACY
static __always_inline __s32 descriptor_of(struct sock *sk)
{
	return -1;
}

static __always_inline __u64 user_stack(void)
{
	return 0;
}
#else
static __always_inline struct pt_regs *user_registers(void)
{
	return (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
}

/*
 * All system calls that move bytes through a socket take the descriptor as
 * first argument; io_uring does not, so the file is checked.
 */
static __always_inline __s32 descriptor_of(struct sock *sk)
{
	struct fdtable *table = BPF_CORE_READ(bpf_get_current_task_btf(), files, fdt);
	struct file *file = 0;
	__u64 fd;

	bpf_probe_read_kernel(&fd, sizeof(fd), &PT_REGS_PARM1(user_registers()));
	if (fd >= BPF_CORE_READ(table, max_fds))
		return -1;
	bpf_probe_read_kernel(&file, sizeof(file), BPF_CORE_READ(table, fd) + fd);
	if (file && BPF_CORE_READ(file, private_data) == BPF_CORE_READ(sk, sk_socket))
		return fd;
	return -1;
}

static __always_inline __u64 user_stack(void)
{
	__u64 sp = 0;

	bpf_probe_read_kernel(&sp, sizeof(sp), &PT_REGS_SP(user_registers()));
	return sp;
}
#endif

/* Marks the calls that this socket operation is part of: those that are on the stack above it. */
static __always_inline void mark_calls(struct thread *thread)
{
	__u64 sp = user_stack();

#pragma unroll
	for (int i = 0; i < FRAMES; i++) {
		struct frame *frame = &thread->frames[i];

		if (frame->sp && (!sp || frame->sp - sp < CALL_DEPTH))
			frame->saw_socket = 1;
	}
}

#ifdef ECAPTURE_LEGACY
static __always_inline bool awaits_socket(struct thread *thread)
{
	return thread->depth && thread->untied;
}

static __always_inline void tie_foreign(struct thread *thread)
{
}
#else
static __always_inline bool awaits_socket(struct thread *thread)
{
	return thread->foreign.sp || (thread->depth && thread->untied);
}

/* At once: before such a call returns, the thread may have used the sockets of others. */
static __always_inline void tie_foreign(struct thread *thread)
{
	struct foreign_call *call = foreign_around(thread, user_stack());
	struct stream *stream;

	if (!call || !call->frame.untied)
		return;
	stream = stream_get(thread->id >> 32, call->frame.object, bpf_ktime_get_ns());
	if (!stream || stream->tied)
		return;
	call->frame.saw_socket = 1;
	stream_tie(stream, thread, &call->frame);
	call->frame.saw_socket = 0;
}
#endif

/* The socket behind a descriptor of this process; 0: there is none. */
static __always_inline struct sock *socket_behind(__u64 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file *file = 0;
	struct socket *socket;

	if (fd >= BPF_CORE_READ(table, max_fds))
		return 0;
	bpf_probe_read_kernel(&file, sizeof(file), BPF_CORE_READ(table, fd) + fd);
	if (!file)
		return 0;
	socket = BPF_CORE_READ(file, private_data); /* something else, for other files */
	return BPF_CORE_READ(socket, file) == file ? BPF_CORE_READ(socket, sk) : 0;
}

static __always_inline bool unix_name(struct peer *peer, struct sock *sk)
{
	struct unix_address *address = BPF_CORE_READ((struct unix_sock *)sk, addr);
	__s64 length;

	if (!address)
		return false;
	length = BPF_CORE_READ(address, len) - (__s64)sizeof(__u16);
	if (length <= 0)
		return false;
	peer->path_length = clamp_to(length, UNIX_PATH_LEN);
	bpf_probe_read_kernel(peer->path, sizeof(peer->path),
			      (void *)address + bpf_core_field_offset(address->name) +
				      sizeof(__u16));
	return true;
}

/* False: it carries no TLS. */
static __always_inline bool describe_socket(struct peer *peer, struct sock *sk)
{
	__u32 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	if (family == AF_UNIX && BPF_CORE_READ(sk, sk_type) != SOCK_STREAM)
		return false; /* syslog and the like, from a callback inside the call */
	if (family != AF_INET && family != AF_INET6 && family != AF_UNIX)
		return false; /* netlink and the like */
	peer->family = family;
	peer->path_length = 0;
	if (family == AF_INET) {
		BPF_CORE_READ_INTO((__u32 *)peer->local, sk, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO((__u32 *)peer->remote, sk, __sk_common.skc_daddr);
	} else if (family == AF_INET6) {
		BPF_CORE_READ_INTO(&peer->local, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&peer->remote, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
	} else if (!unix_name(peer, sk)) {
		struct sock *other = BPF_CORE_READ((struct unix_sock *)sk, peer);

		if (other)
			unix_name(peer, other);
	}
	peer->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	peer->remote_port = __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport));
	return true;
}

#ifdef ECAPTURE_LEGACY
static __always_inline void tie_goroutine(struct sock *sk)
{
}
#else
/* In Go code a register holds the goroutine, also where it asks the kernel; not before Go 1.17 on x86_64. */
static __always_inline void tie_goroutine(struct sock *sk)
{
	struct goroutine key = { .pid = bpf_get_current_pid_tgid() >> 32 };
	struct peer *peer;

	bpf_probe_read_kernel(&key.address, sizeof(key.address), &GOROUTINE(user_registers()));
	peer = bpf_map_lookup_elem(&goroutine_sockets, &key);
	if (peer && describe_socket(peer, sk))
		peer->fd = descriptor_of(sk);
}
#endif

static __always_inline void note_socket(struct sock *sk)
{
	struct thread *thread;

	if (!untied_calls)
		return;
	tie_goroutine(sk);
	thread = thread_find();
	if (!thread || !awaits_socket(thread) || !describe_socket(&thread->peer, sk))
		return;
	thread->peer.fd = descriptor_of(sk);
	mark_calls(thread);
	tie_foreign(thread);
}

/* Linux >= 6.3: fires in every send and receive, after it. */
SEC("tp_btf/sock_send_length")
int BPF_PROG(socket_send, struct sock *sk, int ret, int flags)
{
	note_socket(sk);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(socket_receive, struct sock *sk, int ret, int flags)
{
	note_socket(sk);
	return 0;
}

/* Older kernels that can attach to functions. */
SEC("fentry/security_socket_sendmsg")
int BPF_PROG(socket_sendmsg, struct socket *sock, struct msghdr *msg, int size)
{
	note_socket(BPF_CORE_READ(sock, sk));
	return 0;
}

SEC("fentry/security_socket_recvmsg")
int BPF_PROG(socket_recvmsg, struct socket *sock, struct msghdr *msg, int size, int flags)
{
	note_socket(BPF_CORE_READ(sock, sk));
	return 0;
}

#endif
