/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Settings, the cookie, counters, and which processes are captured. */
#ifndef ECAPTURE_SCOPE_H
#define ECAPTURE_SCOPE_H

/* A section of its own, so that user space finds exactly this struct. */
const volatile struct settings settings SEC(".rodata.settings") = {};

/* What the hook that runs this program was described as. */
static __always_inline __u64 hook_of(void *ctx)
{
	if (settings.has_cookie)
		return bpf_get_attach_cookie(ctx);
	return settings.hook;
}

struct counters {
	__u64 value[COUNT_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

/* Adds one to a counter, and `bytes` to the counter after it. */
static __always_inline void count(__u32 index, __u64 bytes)
{
	__u32 zero = 0;
	struct counters *counted = bpf_map_lookup_elem(&counters, &zero);

	if (!counted)
		return;
	index &= COUNT_MAX - 1;
	counted->value[index]++;
	counted->value[(index + 1) & (COUNT_MAX - 1)] += bytes;
}

#define SELECTION(name, key_type)                \
	struct {                                 \
		__uint(type, BPF_MAP_TYPE_HASH); \
		__uint(max_entries, 1024);       \
		__type(key, key_type);           \
		__type(value, __u8);             \
	} name SEC(".maps")

struct comm {
	char name[COMM_LEN];
};

SELECTION(pids, __u32);
SELECTION(uids, __u32);
SELECTION(comms, struct comm);
SELECTION(not_comms, struct comm);

/*
 * Filters combine: each kind that is set must match, and any value of a kind
 * may. Command names are those of the calling thread. This leaves out process
 * ids.
 */
static __always_inline bool is_chosen(void)
{
	if (settings.by_uid) {
		__u32 uid = bpf_get_current_uid_gid();

		if (!bpf_map_lookup_elem(&uids, &uid))
			return false;
	}
	if (settings.by_comm || settings.by_not_comm) {
		struct comm comm = {};

		bpf_get_current_comm(&comm, sizeof(comm));
		if (settings.by_comm && !bpf_map_lookup_elem(&comms, &comm))
			return false;
		if (settings.by_not_comm && bpf_map_lookup_elem(&not_comms, &comm))
			return false;
	}
	if (settings.cgroup &&
	    bpf_get_current_ancestor_cgroup_id(settings.cgroup_level) != settings.cgroup)
		return false;
	return true;
}

static __always_inline bool in_scope(__u32 pid)
{
	if (pid == settings.self)
		return false;
	if (settings.by_pid && !bpf_map_lookup_elem(&pids, &pid))
		return false;
	return is_chosen();
}

#endif
