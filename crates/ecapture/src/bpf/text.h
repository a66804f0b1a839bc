/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * The shape "command text": what crosses to user space, and how a hook is
 * described. text.rs mirrors this file; a test compares the two through BTF.
 */
#ifndef ECAPTURE_TEXT_H
#define ECAPTURE_TEXT_H

#define MOST_FIELDS 6
#define MOST_GUARDS 2
#define MOST_KEPT 4

/* Bytes of text in a record: short ones, and pieces of long ones. */
#define TEXT_SMALL 128
#define TEXT_PIECE 4096

/* What a field takes from the end of its chain. */
enum field_kind {
	FIELD_VALUE = 0, /* the value itself */
	FIELD_INT = 1, /* its lower four bytes */
	FIELD_U32 = 4, /* bytes at the value */
	FIELD_U64 = 8,
	FIELD_TEXT = 16, /* a C string there */
	FIELD_SIZED = 17, /* as many bytes there as the field before says */
};

struct field {
	struct chain at; /* base KEPT(n): begins at what a hook of this thread kept in slot n */
	__u32 kind;
	__s32 keep; /* the slot in which the value is kept; less than 0: none */
};

#define KEPT(slot) (-3 - (slot)) /* behind CHAIN_THREAD; its own inverse */

/* Nothing is said unless the value of a field is wanted: one of 64, or any but 0. */
struct guard {
	__u64 first;
	__u64 set; /* bit n: first + n is wanted; 0: all but 0 are */
	__u32 field;
	__u32 pad;
};

/* What to read where a function is called or returns. */
struct text_hook {
	struct field field[MOST_FIELDS];
	struct guard guard[MOST_GUARDS];
	__u32 fields;
	__u32 guards;
	__u32 point; /* user space's name for it */
	__u32 silent; /* only keeps values */
};

/* text_event.point of what is told of any shell; other points are numbers of hooks. shells.rs mirrors it. */
enum shell_point {
	POINT_PROGRAM = 64, /* a shell runs a program */
	POINT_PROGRAM_END = 65,
	POINT_LINE = 66, /* a shell read from a terminal */
};

/* text_event.flags */
#define TEXT_LAST 1 /* the last record of the call */
#define TEXT_UNREADABLE 2 /* the text, or what is left of it, could not be read */

/* head.stream counts the records of the thread from 1, so that lost ones show. */
struct text_event {
	struct event_head head;
	__u32 pid;
	__u32 uid;
	char comm[COMM_LEN];
	__u32 point;
	__u32 flags;
	__u32 part; /* the field that the text belongs to */
	__u32 length; /* bytes of text that follow */
	__u64 value[MOST_FIELDS]; /* of text, its address */
};

#endif
