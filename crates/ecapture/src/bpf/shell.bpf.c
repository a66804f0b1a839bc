// SPDX-License-Identifier: (MIT OR GPL-2.0)
/*
 * Programs that shells run, and lines that they read from terminals. A shell
 * is a process whose program has the name of one, or a fork of such a process.
 * Tells in records of the shape "command text".
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "event.h"
#include "text.h"
#include "bounds.h"
#include "scope.h"
#include "ring.h"
#include "speak.h"
#include "terminal.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Names of programs that are shells. */
SELECTION(shell_names, struct comm);

/* Of a process: shells and their forks, programs that were told, with settings.by_pid all that descend from those. */
#define IS_SHELL 1
#define IS_FORK 2 /* of a shell, whose program it still runs */
#define IS_TOLD 4

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, __u32);
} processes SEC(".maps");

static __always_inline void remember(__u32 pid, __u32 is)
{
	if (!is && !settings.by_pid)
		bpf_map_delete_elem(&processes, &pid);
	else if (bpf_map_update_elem(&processes, &pid, &is, BPF_ANY))
		count(COUNT_NO_STATE, 0);
}

/* A script has its own name; what runs it is the file that was opened in its place. */
static __always_inline bool is_shell(struct linux_binprm *binary)
{
	struct comm name = {};
	const unsigned char *file;

	bpf_get_current_comm(&name, sizeof(name));
	if (bpf_map_lookup_elem(&shell_names, &name))
		return true;
	if (BPF_CORE_READ(binary, interp) == BPF_CORE_READ(binary, filename))
		return false;
	__builtin_memset(&name, 0, sizeof(name));
	file = BPF_CORE_READ(binary, file, f_path.dentry, d_name.name);
	bpf_probe_read_kernel_str(&name, sizeof(name), file);
	return bpf_map_lookup_elem(&shell_names, &name);
}

/* The user id of the login; ~0: there was none, or the kernel does not keep it. */
static __always_inline __u32 login_of(struct task_struct *task)
{
	return bpf_core_field_exists(task->loginuid) ? BPF_CORE_READ(task, loginuid.val) : ~0U;
}

/*
 * Values: shell and, above it, login; length of the arguments and, above it,
 * terminal; address of the arguments; name of the shell; path.
 */
static __always_inline void tell_program(struct linux_binprm *binary, __u32 pid, bool is_fork)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct speaker *speaker = speaker_get();
	struct text_event *event;
	__u64 start, length;

	if (!speaker) {
		count(COUNT_NO_STATE, 0);
		return;
	}
	introduce(speaker, POINT_PROGRAM);
	event = &speaker->event;
	start = BPF_CORE_READ(task, mm, arg_start);
	length = BPF_CORE_READ(task, mm, arg_end) - start;
	event->value[0] = is_fork ? BPF_CORE_READ(task, real_parent, tgid) : pid;
	event->value[0] |= (__u64)login_of(task) << 32;
	event->value[1] = (__u32)length | (__u64)terminal_number(own_terminal(task)) << 32;
	event->value[2] = start;
	event->value[3] = event->value[4] = 0;
	if (is_fork)
		BPF_CORE_READ_INTO((struct comm *)&event->value[3], task, real_parent, comm);
	event->value[5] = BPF_CORE_READ(binary, exec);
	speaker->last = 5;
	speaker->sized = true;
	speaker->left = length;
	say(speaker, 2);
	speaker->sized = false;
	say(speaker, 5);
}

SEC("raw_tp/sched_process_exec")
int program_start(struct bpf_raw_tracepoint_args *ctx)
{
	struct linux_binprm *binary = (struct linux_binprm *)ctx->args[2];
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	__u32 *known = bpf_map_lookup_elem(&processes, &pid);
	__u32 before = known ? *known : 0, now = before & IS_TOLD;
	struct tty_struct *terminal;

	if (settings.by_pid && !known)
		return 0;
	if (is_shell(binary)) {
		now |= IS_SHELL;
		terminal = own_terminal((struct task_struct *)ctx->args[0]);
		if (terminal)
			begins_visible(terminal);
	}
	if (before & IS_SHELL && is_chosen()) {
		now |= IS_TOLD;
		tell_program(binary, pid, before & IS_FORK);
	}
	if (known || now)
		remember(pid, now);
	return 0;
}

SEC("raw_tp/sched_process_fork")
int program_fork(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 parent = BPF_CORE_READ((struct task_struct *)ctx->args[0], tgid);
	__u32 child = BPF_CORE_READ((struct task_struct *)ctx->args[1], tgid);
	__u32 *known = bpf_map_lookup_elem(&processes, &parent);
	__u32 is;

	if (!known || child == parent)
		return 0;
	is = *known & IS_SHELL ? IS_SHELL | IS_FORK : 0;
	if (is || settings.by_pid)
		remember(child, is);
	return 0;
}

#define SIGNAL_GROUP_EXIT 4 /* include/linux/sched/signal.h */

/* When the last thread of a process ends. Value: its status, as wait(2) tells it. */
SEC("raw_tp/sched_process_exit")
int program_end(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	struct signal_struct *group = BPF_CORE_READ(task, signal);
	__u32 pid = BPF_CORE_READ(task, tgid);
	__u32 *known = bpf_map_lookup_elem(&processes, &pid);
	struct speaker *speaker;
	bool was_told;

	if (!known || BPF_CORE_READ(group, live.counter))
		return 0;
	was_told = *known & IS_TOLD;
	bpf_map_delete_elem(&processes, &pid);
	if (!was_told)
		return 0;
	speaker = speaker_get();
	if (!speaker) {
		count(COUNT_NO_STATE, 0);
		return 0;
	}
	introduce(speaker, POINT_PROGRAM_END);
	/* Threads may go on after the first one, which has the status unless something ended all. */
	if (BPF_CORE_READ(group, flags) & SIGNAL_GROUP_EXIT)
		speaker->event.value[0] = (__u32)BPF_CORE_READ(group, group_exit_code);
	else
		speaker->event.value[0] = (__u32)BPF_CORE_READ(task, group_leader, exit_code);
	emit_values(speaker);
	return 0;
}

struct reading {
	__u64 buffer;
	struct tty_struct *terminal;
};

/* Reads of shells from terminals with echo on. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct reading);
} readings SEC(".maps");

SEC("tp/syscalls/sys_enter_read")
int line_read(struct syscall_enter *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 pid = id >> 32;
	__u32 *known = bpf_map_lookup_elem(&processes, &pid);
	struct reading reading = {};

	if (!known || !(*known & IS_SHELL))
		return 0;
	reading.terminal = terminal_of(ctx->arg[0]);
	reading.buffer = ctx->arg[1];
	if (reading.terminal && begins_visible(reading.terminal))
		bpf_map_update_elem(&readings, &id, &reading, BPF_ANY);
	return 0;
}

/* Values: length and address of the bytes. */
SEC("tp/syscalls/sys_exit_read")
int line_end(struct syscall_exit *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct reading *known = bpf_map_lookup_elem(&readings, &id), reading;
	struct speaker *speaker;

	if (!known)
		return 0;
	reading = *known;
	bpf_map_delete_elem(&readings, &id);
	if (ctx->result <= 0 || !stays_visible(reading.terminal) || !is_chosen())
		return 0;
	speaker = speaker_get();
	if (!speaker) {
		count(COUNT_NO_STATE, 0);
		return 0;
	}
	introduce(speaker, POINT_LINE);
	speaker->event.value[0] = ctx->result;
	speaker->event.value[1] = reading.buffer;
	speaker->last = 1;
	speaker->sized = true;
	speaker->left = ctx->result;
	say(speaker, 1);
	return 0;
}

SEC("tp/syscalls/sys_enter_ioctl")
int line_settings(struct syscall_enter *ctx)
{
	if (changes_terminal(ctx->arg[1]))
		forget_terminal(terminal_of(ctx->arg[0]));
	return 0;
}
