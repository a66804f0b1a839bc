// SPDX-License-Identifier: (MIT OR GPL-2.0)
/*
 * The shape "packet". Programs look at packets and copy them; all of them leave
 * packets as they are and let others look, too.
 *
 * Filter expressions are programs of their own (bpf/filter), which are attached
 * instead and pass what they choose on to these by a tail call.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "event.h"
#include "bounds.h"
#include "scope.h"
#include "ring.h"
#include "owner.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Only to have this type in BTF, where a test compares it with event.rs. */
const struct packet_event *packet_event_type;

/* User space puts in what it attaches to. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct interface);
} interfaces SEC(".maps");

/* Where filters go on: packet_in, packet_out, packet_tap. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u32);
} captures SEC(".maps");

/* The last of the ring is for secrets: without them all packets of a connection would be worth nothing. */
static __always_inline bool is_full_for_packets(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >
	       bpf_ringbuf_query(&events, BPF_RB_RING_SIZE) / 16 * 15;
}

/* bpf_ringbuf_reserve wants a constant, so records come in a few sizes. Answers whether there was room. */
static __always_inline bool copy_class(struct __sk_buff *skb, const struct packet_event *head,
				       __u32 class)
{
	struct packet_event *event = bpf_ringbuf_reserve(&events, sizeof(*event) + class, 0);

	if (!event)
		return false;
	*event = *head;
	if (bpf_skb_load_bytes(skb, 0, event + 1, clamp_to_some(head->length, class))) {
		bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);
		return false;
	}
	bpf_ringbuf_submit(event, wake_flag(sizeof(*event) + class));
	return true;
}

/* Acknowledgements; small messages; whole frames; jumbo frames; what segmentation and its reverse make. */
static __always_inline bool copy(struct __sk_buff *skb, const struct packet_event *head)
{
	if (head->length <= 128)
		return copy_class(skb, head, 128);
	if (head->length <= 512)
		return copy_class(skb, head, 512);
	if (head->length <= 1536)
		return copy_class(skb, head, 1536);
	if (head->length <= 9216)
		return copy_class(skb, head, 9216);
	if (head->length <= 32768)
		return copy_class(skb, head, 32768);
	if (head->length <= 66048)
		return copy_class(skb, head, 66048);
	return copy_class(skb, head, SNAPLEN_MAX);
}

static __always_inline void capture(struct __sk_buff *skb, struct interface *interface, __u32 flags,
				    const struct owner *owner)
{
	struct packet_event head = {};

	head.head.kind = EVENT_PACKET;
	head.head.time = bpf_ktime_get_ns();
	head.original = skb->len;
	head.length = skb->len < packet_settings.snaplen ? skb->len : packet_settings.snaplen;
	head.interface = skb->ifindex;
	head.flags = flags;
	head.segments = skb->gso_segs;
	if (skb->vlan_present) {
		head.flags |= PACKET_VLAN;
		head.vlan_protocol = bpf_ntohs(skb->vlan_proto);
		head.vlan_tag = skb->vlan_tci;
	}
	if (owner)
		head.owner = *owner;
	__sync_fetch_and_add(&interface->packets, 1);
	if (is_full_for_packets() || !copy(skb, &head))
		__sync_fetch_and_add(&interface->dropped, 1);
}

/* Of a packet socket, which has its own copy of each packet: none is kept. Linux < 6.6. */
SEC("socket")
int packet_tap(struct __sk_buff *skb)
{
	__u32 index = skb->ifindex;
	struct interface *interface = bpf_map_lookup_elem(&interfaces, &index);
	bool outgoing = skb->pkt_type == PACKET_OUTGOING;

	if (!interface || (index == LOOPBACK && outgoing))
		return 0;
	if (packet_settings.unowned)
		capture(skb, interface,
			index == LOOPBACK ? 0 :
			outgoing	  ? PACKET_OUT :
					    PACKET_IN,
			0);
	return 0;
}

#ifndef ECAPTURE_LEGACY
/* A packet is captured if either end is a program that is asked for. */
static __always_inline int look(struct __sk_buff *skb, __u32 flags)
{
	__u32 index = skb->ifindex;
	struct interface *interface = bpf_map_lookup_elem(&interfaces, &index);
	struct owner owner = {};

	/* What is broadcast comes back from our own stack, without a link header, and was seen on its way out. */
	if (!interface || skb->pkt_type == PACKET_LOOPBACK)
		return TCX_NEXT;
	if (index == LOOPBACK)
		flags = 0;
	if (owner_of(skb, interface->network, flags, &owner) ? owner_in_scope(&owner) :
							       packet_settings.unowned)
		capture(skb, interface, flags, &owner);
	return TCX_NEXT;
}

SEC("tc")
int packet_in(struct __sk_buff *skb)
{
	return look(skb, PACKET_IN);
}

/* On loopback, too: there a packet goes out and comes in at once, and has its socket only on the way out. */
SEC("tc")
int packet_out(struct __sk_buff *skb)
{
	return look(skb, PACKET_OUT);
}
#endif
