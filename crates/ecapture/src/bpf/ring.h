/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* The ring buffer, and when its reader is woken. */
#ifndef ECAPTURE_RING_H
#define ECAPTURE_RING_H

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

/*
 * The reader polls; it is woken only each time that so much more is waiting,
 * because a wake-up costs the traced program more than moving 16 KiB. Two
 * programs at once may step over one mark, but not over the next.
 */
static __always_inline __u64 wake_flag(__u64 length)
{
	__u64 waiting = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);
	__u64 before = waiting - ((length + 15) & ~7ULL); /* with its header, in whole words */

	return waiting >> settings.wake_shift != before >> settings.wake_shift ?
		       BPF_RB_FORCE_WAKEUP :
		       BPF_RB_NO_WAKEUP;
}

#endif
