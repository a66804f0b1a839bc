/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * Whether a return probe does no harm.
 *
 * The kernel keeps the pending returns of a thread in a list, newest first,
 * which must be the order in which calls return, and judges by the stack
 * pointer which of them are over. That holds for nested calls on one stack. A
 * thread that has calls open on two stacks (coroutines) is killed when they
 * return in another order. So only calls on the thread's own stack get a
 * return probe; when in doubt, it counts as a foreign one.
 */
#ifndef ECAPTURE_STACK_H
#define ECAPTURE_STACK_H

#define PAGE 4096ULL
#define VM_NOHUGEPAGE 0x40000000 /* since Linux 6.7 also by MAP_STACK */
#define EBUSY 16

/* Calls inside of a call are not further below it. Less than the smallest stack on which OpenSSL runs. */
#define NESTED_DEPTH 8192

#if defined(__TARGET_ARCH_x86)
#define THREAD_POINTER(task) ((task)->thread.fsbase)
#elif defined(__TARGET_ARCH_arm64)
#define THREAD_POINTER(task) ((task)->thread.uw.tp_value)
#endif

enum stack {
	STACK_OWN,
	STACK_FOREIGN,
	STACK_UNKNOWN, /* the address space is being changed */
};

struct stack_search {
	__u64 sp;
	__u64 top; /* the own stack is below */
	enum stack found;
};

/* Looks at the memory around the stack pointer. */
static long find_top(struct task_struct *task, struct vm_area_struct *vma,
		     struct stack_search *search)
{
	__u64 thread_pointer = THREAD_POINTER(task);
	__u64 start_stack = task->mm->start_stack;
	bool is_first = task->pid == task->tgid;

	search->found = STACK_OWN;
	/* The stack that the kernel made. Other threads have no business there. */
	if (is_first && start_stack > search->sp && start_stack < vma->vm_end)
		search->top = start_stack;
	/*
	 * C libraries put a thread's own data at the top of its stack. Those of the
	 * first thread are elsewhere, maybe next to a foreign stack, unless it was
	 * forked by another thread: then they are in memory for a stack (MAP_STACK).
	 */
	else if (thread_pointer > search->sp && thread_pointer < vma->vm_end &&
		 (!is_first || vma->vm_flags & VM_NOHUGEPAGE))
		search->top = thread_pointer;
	else
		search->found = STACK_FOREIGN;
	return 0;
}

/* Another thread that changes the address space is mostly done within microseconds. All attempts take about 0.5 ms. */
#define ATTEMPTS 10000

static long search_again(__u32 attempt, struct stack_search *search)
{
	return bpf_find_vma(bpf_get_current_task_btf(), search->sp, find_top, search, 0) != -EBUSY;
}

/*
 * Where nothing but the own stack can be, so that no lock is needed: the kernel
 * keeps 128 MiB below the first stack free of other mappings, and no thread has
 * a smaller stack than 16 KiB (PTHREAD_STACK_MIN).
 */
static __always_inline bool is_near_top(struct task_struct *task, __u64 sp)
{
	if (task->pid == task->tgid)
		return task->mm->start_stack - sp < 8 << 20;
	return THREAD_POINTER(task) - sp < 16 << 10;
}

static __always_inline enum stack which_stack(struct own_stack *own, struct task_struct *task,
					      __u64 sp)
{
	struct stack_search search = { .sp = sp, .found = STACK_UNKNOWN };
	__u64 space = (__u64)task->mm;

	if (is_near_top(task, sp) || (sp - own->low < own->high - own->low && own->space == space))
		return STACK_OWN;
	bpf_loop(ATTEMPTS, search_again, &search, 0);
	if (search.found != STACK_OWN)
		return search.found;
	/* No further down than it was in use: below may be other memory some day. */
	own->low = sp & ~(PAGE - 1);
	own->high = search.top;
	own->space = space;
	return STACK_OWN;
}

/*
 * Whether the newest pending return is that of a call around this one. Its
 * return address, which the kernel replaced, is still in place then; not so if
 * another stack was copied over it (greenlets) or it was left by longjmp.
 */
static __always_inline bool is_inside(struct pt_regs *ctx, struct task_struct *task, __u64 outer)
{
	__u64 trampoline = task->mm->uprobes_state.xol_area->vaddr;
	__u64 distance = outer - PT_REGS_SP(ctx);

	if (distance > NESTED_DEPTH)
		return false;
#if defined(__TARGET_ARCH_x86)
	__u64 address = 0;

	bpf_probe_read_user(&address, sizeof(address), (void *)outer);
	return address == trampoline;
#else
	/* The caller's frame has it, somewhere. */
	return distance || PT_REGS_RET(ctx) == trampoline;
#endif
}

/* The stack that a call is on. On its own one, a return probe does no harm. */
static __always_inline enum stack stack_of(struct pt_regs *ctx, struct thread *thread)
{
	struct task_struct *task = bpf_get_current_task_btf();
	enum stack stack = which_stack(&thread->own_stack, task, PT_REGS_SP(ctx));
	struct return_instance *pending = task->utask->return_instances;

	if (stack == STACK_OWN && pending && !is_inside(ctx, task, pending->stack))
		return STACK_FOREIGN;
	return stack;
}

#endif
