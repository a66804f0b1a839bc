/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * Whether what a terminal gives to a reader was typed with echo on: without
 * echo it is a password. That echo is on when a line is read does not tell: it
 * may have been typed before. So a terminal counts as visible from when a
 * shell or a read of it begins with nothing typed and echo on, until someone
 * changes its settings.
 */
#ifndef ECAPTURE_TERMINAL_H
#define ECAPTURE_TERMINAL_H

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct tty_struct *);
	__type(value, __u8);
} visible SEC(".maps");

/* asm-generic/termbits.h: what x86 and arm64 use. */
#define ICANON 2
#define ECHO 8

/* asm-generic/ioctls.h: TCSETS, TCSETSW, TCSETSF; TCSETA, TCSETAW, TCSETAF; TCSETS2, TCSETSW2, TCSETSF2 */
static __always_inline bool changes_terminal(__u32 command)
{
	return (command >= 0x5402 && command <= 0x5404) ||
	       (command >= 0x5406 && command <= 0x5408) ||
	       (command >= 0x402c542b && command <= 0x402c542d);
}

#define S_IFMT 0170000
#define S_IFCHR 0020000

/* The terminal behind a descriptor of this thread; 0: it is something else. */
static __always_inline struct tty_struct *terminal_of(__u32 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct tty_file_private *own;
	struct file **files, *file;

	if (fd >= BPF_CORE_READ(table, max_fds))
		return 0;
	files = BPF_CORE_READ(table, fd);
	if (bpf_probe_read_kernel(&file, sizeof(file), files + fd) || !file)
		return 0;
	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFCHR)
		return 0;
	/* Other devices have something else there, which does not point back. */
	own = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(own, file) == file ? BPF_CORE_READ(own, tty) : 0;
}

/* Whole lines, with echo. */
static __always_inline bool is_visible(struct tty_struct *terminal)
{
	return (BPF_CORE_READ(terminal, termios.c_lflag) & (ICANON | ECHO)) == (ICANON | ECHO);
}

/* A read, or a shell, begins. */
static __always_inline bool begins_visible(struct tty_struct *terminal)
{
	struct n_tty_data *typed = BPF_CORE_READ(terminal, disc_data);
	__u8 yes = 1;

	if (!is_visible(terminal))
		return false;
	if (BPF_CORE_READ(typed, read_head) != BPF_CORE_READ(typed, read_tail))
		return bpf_map_lookup_elem(&visible, &terminal);
	return !bpf_map_update_elem(&visible, &terminal, &yes, BPF_ANY);
}

/* The controlling one; 0: there is none. */
static __always_inline struct tty_struct *own_terminal(struct task_struct *task)
{
	return BPF_CORE_READ(task, signal, tty);
}

/* Its device number, as in /proc/PID/stat; 0: there is none. */
static __always_inline __u32 terminal_number(struct tty_struct *terminal)
{
	__u32 major, minor;

	if (!terminal)
		return 0;
	major = BPF_CORE_READ(terminal, driver, major);
	minor = BPF_CORE_READ(terminal, driver, minor_start) + BPF_CORE_READ(terminal, index);
	return (minor & 0xff) | major << 8 | (minor & ~0xffU) << 12;
}

/* A read is over. */
static __always_inline bool stays_visible(struct tty_struct *terminal)
{
	return is_visible(terminal) && bpf_map_lookup_elem(&visible, &terminal);
}

/* Of a pseudo-terminal, either end may be told to change. */
static __always_inline void forget_terminal(struct tty_struct *terminal)
{
	struct tty_struct *other;

	if (!terminal)
		return;
	other = BPF_CORE_READ(terminal, link);
	bpf_map_delete_elem(&visible, &terminal);
	bpf_map_delete_elem(&visible, &other);
}

#endif
