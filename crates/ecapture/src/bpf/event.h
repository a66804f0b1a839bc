/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * What crosses from the kernel to user space: records of the ring buffer,
 * the description of a hook (attach cookie), settings and counters.
 * event.rs mirrors this file; a test compares the two through BTF.
 */
#ifndef ECAPTURE_EVENT_H
#define ECAPTURE_EVENT_H

#define COMM_LEN 16
#define UNIX_PATH_LEN 108

/* Bytes of payload in one record; a longer call is split into chunks. */
#define CHUNK_MAX 65536

enum event_kind {
	EVENT_STREAM = 1, /* struct stream_event: a TLS object is seen for the first time */
	EVENT_PEER = 2, /* struct peer_event: its socket is known */
	EVENT_DATA = 3, /* struct data_event followed by payload */
	EVENT_CLOSE = 4, /* struct close_event: the object was freed or reused */
};

/* data_event.flags */
#define DATA_SENT 1 /* else received */
#define DATA_FILE 2 /* sent by SSL_sendfile: no payload, `call` bytes left the process */

/* Every record starts with this. */
struct event_head {
	__u32 kind;
	__u32 tid; /* thread that made the call */
	__u64 stream; /* identity of (process, TLS object, generation) */
	__u64 time; /* CLOCK_MONOTONIC ns; data: sent when the call was entered, received when it returned */
};

struct data_event {
	struct event_head head;
	__u64 position; /* bytes of this direction of the stream before this chunk */
	__u32 length; /* bytes of payload that follow */
	__u32 flags;
};

struct stream_event {
	struct event_head head;
	__u32 pid; /* thread group id in the initial pid namespace */
	__u32 uid;
	char comm[COMM_LEN];
};

struct peer {
	__u32 family; /* AF_*; 0: no socket seen */
	__s32 fd; /* -1: unknown */
	__u16 local_port; /* host order */
	__u16 remote_port;
	__u32 pad;
	__u8 local[16]; /* IPv4 in the first four bytes */
	__u8 remote[16];
	char path[UNIX_PATH_LEN]; /* AF_UNIX: bound name of this end, else of the peer */
	__u32 path_length;
};

struct peer_event {
	struct event_head head;
	struct peer peer;
};

struct close_event {
	struct event_head head;
	__u64 received; /* final positions */
	__u64 sent;
};

/* From where a process calls a function on a stack that is not a thread's own. On a ring of its own, once. */
struct foreign_site {
	__u32 pid;
	__u32 hook; /* HOOK_NUMBER */
	__s64 to; /* the return address, counted from the probed instruction */
};

/*
 * The attach cookie describes a hook of the shape "plaintext call":
 * which arguments (1-based, 0 = none) hold what, and how the result is read.
 */
#define HOOK_OBJECT(c) ((c)&0xf)
#define HOOK_BUFFER(c) ((c) >> 4 & 0xf)
#define HOOK_OUT(c) ((c) >> 8 & 0xf)
#define HOOK_RESULT(c) ((c) >> 12 & 0xf)
#define HOOK_SENT(c) ((c) >> 16 & 1)
#define HOOK_LENGTH(c) ((c) >> 20 & 0xf)
#define HOOK_NUMBER(c) \
	((c) >> 32) /* which hook of the run: by it user space finds file and function */

enum hook_result {
	RESULT_COUNT = 0, /* int: bytes when positive */
	RESULT_OUT = 1, /* int: success when positive, *(size_t *)argument OUT has the bytes */
	RESULT_FILE = 2, /* ssize_t: bytes of a file that were sent; no buffer */
};

/* Constants fixed at load time, so that what is not asked for costs nothing. */
struct settings {
	__u64 hook; /* the hook on kernels without attach cookies */
	__u64 cgroup; /* its whole subtree is captured; 0: any */
	__u32 self; /* our own process, never captured */
	__u32 wake_shift; /* the reader is woken each time that 1 << wake_shift more bytes are unread */
	__u8 has_cookie;
	__u8 by_pid;
	__u8 by_uid;
	__u8 by_comm;
	__u8 by_not_comm;
	__u8 cgroup_level; /* depth of the cgroup below the root */
	__u8 pad[2];
};

/* Per-CPU counters: each kind has a number of events and, behind it, of bytes. */
enum counter {
	COUNT_RING_FULL = 2, /* chunks that found no room */
	COUNT_UNREADABLE = 4, /* chunks whose memory could not be read */
	COUNT_TOO_LONG = 6, /* calls longer than a kernel without bpf_loop can copy */
	COUNT_NO_STATE = 8, /* calls missed because no state could be kept */
	COUNT_FOREIGN = 12, /* calls on foreign stacks whose end can not be seen, or not yet */
	COUNT_MAX = 16,
};

#endif
