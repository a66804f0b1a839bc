/*
 * Empty BPF programs on user functions, by raw system calls: what a probe costs
 * before anybody does anything in it. Used by uprobe_floor and by the bench's
 * empty_probe; needs no library and no header newer than Linux 5.x.
 */
#ifndef RAW_BPF_H
#define RAW_BPF_H

#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* enum bpf_attach_type of include/uapi/linux/bpf.h */
#define RAW_PERF_UPROBE 0 /* attached by perf_event_open */
#define RAW_UPROBE_MULTI 48 /* since 6.6 */
#define RAW_UPROBE_SESSION 57 /* since 6.13: entry and return by one program */

/* union bpf_attr as far as BPF_LINK_CREATE of uprobe_multi needs it. */
union raw_link_attr {
	struct {
		uint32_t prog_fd, target_fd, attach_type, flags;
		uint64_t path, offsets, ref_ctr_offsets, cookies;
		uint32_t count, multi_flags, pid;
	};
	char pad[128];
};

#define RAW_MULTI_RETURN 1 /* BPF_F_UPROBE_MULTI_RETURN */

static inline int raw_bpf(int command, void *attr, unsigned int size)
{
	return syscall(__NR_bpf, command, attr, size);
}

/* Loads `return 0`. Returns a file descriptor, or -1 and errno. */
static inline int raw_load_empty(int attach_type)
{
	static const struct bpf_insn program[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_KPROBE,
		.insns = (uintptr_t)program,
		.insn_cnt = sizeof(program) / sizeof(program[0]),
		.license = (uintptr_t) "GPL",
		.prog_name = "empty",
		.expected_attach_type = attach_type,
	};

	return raw_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
}

/* The number that perf gave its uprobe unit; 8 wherever we looked. */
static inline int raw_uprobe_unit(void)
{
	FILE *file = fopen("/sys/bus/event_source/devices/uprobe/type", "r");
	int type = 8;

	if (file) {
		if (fscanf(file, "%d", &type) != 1)
			type = 8;
		fclose(file);
	}
	return type;
}

/* One uprobe or uretprobe in all processes; lives as long as the descriptor. */
static inline int raw_attach_perf(int program, const char *path, uint64_t offset, int is_return)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = raw_uprobe_unit(),
		.config = is_return,
		.config1 = (uintptr_t)path,
		.config2 = offset,
	};
	int fd = syscall(__NR_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);

	if (fd >= 0 && (ioctl(fd, PERF_EVENT_IOC_SET_BPF, program) < 0 ||
			ioctl(fd, PERF_EVENT_IOC_ENABLE, 0) < 0)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* One link for several places of a file: multi or session, by attach_type. */
static inline int raw_attach_multi(int program, int attach_type, const char *path,
				   const uint64_t *offsets, int count, int is_return)
{
	union raw_link_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_fd = program;
	attr.attach_type = attach_type;
	attr.path = (uintptr_t)path;
	attr.offsets = (uintptr_t)offsets;
	attr.count = count;
	attr.multi_flags = is_return ? RAW_MULTI_RETURN : 0;
	return raw_bpf(BPF_LINK_CREATE, &attr, sizeof(attr));
}

#endif
