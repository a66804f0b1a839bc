/*
 * empty_probe: attaches an empty BPF program to functions of a library until it
 * is stopped. The least that any tracer by uprobes costs.
 *
 * usage: empty_probe KIND FILE OFFSET[,OFFSET...] [OFFSET[,OFFSET...]]
 *   KIND     entry, return, both: perf uprobes
 *            multi, multi-both: uprobe_multi (Linux 6.6)
 *            session: entry and return by one program (Linux 6.13)
 *   OFFSET   of a function in the file, hexadecimal; those behind the first list
 *            are probed at the return by uprobe_multi
 *
 * Prints "ready" on standard error.
 */
#include <stdbool.h>
#include <stdlib.h>

#include "raw_bpf.h"

#define MAX_OFFSETS 64

static const char *library;
static uint64_t offsets[MAX_OFFSETS];
static int count;

static void check(int fd, const char *what)
{
	if (fd < 0) {
		perror(what);
		exit(1);
	}
}

static void attach_perf(bool entry, bool exit)
{
	int program = raw_load_empty(RAW_PERF_UPROBE);

	check(program, "load");
	for (int i = 0; i < count; i++) {
		if (entry)
			check(raw_attach_perf(program, library, offsets[i], false), "uprobe");
		if (exit)
			check(raw_attach_perf(program, library, offsets[i], true), "uretprobe");
	}
}

static void attach_multi(int type, bool exit)
{
	int program = raw_load_empty(type);

	check(program, "load");
	check(raw_attach_multi(program, type, library, offsets, count, false), "entry link");
	if (exit)
		check(raw_attach_multi(program, type, library, offsets, count, true),
		      "return link");
}

static bool attach(const char *kind)
{
	if (!strcmp(kind, "entry"))
		attach_perf(true, false);
	else if (!strcmp(kind, "return"))
		attach_perf(false, true);
	else if (!strcmp(kind, "both"))
		attach_perf(true, true);
	else if (!strcmp(kind, "multi"))
		attach_multi(RAW_UPROBE_MULTI, false);
	else if (!strcmp(kind, "multi-both"))
		attach_multi(RAW_UPROBE_MULTI, true);
	else if (!strcmp(kind, "session"))
		attach_multi(RAW_UPROBE_SESSION, false);
	else
		return false;
	return true;
}

static void read_offsets(char *list)
{
	count = 0;
	for (char *word = strtok(list, ","); word && count < MAX_OFFSETS; word = strtok(NULL, ","))
		offsets[count++] = strtoull(word, NULL, 16);
}

int main(int argc, char **argv)
{
	bool is_called = argc == 4 || argc == 5;

	if (is_called) {
		library = argv[2];
		read_offsets(argv[3]);
	}
	if (!is_called || !attach(argv[1])) {
		fprintf(stderr,
			"usage: empty_probe KIND FILE OFFSET[,OFFSET...] [OFFSET[,OFFSET...]]\n");
		return 2;
	}
	if (argc == 5) {
		int program = raw_load_empty(RAW_UPROBE_MULTI);

		read_offsets(argv[4]);
		check(program, "load");
		check(raw_attach_multi(program, RAW_UPROBE_MULTI, library, offsets, count, true),
		      "return link");
	}
	fprintf(stderr, "ready\n");
	for (;;)
		pause();
}
