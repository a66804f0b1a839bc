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
	EVENT_PEER = 2, /* struct peer_event: its socket is known, or not any more */
	EVENT_DATA = 3, /* struct data_event followed by payload */
	EVENT_CLOSE = 4, /* struct close_event: the object was freed or reused */
	EVENT_SECRET = 5, /* struct secret_event: a library hands over a TLS secret */
	EVENT_OBJECT =
		6, /* struct object_event: a connection is open, and its secrets were not seen */
	EVENT_PACKET = 7, /* struct packet_event followed by a packet */
	EVENT_TEXT = 16, /* struct text_event of text.h, followed by text */
};

/* data_event.flags */
#define DATA_SENT 1 /* else received */
#define DATA_FILE 2 /* sent by SSL_sendfile: no payload, `call` bytes left the process */
#define DATA_KEPT 4 /* the library keeps these bytes; how many of them count is not known yet */
#define DATA_RESUMED 8 /* no payload: so many of the bytes that were kept count */

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
	__u32 family; /* AF_*; 0: not known */
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

#define RANDOM_LEN 32
#define LABEL_LEN 40 /* the longest label of a key log has 31 characters */
#define SECRET_LEN 64
#define MASTER_LEN 48

struct secret_event {
	struct event_head head; /* stream: 0 when the object is not known */
	__u32 pid;
	__u32 length; /* of the secret; no more than SECRET_LEN bytes of it are here */
	char label[LABEL_LEN]; /* ends with a NUL, unless it is too long */
	__u8 client_random[RANDOM_LEN];
	__u8 secret[SECRET_LEN];
	/* The label of the key schedule by which it was computed, and `label` only ends it; empty: not known. */
	char computed[LABEL_LEN];
};

/* Bytes around the exporter secret of TLS 1.3, where OpenSSL keeps the others. */
#define WINDOW_BEFORE 1024
#define WINDOW_AFTER 128
#define WINDOW_LEN (WINDOW_BEFORE + WINDOW_AFTER)

/* object_event.read: what could be read, and of which kind it is */
#define READ_RANDOM 1
#define READ_MASTER 2
#define READ_WINDOW 4
#define ESTABLISHED 8 /* of READ_MASTER: there is no session before the handshake is complete */

struct object_event {
	struct event_head head;
	__u32 read;
	__u32 master_length; /* as the library tells it */
	__u32 exporter; /* where in the window the exporter secret begins */
	__u8 client_random[RANDOM_LEN];
	__u8 master[MASTER_LEN];
	__u8 window[WINDOW_LEN]; /* its first `exporter` + WINDOW_AFTER bytes are filled */
	__u32 pad;
};

/* The program that a packet belongs to: that which used its socket last. */
struct owner {
	__u32 pid; /* 0: not known */
	__u32 uid;
	char comm[COMM_LEN];
	__u64 cgroup; /* that of settings.cgroup_level, if packets are chosen by cgroup */
};

/* packet_event.flags */
#define PACKET_IN 1 /* came in; neither: it stays on this machine */
#define PACKET_OUT 2 /* goes out */
#define PACKET_VLAN 4 /* had a VLAN tag, which the kernel has taken out of the bytes */

/* The longest packet that is copied whole, as in libpcap. */
#define SNAPLEN_MAX 262144

struct packet_event {
	struct event_head head; /* of no thread and no stream */
	__u64 pad;
	__u32 length; /* bytes of the packet that follow; here as in struct data_event */
	__u32 flags;
	__u32 original; /* bytes that it has */
	__u32 interface; /* index */
	__u16 vlan_protocol; /* host order */
	__u16 vlan_tag;
	__u32 segments; /* packets on the wire that the kernel handles as this one; 0 or 1: itself */
	struct owner owner;
};

/* An interface whose packets are captured. */
struct interface {
	__u64 packets; /* that were asked for */
	__u64 dropped; /* of these, those that found no room */
	__u32 network; /* where the network header begins */
	__u32 pad;
};

/* Constants of packets.bpf.c. */
struct packet_settings {
	__u32 snaplen; /* most bytes of a packet, up to SNAPLEN_MAX */
	__u8 unowned; /* packets of no known program are captured */
	__u8 pad[3];
};

/*
 * A way to a value: from a register at the probe or another start, over
 * pointers. Each load reads the 8 bytes at the value plus an offset.
 */
#define MOST_LOADS 3

#define CHAIN_THREAD -2 /* chain.base: the start of the thread's own data */

struct chain {
	__s32 base; /* offset in struct pt_regs; less than 0: the start is given, or 0, or CHAIN_THREAD */
	__u32 loads;
	__s32 load[MOST_LOADS];
	__s32 add; /* after the loads */
};

enum label_kind {
	LABEL_TEXT = 0, /* `label` is the address of a C string */
	LABEL_SIZED = 1, /* and `label_length` says where it ends */
	LABEL_FIXED = 2, /* `fixed` is the label */
	LABEL_KEY_EXPANSION = 3, /* CLIENT_RANDOM, if `label` is the address of "key expansion" */
};

/* Where a function that hands over secrets has them. */
struct secret_hook {
	struct chain object; /* 0: not at hand */
	struct chain label;
	struct chain label_length;
	struct chain client_random;
	struct chain secret;
	struct chain length;
	__u32 label_kind;
	char fixed[LABEL_LEN];
};

/* Where an object has its keys, from its address on. */
struct object_keys {
	struct chain client_random;
	struct chain master;
	struct chain master_length;
	struct chain exporter;
	__u32 master_width; /* bytes of its length */
	__u32 has; /* READ_*, ESTABLISHED */
};

/* Where a function of Go that moves plaintext has its values; the result at its return, all else at its entry. */
struct go_hook {
	struct chain object;
	struct chain buffer;
	struct chain length;
	struct chain result;
	struct chain goroutine; /* at both */
	__u64 sockets[2]; /* from the probed entry to methods that tell types of sockets; 0: none */
	__u32 sent;
	__u32 pad;
};

/* Where a function that gets decrypted bytes has them, at its entry. */
struct taken_hook {
	struct chain object;
	struct chain buffer;
	struct chain length;
};

/* Entries of each table of descriptions; the first is never used, or stands for "none". */
#define MOST_DESCRIBED 1024

/* From where a process calls a function on a stack that is not a thread's own. On a ring of its own, once. */
struct foreign_site {
	__u32 pid;
	__u32 hook; /* HOOK_NUMBER */
	__s64 to; /* the return address, counted from the probed instruction */
};

/*
 * The attach cookie describes a hook of the shape "plaintext call":
 * which arguments (1-based, 0 = none) hold what, and how the result is read.
 * That of the shape "secret" is an index in secret_hooks, that of functions of
 * Go one in go_hooks, that of functions that get decrypted bytes one in taken_hooks.
 */
#define HOOK_OBJECT(c) ((c)&0xf)
#define HOOK_BUFFER(c) ((c) >> 4 & 0xf)
#define HOOK_OUT(c) ((c) >> 8 & 0xf)
#define HOOK_RESULT(c) ((c) >> 12 & 0xf)
#define HOOK_SENT(c) ((c) >> 16 & 1)
#define HOOK_VECTORS(c) \
	((c) >> 17 & 1) /* the buffer is an array of iovecs, LENGTH has their number */
#define HOOK_LENGTH(c) ((c) >> 20 & 0xf)
#define HOOK_KEYS(c) ((c) >> 32 & 0xffff) /* index in object_keys; 0: none */
#define HOOK_NUMBER(c) \
	((c) >> 48) /* which hook of the run: by it user space finds file and function */

enum hook_result {
	RESULT_COUNT = 0, /* int: bytes when positive */
	RESULT_OUT = 1, /* int: success when positive, *(size_t *)argument OUT has the bytes */
	RESULT_FILE = 2, /* ssize_t: bytes of a file that were sent; no buffer */
	RESULT_OPEN = 3, /* int: 1 when the handshake is complete; nothing is moved */
	RESULT_SIZE = 4, /* ssize_t: bytes when positive; without a buffer they can not be copied */
	RESULT_RESUMED = 5, /* the same; or the bytes are kept, and a later call says how many */
	RESULT_FLUSH = 6, /* what calls inside of it move counted before */
	RESULT_MADE = 7, /* int: 0 when there is a new object at argument OUT */
	RESULT_PAIR = 8, /* two words: if the first is even, the second has the bytes */
	RESULT_UNPEEKED = 9, /* as RESULT_COUNT, unless argument OUT has MSG_PEEK */
	RESULT_MAC = 10, /* int: 0 when there is a MAC of *(u32 *)argument OUT bytes */
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
	__u8 plaintext; /* what is captured */
	__u8 secrets;
};

/* Per-CPU counters: each kind has a number of events and, behind it, of bytes. */
enum counter {
	COUNT_RING_FULL = 2, /* chunks that found no room */
	COUNT_UNREADABLE = 4, /* chunks whose memory could not be read */
	COUNT_TOO_LONG = 6, /* calls longer than a kernel without bpf_loop can copy */
	COUNT_NO_STATE = 8, /* calls missed because no state could be kept */
	COUNT_NO_SECRET = 10, /* secrets that could not be read, or found no room */
	COUNT_FOREIGN = 12, /* calls on foreign stacks whose end can not be seen, or not yet */
	COUNT_MAX = 16,
};

#endif
