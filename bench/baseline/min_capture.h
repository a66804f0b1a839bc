/* What the two halves of min_capture share. */
#ifndef MIN_CAPTURE_H
#define MIN_CAPTURE_H

#define MAX_DATA 16384

enum direction {
	DIRECTION_READ,
	DIRECTION_WRITE,
};

/* How much is done with a call; the variable `work` of the BPF side. */
enum work {
	WORK_COUNT, /* count calls, copy nothing */
	WORK_WAKE, /* wake the reader for every event */
	WORK_BATCHED, /* let the reader come by itself */
};

enum counter {
	COUNTER_CALLS,
	COUNTER_LOST_BYTES, /* the ring buffer was full */
	COUNTER_UNREADABLE, /* bytes of the watched program that could not be read */
	COUNTERS,
};

/* Up to MAX_DATA bytes of one call. */
struct event {
	unsigned long long time;
	unsigned long long context; /* SSL *: tells connections of a process apart */
	unsigned int pid;
	unsigned int tid;
	unsigned int direction;
	unsigned int len;
	char data[MAX_DATA];
};

#define EVENT_HEAD __builtin_offsetof(struct event, data)

#endif
