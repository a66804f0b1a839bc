// SPDX-License-Identifier: (MIT OR GPL-2.0)
/*
 * The shape "command text": functions that know what a person typed or a
 * client asked for, and what came of it. Which values and texts they have, and
 * where, is described in a table; the attach cookie is the index. Nothing here
 * knows a program.
 *
 * Built like tls.bpf.c.
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
#include "chain.h"
#include "speak.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MOST_DESCRIBED);
	__type(key, __u32);
	__type(value, struct text_hook);
} text_hooks SEC(".maps");

static __always_inline __u64 field_value(struct pt_regs *ctx, struct speaker *speaker,
					 const struct field *field)
{
	__s32 slot = KEPT(field->at.base);
	__u64 value = 0, loaded = 0;

	if (slot >= 0) {
		value = speaker->kept[slot & (MOST_KEPT - 1)];
		if (!follow(&field->at, &value))
			return 0;
	} else if (!find(ctx, &field->at, &value)) {
		return 0;
	}
	switch (field->kind) {
	case FIELD_INT:
		return (__u32)value;
	case FIELD_U32:
		bpf_probe_read_user(&loaded, 4, (void *)value);
		return loaded;
	case FIELD_U64:
		bpf_probe_read_user(&loaded, 8, (void *)value);
		return loaded;
	}
	return value;
}

static __always_inline bool is_wanted(const struct guard *guard, const struct text_event *event)
{
	__u64 value = event->value[guard->field < MOST_FIELDS ? guard->field : 0];

	if (!guard->set)
		return value;
	return value - guard->first < 64 && guard->set >> (value - guard->first & 63) & 1;
}

static __always_inline bool is_text(const struct field *field, __u64 value)
{
	return field->kind >= FIELD_TEXT && value;
}

static __always_inline void emit(struct speaker *speaker, const struct text_hook *hook)
{
	struct text_event *event = &speaker->event;

	speaker->last = MOST_FIELDS;
#pragma unroll
	for (__u32 i = 0; i < MOST_FIELDS; i++) {
		if (i < hook->fields && is_text(&hook->field[i], event->value[i]))
			speaker->last = i;
	}
	if (speaker->last == MOST_FIELDS) {
		emit_values(speaker);
		return;
	}
#pragma unroll
	for (__u32 i = 0; i < MOST_FIELDS; i++) {
		if (i >= hook->fields || !is_text(&hook->field[i], event->value[i]))
			continue;
		speaker->sized = hook->field[i].kind == FIELD_SIZED;
		speaker->left = i ? event->value[i - 1] : 0;
		say(speaker, i);
	}
}

static __always_inline int tell(struct pt_regs *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32, index = hook_of(ctx);
	struct text_hook *hook = bpf_map_lookup_elem(&text_hooks, &index);
	struct text_event *event;
	struct speaker *speaker;

	if (!hook || !in_scope(pid))
		return 0;
	speaker = speaker_get();
	if (!speaker) {
		count(COUNT_NO_STATE, 0);
		return 0;
	}
	event = &speaker->event;
#pragma unroll
	for (__u32 i = 0; i < MOST_FIELDS; i++)
		event->value[i] = i < hook->fields ? field_value(ctx, speaker, &hook->field[i]) : 0;
#pragma unroll
	for (__u32 i = 0; i < MOST_GUARDS; i++) {
		if (i < hook->guards && !is_wanted(&hook->guard[i], event))
			return 0;
	}
#pragma unroll
	for (__u32 i = 0; i < MOST_FIELDS; i++) {
		if (i < hook->fields && hook->field[i].keep >= 0)
			speaker->kept[hook->field[i].keep & (MOST_KEPT - 1)] = event->value[i];
	}
	if (hook->silent)
		return 0;
	introduce(speaker, hook->point);
	emit(speaker, hook);
	return 0;
}

SEC("uprobe")
int text_at(struct pt_regs *ctx)
{
	return tell(ctx);
}

SEC("uretprobe")
int text_after(struct pt_regs *ctx)
{
	return tell(ctx);
}
