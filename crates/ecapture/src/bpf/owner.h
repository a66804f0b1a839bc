/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * Which program a packet belongs to. Sockets remember who uses them; packets
 * lead to their socket. The rest are packets of sockets that are gone already,
 * or that live in another network namespace: known by their addresses.
 */
#ifndef ECAPTURE_OWNER_H
#define ECAPTURE_OWNER_H

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define TCP_SYN_SENT 2
#define TCP_LISTEN 10
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define PACKET_OUTGOING 4
#define PACKET_LOOPBACK 5
#define TCX_NEXT (-1)
#define LOOPBACK 1 /* the index that it has in each network namespace */

const volatile struct packet_settings packet_settings SEC(".rodata.packets") = {};

#ifndef ECAPTURE_LEGACY
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	/* A connection begins as its listener's, until a process uses it. */
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct owner);
} owners SEC(".maps");

struct flow {
	__u8 local[16]; /* of the end that has the owner */
	__u8 remote[16];
	__be16 local_port;
	__be16 remote_port;
	__u8 protocol;
	__u8 pad[3];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct flow);
	__type(value, struct owner);
} flows SEC(".maps");

/* As in_scope(), for packets: not of the thread that happens to run. */
static __always_inline bool owner_in_scope(const struct owner *owner)
{
	struct comm comm;

	__builtin_memcpy(&comm, owner->comm, sizeof(comm));
	return (!settings.by_pid || bpf_map_lookup_elem(&pids, &owner->pid)) &&
	       (!settings.by_uid || bpf_map_lookup_elem(&uids, &owner->uid)) &&
	       (!settings.by_comm || bpf_map_lookup_elem(&comms, &comm)) &&
	       (!settings.by_not_comm || !bpf_map_lookup_elem(&not_comms, &comm)) &&
	       (!settings.cgroup || owner->cgroup == settings.cgroup);
}

/*
 * A socket belongs to the process that used it last; one that is asked for
 * goes before others: workers and their parent share a listener.
 */
static __always_inline void take_over(struct owner *known, const struct owner *owner)
{
	struct owner next = *owner;

	if (known->pid == owner->pid)
		return;
	next.cgroup = known->cgroup;
	if (!known->pid || owner_in_scope(&next) || !owner_in_scope(known))
		*known = next;
}

static __always_inline struct owner this_process(void)
{
	struct owner owner = {};

	owner.pid = bpf_get_current_pid_tgid() >> 32;
	owner.uid = bpf_get_current_uid_gid();
	bpf_get_current_comm(owner.comm, sizeof(owner.comm));
	return owner;
}

static __always_inline void used_here(struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;
	struct owner owner, *known;

	if (family != AF_INET && family != AF_INET6)
		return;
	owner = this_process();
	known = bpf_sk_storage_get(&owners, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (known && owner.pid)
		take_over(known, &owner);
}

SEC("cgroup/sock_create")
int owner_created(struct bpf_sock *sk)
{
	struct owner *known = bpf_sk_storage_get(&owners, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (known)
		*known = this_process();
	return 1; /* permitted */
}

/* Sockets are made by one process and used by another; and where there is no cgroup v2. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(owner_connects, struct sock *sk, int before, int after)
{
	if (after == TCP_SYN_SENT || after == TCP_LISTEN)
		used_here(sk);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(owner_sends, struct sock *sk, int ret, int flags)
{
	used_here(sk);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(owner_receives, struct sock *sk, int ret, int flags)
{
	used_here(sk);
	return 0;
}

/* Sockets that are open already. */
SEC("iter/task_file")
int owner_holds(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct owner owner = {}, *known;
	struct socket *socket;
	struct sock *sk;
	__u16 family;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk)
		return 0;
	family = sk->__sk_common.skc_family;
	if (family != AF_INET && family != AF_INET6)
		return 0;
	owner.pid = task->tgid;
	owner.uid = BPF_CORE_READ(task, real_cred, uid.val);
	bpf_probe_read_kernel(owner.comm, sizeof(owner.comm), task->group_leader->comm);
	known = bpf_sk_storage_get(&owners, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (known)
		take_over(known, &owner);
	return 0;
}

/* Answers whether the socket has an owner. */
static __always_inline bool owner_of_socket(struct bpf_sock *sk, struct owner *owner)
{
	struct bpf_sock *full = bpf_sk_fullsock(sk);
	struct owner *known;

	if (!full)
		full = bpf_get_listener_sock(sk); /* of a request to connect */
	if (!full)
		return false;
	known = bpf_sk_storage_get(&owners, full, 0, 0);
	if (!known || !known->pid)
		return false;
	if (settings.cgroup && !known->cgroup)
		known->cgroup = bpf_sk_ancestor_cgroup_id(full, settings.cgroup_level);
	*owner = *known;
	return true;
}

/* The ends of a packet. */
struct layers {
	struct bpf_sock_tuple tuple; /* as in the packet */
	__u32 protocol;
	bool is_ipv6;
	bool is_edge; /* the first or one of the last of a connection */
};

#define MOST_EXTENSIONS 6

static __always_inline bool ports(struct __sk_buff *skb, __u32 at, struct layers *layers,
				  __be16 *found)
{
	__u8 flags;

	if (layers->protocol != IPPROTO_TCP && layers->protocol != IPPROTO_UDP)
		return false;
	if (bpf_skb_load_bytes(skb, at, found, 4))
		return false;
	if (layers->protocol == IPPROTO_TCP && !bpf_skb_load_bytes(skb, at + 13, &flags, 1))
		layers->is_edge = flags & 7; /* FIN, SYN, RST */
	return true;
}

static __always_inline bool parse_ipv4(struct __sk_buff *skb, __u32 at, struct layers *layers)
{
	__u8 header[20];

	if (bpf_skb_load_bytes(skb, at, header, sizeof(header)))
		return false;
	if (header[0] >> 4 != 4 || (header[6] & 0x1f) || header[7])
		return false; /* a fragment, but not the first */
	layers->protocol = header[9];
	__builtin_memcpy(&layers->tuple.ipv4, header + 12, 8);
	return ports(skb, at + (header[0] & 15) * 4, layers, &layers->tuple.ipv4.sport);
}

static __always_inline bool is_extension(__u32 protocol)
{
	/* Hop-by-hop options, routing, fragment, destination options: RFC 8200, section 4. */
	return protocol == 0 || protocol == 43 || protocol == 44 || protocol == 60;
}

static __always_inline bool parse_ipv6(struct __sk_buff *skb, __u32 at, struct layers *layers)
{
	__u8 extension[4], header[40];

	if (bpf_skb_load_bytes(skb, at, header, sizeof(header)) || header[0] >> 4 != 6)
		return false;
	layers->protocol = header[6];
	layers->is_ipv6 = true;
	__builtin_memcpy(&layers->tuple.ipv6, header + 8, 32);
	at += sizeof(header);
	for (int i = 0; i < MOST_EXTENSIONS && is_extension(layers->protocol); i++) {
		if (bpf_skb_load_bytes(skb, at, extension, sizeof(extension)))
			return false;
		if (layers->protocol == 44 && (extension[2] || extension[3] >> 3))
			return false; /* a fragment, but not the first */
		at += layers->protocol == 44 ? 8 : (extension[1] + 1) * 8;
		layers->protocol = extension[0];
	}
	return ports(skb, at, layers, &layers->tuple.ipv6.sport);
}

/* Answers false for packets without ports. */
static __always_inline bool parse(struct __sk_buff *skb, __u32 at, struct layers *layers)
{
	switch (bpf_ntohs(skb->protocol)) {
	case ETH_P_IP:
		return parse_ipv4(skb, at, layers);
	case ETH_P_IPV6:
		return parse_ipv6(skb, at, layers);
	}
	return false;
}

static __always_inline void turn_around(struct layers *layers)
{
	struct bpf_sock_tuple tuple = layers->tuple;

	if (!layers->is_ipv6) {
		layers->tuple.ipv4.saddr = tuple.ipv4.daddr;
		layers->tuple.ipv4.daddr = tuple.ipv4.saddr;
		layers->tuple.ipv4.sport = tuple.ipv4.dport;
		layers->tuple.ipv4.dport = tuple.ipv4.sport;
	} else {
		__builtin_memcpy(layers->tuple.ipv6.saddr, tuple.ipv6.daddr, 16);
		__builtin_memcpy(layers->tuple.ipv6.daddr, tuple.ipv6.saddr, 16);
		layers->tuple.ipv6.sport = tuple.ipv6.dport;
		layers->tuple.ipv6.dport = tuple.ipv6.sport;
	}
}

/* The end to which the tuple leads. */
static __always_inline struct flow flow_of(const struct layers *layers)
{
	struct flow flow = { .protocol = layers->protocol };

	if (!layers->is_ipv6) {
		__builtin_memcpy(flow.local, &layers->tuple.ipv4.daddr, 4);
		__builtin_memcpy(flow.remote, &layers->tuple.ipv4.saddr, 4);
		flow.local_port = layers->tuple.ipv4.dport;
		flow.remote_port = layers->tuple.ipv4.sport;
	} else {
		__builtin_memcpy(flow.local, layers->tuple.ipv6.daddr, 16);
		__builtin_memcpy(flow.remote, layers->tuple.ipv6.saddr, 16);
		flow.local_port = layers->tuple.ipv6.dport;
		flow.remote_port = layers->tuple.ipv6.sport;
	}
	return flow;
}

/* The length of the tuple must be a constant. */
static __always_inline struct bpf_sock *find_socket(struct __sk_buff *skb, struct layers *layers,
						    __u32 length)
{
	if (layers->protocol == IPPROTO_TCP)
		return bpf_skc_lookup_tcp(skb, &layers->tuple, length, BPF_F_CURRENT_NETNS, 0);
	return bpf_sk_lookup_udp(skb, &layers->tuple, length, BPF_F_CURRENT_NETNS, 0);
}

/* The owner of the socket to which the tuple leads, in the network namespace of the interface. */
static __always_inline bool owner_at(struct __sk_buff *skb, struct layers *layers,
				     struct owner *owner)
{
	struct bpf_sock *sk;
	bool found;

	sk = layers->is_ipv6 ? find_socket(skb, layers, sizeof(layers->tuple.ipv6)) :
			       find_socket(skb, layers, sizeof(layers->tuple.ipv4));
	if (!sk)
		return false;
	found = owner_of_socket(sk, owner);
	bpf_sk_release(sk);
	return found;
}

static __always_inline void remember(const struct layers *layers, const struct owner *owner)
{
	struct flow flow = flow_of(layers);

	if (!bpf_map_lookup_elem(&flows, &flow))
		bpf_map_update_elem(&flows, &flow, owner, BPF_ANY);
}

static __always_inline bool owner_by_flow(const struct layers *layers, struct owner *owner)
{
	struct flow flow = flow_of(layers);
	struct owner *known = bpf_map_lookup_elem(&flows, &flow);

	if (!known)
		return false;
	*owner = *known;
	return true;
}

/*
 * Answers whether a program is known at an end that is on this machine. Where
 * both are, one that is asked for goes before the sender.
 */
static __always_inline bool owner_of(struct __sk_buff *skb, __u32 network, __u32 flags,
				     struct owner *owner)
{
	struct bpf_sock *sk = skb->sk;
	bool is_sent = sk && owner_of_socket(sk, owner);
	struct layers layers = {}, back;
	struct owner receiver = {};
	bool is_received;

	if (!parse(skb, network, &layers))
		return is_sent;
	back = layers;
	turn_around(&back);
	/* What comes in with a socket comes from another network namespace: its answers have none. */
	if (is_sent && (layers.is_edge || flags == PACKET_IN))
		remember(&back, owner);
	if (!is_sent && flags != PACKET_IN)
		is_sent = owner_by_flow(&back, owner);
	if (is_sent && owner_in_scope(owner))
		return true;

	is_received = flags != PACKET_OUT && owner_at(skb, &layers, &receiver);
	if (is_received && layers.is_edge)
		remember(&layers, &receiver);
	if (!is_received)
		is_received = owner_by_flow(&layers, &receiver);
	if (is_received && (!is_sent || owner_in_scope(&receiver)))
		*owner = receiver;
	return is_sent || is_received;
}
#endif

#endif
