/*
 * uprobe_floor: what an empty probe adds to a call on this kernel, by the first
 * instruction of the function and by the way of attaching, in ns.
 *
 * The kernel emulates some instructions and single-steps all others, which is
 * much dearer; a 5-byte nop may be turned into a call. x86-64 only.
 *
 * usage: uprobe_floor [ITERATIONS] [ROUNDS] [ONLY]
 *     100000 calls per measurement, median of 7 rounds; ONLY selects the
 *     instructions whose name contains it
 */
#define _GNU_SOURCE /* sched_setaffinity */
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "raw_bpf.h"

#ifndef __x86_64__

int main(void)
{
	fprintf(stderr, "uprobe_floor: x86-64 only\n");
	return 2;
}

#else

#define MAX_ROUNDS 64
#define QUICK_CALLS 500
#define SLOW_NS 5000 /* a call that is so slow is measured fewer times */

typedef long function(void *);

#define FUNCTION(name, body)                                     \
	asm(".text\n"                                            \
	    ".balign 64\n"                                       \
	    ".globl " #name "\n"                                 \
	    ".type " #name ", @function\n" #name ":\n" body "\n" \
	    ".size " #name ", . - " #name "\n");                 \
	function name

FUNCTION(floor_nop, "nop; xor %eax, %eax; ret");
FUNCTION(floor_nop4, ".byte 0x0f, 0x1f, 0x40, 0x00; xor %eax, %eax; ret");
FUNCTION(floor_nop5, ".byte 0x0f, 0x1f, 0x44, 0x00, 0x00; xor %eax, %eax; ret");
FUNCTION(floor_nop6, ".byte 0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00; xor %eax, %eax; ret");
FUNCTION(floor_endbr, "endbr64; xor %eax, %eax; ret");
FUNCTION(floor_push_rbx, "push %rbx; xor %eax, %eax; pop %rbx; ret");
FUNCTION(floor_push_r14, "push %r14; xor %eax, %eax; pop %r14; ret");
FUNCTION(floor_sub_rsp, "sub $0x18, %rsp; xor %eax, %eax; add $0x18, %rsp; ret");
FUNCTION(floor_mov_reg, "mov %rdi, %rax; ret");
FUNCTION(floor_mov_mem, "mov (%rdi), %rax; ret");
FUNCTION(floor_xor, "xor %eax, %eax; ret");
FUNCTION(floor_test, "test %rdi, %rdi; xor %eax, %eax; ret");
FUNCTION(floor_lea, "lea -0x40(%rsp), %r11; xor %eax, %eax; ret");
FUNCTION(floor_cmp_go, "cmp 0x10(%r14), %rsp; xor %eax, %eax; ret");
FUNCTION(floor_jcc, "jbe 1f; nop; 1: xor %eax, %eax; ret");
FUNCTION(floor_jmp, "jmp 1f; nop; 1: xor %eax, %eax; ret");
FUNCTION(floor_call, "call 1f; ret; 1: xor %eax, %eax; ret");
FUNCTION(floor_ret, "ret");

static const struct {
	const char *name;
	function *call;
} functions[] = {
	{ "nop (1 byte)", floor_nop },	     { "nop (4 bytes)", floor_nop4 },
	{ "nop (5 bytes)", floor_nop5 },     { "nop (6 bytes)", floor_nop6 },
	{ "endbr64", floor_endbr },	     { "push rbx", floor_push_rbx },
	{ "push r14", floor_push_r14 },	     { "sub $0x18,rsp", floor_sub_rsp },
	{ "mov rdi,rax", floor_mov_reg },    { "mov (rdi),rax", floor_mov_mem },
	{ "xor eax,eax", floor_xor },	     { "test rdi,rdi", floor_test },
	{ "lea -0x40(rsp),r11", floor_lea }, { "cmp 0x10(r14),rsp", floor_cmp_go },
	{ "jcc rel8", floor_jcc },	     { "jmp rel8", floor_jmp },
	{ "call rel32", floor_call },	     { "ret", floor_ret },
};

#define FUNCTIONS (sizeof(functions) / sizeof(functions[0]))

static const struct kind {
	const char *name;
	int attach_type;
	bool entry;
	bool exit; /* a probe of its own at the return */
} kinds[] = {
	{ "none", RAW_PERF_UPROBE, false, false },
	{ "uprobe", RAW_PERF_UPROBE, true, false },
	{ "uretprobe", RAW_PERF_UPROBE, false, true },
	{ "both", RAW_PERF_UPROBE, true, true },
	{ "multi-entry", RAW_UPROBE_MULTI, true, false },
	{ "multi-ret", RAW_UPROBE_MULTI, false, true },
	{ "multi-both", RAW_UPROBE_MULTI, true, true },
	{ "session", RAW_UPROBE_SESSION, true, false },
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static char executable[512];
static int programs[KINDS]; /* loaded for the attach type; -1: not on this kernel */

static uint64_t file_offset(function *address)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long wanted = (unsigned long)address;
	unsigned long start, end, offset;
	char line[512];

	while (maps && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %*s %lx", &start, &end, &offset) == 3 &&
		    wanted >= start && wanted < end) {
			fclose(maps);
			return wanted - start + offset;
		}
	}
	fprintf(stderr, "uprobe_floor: cannot find my own code in /proc/self/maps\n");
	exit(1);
}

static int attach(int kind, uint64_t offset, bool is_return)
{
	int type = kinds[kind].attach_type;

	if (type == RAW_PERF_UPROBE)
		return raw_attach_perf(programs[kind], executable, offset, is_return);
	return raw_attach_multi(programs[kind], type, executable, &offset, 1, is_return);
}

static double cpu_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

/* r14 points to valid memory, as in Go code, for the function that reads it. */
static double ns_per_call(function *call, long calls)
{
	static long memory[8];
	double begin = cpu_ns();

	for (long i = 0; i < calls; i++)
		asm volatile("mov %0, %%r14\n\t"
			     "mov %0, %%rdi\n\t"
			     "call *%1"
			     :
			     : "r"(memory), "r"(call)
			     : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12",
			       "r14", "memory", "cc");
	return (cpu_ns() - begin) / calls;
}

/* Returns ns per call with the probe attached, or -errno. */
static double measure(function *call, int kind, long calls)
{
	uint64_t offset = file_offset(call);
	int entry = -1, exit_fd = -1;
	double ns;

	if (kinds[kind].entry)
		entry = attach(kind, offset, false);
	if (kinds[kind].exit)
		exit_fd = attach(kind, offset, true);
	if ((kinds[kind].entry && entry < 0) || (kinds[kind].exit && exit_fd < 0)) {
		ns = -errno;
	} else {
		ns = ns_per_call(call, QUICK_CALLS);
		if (ns > SLOW_NS)
			calls /= 25;
		ns = ns_per_call(call, calls < QUICK_CALLS ? QUICK_CALLS : calls);
	}
	if (entry >= 0)
		close(entry);
	if (exit_fd >= 0)
		close(exit_fd);
	return ns;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, int count)
{
	qsort(values, count, sizeof(*values), compare);
	return values[count / 2];
}

static void measure_function(int index, long calls, int rounds)
{
	static double ns[KINDS][MAX_ROUNDS];
	double base;

	for (int round = 0; round < rounds; round++)
		for (size_t kind = 0; kind < KINDS; kind++)
			ns[kind][round] = measure(functions[index].call, kind, calls);

	base = median(ns[0], rounds);
	printf("%-20s%12.1f", functions[index].name, base);
	for (size_t kind = 1; kind < KINDS; kind++) {
		double value = median(ns[kind], rounds);

		if (value < 0)
			printf("   error %3.0f", -value);
		else
			printf("%12.0f", value - base);
	}
	printf("\n");
	fflush(stdout);
}

static void stay_on_one_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

int main(int argc, char **argv)
{
	long calls = argc > 1 ? atol(argv[1]) : 100000;
	int rounds = argc > 2 ? atoi(argv[2]) : 7;
	const char *only = argc > 3 ? argv[3] : "";

	if (calls < 1 || rounds < 1 || rounds > MAX_ROUNDS) {
		fprintf(stderr, "usage: uprobe_floor [ITERATIONS] [ROUNDS, to %d] [ONLY]\n",
			MAX_ROUNDS);
		return 2;
	}
	if (readlink("/proc/self/exe", executable, sizeof(executable) - 1) < 0)
		return 1;
	stay_on_one_cpu();
	for (size_t kind = 0; kind < KINDS; kind++)
		programs[kind] = raw_load_empty(kinds[kind].attach_type);
	if (programs[0] < 0) {
		perror("uprobe_floor: load a BPF program");
		return 1;
	}

	printf("%-20s", "first instruction");
	for (size_t kind = 0; kind < KINDS; kind++)
		printf("%12s", kinds[kind].name);
	printf("\n");
	for (size_t i = 0; i < FUNCTIONS; i++)
		if (strstr(functions[i].name, only))
			measure_function(i, calls, rounds);
	return 0;
}

#endif
