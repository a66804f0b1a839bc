/*
 * min_capture: the least that a tracer of OpenSSL can do: it copies what passes
 * SSL_read and SSL_write into a file. No product: no connections, no protocols,
 * no discovery. It says how fast capturing could be, and what really passed.
 *
 * usage: min_capture [-w count|wake|batched] [-o FILE] LIBRARY
 *        min_capture ... -s READ,WRITE LIBRARY
 *   (default)   uprobe and uretprobe at SSL_read, SSL_write and their _ex twins
 *   -s          one session probe (Linux 6.13) at the internal functions behind
 *               both, whose offsets in the file are READ and WRITE (hexadecimal)
 *   -w          what is done with a call, see min_capture.h (wake)
 *   -o          output: "[TIME] PID:p TID:t SSL:s READ (n bytes):", n bytes, newline
 *
 * Prints "ready" on standard error, and a summary when SIGINT stops it.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "min_capture.h"
#include "raw_bpf.h"

#define MAX_CPUS 1024
#define BATCH_US 5000
#define POLL_MS 200
#define OUTPUT_BUFFER (1 << 20)

static struct {
	const char *library;
	const char *output;
	enum work work;
	bool session;
	uint64_t read_offset;
	uint64_t write_offset;
} options = { .work = WORK_WAKE };

static struct {
	unsigned long long events;
	unsigned long long bytes;
} consumed;

static volatile sig_atomic_t stopped;
static FILE *output;

static void stop(int signal)
{
	(void)signal;
	stopped = 1;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int print_event(void *context, void *data, size_t size)
{
	const struct event *event = data;

	(void)context;
	(void)size;
	consumed.events++;
	consumed.bytes += event->len;
	if (output) {
		fprintf(output, "[%llu] PID:%u TID:%u SSL:%llx %s (%u bytes):\n", event->time,
			event->pid, event->tid, event->context,
			event->direction == DIRECTION_WRITE ? "WRITE" : "READ", event->len);
		fwrite(event->data, 1, event->len, output);
		fputc('\n', output);
	}
	return 0;
}

/* The object lies beside the program. */
static struct bpf_object *open_object(void)
{
	char path[512];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - sizeof(".bpf.o"));
	struct bpf_object *object;

	if (len < 0)
		fail("/proc/self/exe");
	strcpy(path + len, ".bpf.o");
	object = bpf_object__open(path);
	if (!object)
		fail(path);
	return object;
}

static bool is_session_program(struct bpf_program *program)
{
	return !strncmp(bpf_program__name(program), "session_", strlen("session_"));
}

/* Loads the programs of the chosen way of attaching, and only these. */
static struct bpf_object *load_object(void)
{
	struct bpf_object *object = open_object();
	struct bpf_map *constants = bpf_object__find_map_by_name(object, ".rodata");
	struct bpf_program *program;
	__u32 work = options.work;

	if (bpf_map__set_initial_value(constants, &work, sizeof(work)))
		fail("set the constants");
	bpf_object__for_each_program(program, object)
	{
		bpf_program__set_autoload(program, is_session_program(program) == options.session);
		if (options.session)
			bpf_program__set_expected_attach_type(program, RAW_UPROBE_SESSION);
	}
	if (bpf_object__load(object))
		fail("load");
	return object;
}

static void attach_session(struct bpf_object *object, const char *name, uint64_t offset)
{
	struct bpf_program *program = bpf_object__find_program_by_name(object, name);

	if (raw_attach_multi(bpf_program__fd(program), RAW_UPROBE_SESSION, options.library, &offset,
			     1, false) < 0)
		fail(name);
}

static void attach_function(struct bpf_object *object, const char *function, const char *name,
			    bool is_return)
{
	struct bpf_program *program = bpf_object__find_program_by_name(object, name);
	LIBBPF_OPTS(bpf_uprobe_opts, opts, .func_name = function, .retprobe = is_return);

	if (!bpf_program__attach_uprobe_opts(program, -1, options.library, 0, &opts))
		fail(function);
}

static void attach_exported(struct bpf_object *object)
{
	static const struct {
		const char *function, *enter, *leave;
	} probes[] = {
		{ "SSL_read", "enter_plain", "leave_read" },
		{ "SSL_write", "enter_plain", "leave_write" },
		{ "SSL_read_ex", "enter_ex", "leave_read" },
		{ "SSL_write_ex", "enter_ex", "leave_write" },
	};

	for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++) {
		attach_function(object, probes[i].function, probes[i].enter, false);
		attach_function(object, probes[i].function, probes[i].leave, true);
	}
}

static void consume_until_stopped(struct bpf_object *object)
{
	int fd = bpf_object__find_map_fd_by_name(object, "ring");
	struct ring_buffer *ring = ring_buffer__new(fd, print_event, NULL, NULL);

	if (!ring)
		fail("ring buffer");
	fprintf(stderr, "ready\n");
	while (!stopped) {
		if (options.work == WORK_BATCHED) {
			usleep(BATCH_US);
			ring_buffer__consume(ring);
		} else {
			ring_buffer__poll(ring, POLL_MS);
		}
	}
	ring_buffer__consume(ring);
	ring_buffer__free(ring);
}

static unsigned long long sum_counter(struct bpf_object *object, __u32 counter)
{
	int fd = bpf_object__find_map_fd_by_name(object, "counters");
	__u64 values[MAX_CPUS] = { 0 };
	unsigned long long sum = 0;

	if (libbpf_num_possible_cpus() <= MAX_CPUS)
		bpf_map_lookup_elem(fd, &counter, values);
	for (int i = 0; i < MAX_CPUS; i++)
		sum += values[i];
	return sum;
}

static void print_summary(struct bpf_object *object)
{
	fprintf(stderr,
		"min_capture: calls=%llu events=%llu bytes=%llu lost=%llu unreadable=%llu\n",
		sum_counter(object, COUNTER_CALLS), consumed.events, consumed.bytes,
		sum_counter(object, COUNTER_LOST_BYTES), sum_counter(object, COUNTER_UNREADABLE));
}

static void die_with_usage(void)
{
	fprintf(stderr, "usage: min_capture [-w count|wake|batched] [-o FILE] "
			"[-s READ,WRITE] LIBRARY\n");
	exit(2);
}

static enum work parse_work(const char *word)
{
	if (!strcmp(word, "count"))
		return WORK_COUNT;
	if (!strcmp(word, "wake"))
		return WORK_WAKE;
	if (strcmp(word, "batched"))
		die_with_usage();
	return WORK_BATCHED;
}

static void parse_options(int argc, char **argv)
{
	int letter;
	char *end;

	while ((letter = getopt(argc, argv, "w:o:s:")) != -1) {
		switch (letter) {
		case 'w':
			options.work = parse_work(optarg);
			break;
		case 'o':
			options.output = optarg;
			break;
		case 's':
			options.session = true;
			options.read_offset = strtoull(optarg, &end, 16);
			if (*end != ',')
				die_with_usage();
			options.write_offset = strtoull(end + 1, NULL, 16);
			break;
		default:
			die_with_usage();
		}
	}
	if (argc - optind != 1)
		die_with_usage();
	options.library = argv[optind];
}

int main(int argc, char **argv)
{
	struct bpf_object *object;

	parse_options(argc, argv);
	if (options.output) {
		output = fopen(options.output, "w");
		if (!output)
			fail(options.output);
		setvbuf(output, NULL, _IOFBF, OUTPUT_BUFFER);
	}
	signal(SIGINT, stop);
	signal(SIGTERM, stop);
	object = load_object();
	if (options.session) {
		attach_session(object, "session_read", options.read_offset);
		attach_session(object, "session_write", options.write_offset);
	} else {
		attach_exported(object);
	}
	consume_until_stopped(object);
	if (output)
		fclose(output);
	print_summary(object);
	return 0;
}
