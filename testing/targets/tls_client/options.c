#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
	"usage: tls_client [options] HOST PORT PATH\n"
	"       tls_client [options] --unix SOCKET PATH\n"
	"Prints the number of body bytes that it received.\n"
	"\n"
	"How it calls OpenSSL\n"
	"  -x, --ex               SSL_read_ex and SSL_write_ex\n"
	"  -b, --nonblocking      non-blocking socket, odd small reads\n"
	"  -B, --memory-bio       memory BIOs: the SSL object knows no socket\n"
	"  -P, --peek             SSL_peek before each read\n"
	"  -w, --partial-write    SSL_MODE_ENABLE_PARTIAL_WRITE: a write returns after one record\n"
	"  -c, --read-size N      largest read (16384)\n"
	"  -W, --write-size N     largest write (everything in one call)\n"
	"  -2, --tls12            TLS 1.2\n"
	"What it does\n"
	"  -N, --connections N    connections, one after another (1)\n"
	"  -K, --requests N       requests on each connection (1)\n"
	"  -u, --upload BYTES     POST that many bytes of stream 0xc11e\n"
	"  -C, --reuse-ssl        one SSL object for all connections, SSL_clear between them\n"
	"  -T, --threads N        one thread writes all requests, N-1 take turns at reading\n"
	"  -0, --early-data       requests after the first connection are 0-RTT data\n"
	"  -E, --early-exit       _exit() right after the last byte\n"
	"  -k, --keylog FILE      append the key log: the truth for tests\n"
	"Delays in ms\n"
	"  -p, --handshake-delay  before the first connection\n"
	"  -q, --request-delay    between handshake and first request of each connection\n"
	"  -e, --exit-delay       at the end\n";

static const struct option long_options[] = {
	{ "unix", required_argument, NULL, 'U' },
	{ "ex", no_argument, NULL, 'x' },
	{ "nonblocking", no_argument, NULL, 'b' },
	{ "memory-bio", no_argument, NULL, 'B' },
	{ "peek", no_argument, NULL, 'P' },
	{ "partial-write", no_argument, NULL, 'w' },
	{ "read-size", required_argument, NULL, 'c' },
	{ "write-size", required_argument, NULL, 'W' },
	{ "tls12", no_argument, NULL, '2' },
	{ "connections", required_argument, NULL, 'N' },
	{ "requests", required_argument, NULL, 'K' },
	{ "upload", required_argument, NULL, 'u' },
	{ "reuse-ssl", no_argument, NULL, 'C' },
	{ "threads", required_argument, NULL, 'T' },
	{ "early-data", no_argument, NULL, '0' },
	{ "early-exit", no_argument, NULL, 'E' },
	{ "keylog", required_argument, NULL, 'k' },
	{ "handshake-delay", required_argument, NULL, 'p' },
	{ "request-delay", required_argument, NULL, 'q' },
	{ "exit-delay", required_argument, NULL, 'e' },
	{ NULL, 0, NULL, 0 },
};

static void die_with_usage(void)
{
	fputs(usage, stderr);
	exit(2);
}

static void set_option(struct options *options, int letter, const char *value)
{
	switch (letter) {
	case 'U':
		options->unix_socket = value;
		break;
	case 'x':
		options->ex_calls = true;
		break;
	case 'b':
		options->nonblocking = true;
		break;
	case 'B':
		options->memory_bio = true;
		break;
	case 'P':
		options->peek = true;
		break;
	case 'w':
		options->partial_write = true;
		break;
	case 'c':
		options->read_size = atoi(value);
		break;
	case 'W':
		options->write_size = atoi(value);
		break;
	case '2':
		options->tls12 = true;
		break;
	case 'N':
		options->connections = atoi(value);
		break;
	case 'K':
		options->requests = atoi(value);
		break;
	case 'u':
		options->upload = atol(value);
		break;
	case 'C':
		options->reuse_ssl = true;
		break;
	case 'T':
		options->threads = atoi(value);
		break;
	case '0':
		options->early_data = true;
		break;
	case 'E':
		options->early_exit = true;
		break;
	case 'k':
		options->keylog = value;
		break;
	case 'p':
		options->handshake_delay_ms = atoi(value);
		break;
	case 'q':
		options->request_delay_ms = atoi(value);
		break;
	case 'e':
		options->exit_delay_ms = atoi(value);
		break;
	default:
		die_with_usage();
	}
}

static void reject_combinations(const struct options *options)
{
	const char *problem = NULL;

	if (options->threads == 1)
		problem = "--threads needs a writer and a reader: 2 or more";
	else if (options->threads && (options->memory_bio || options->peek || options->early_data))
		problem = "--threads goes with no --memory-bio, --peek or --early-data";
	else if (options->memory_bio && (options->reuse_ssl || options->early_data))
		problem = "--memory-bio goes with no --reuse-ssl or --early-data";
	else if (options->early_data && options->tls12)
		problem = "--early-data needs TLS 1.3";
	else if (options->read_size < 1)
		problem = "--read-size must be 1 or more";
	if (problem) {
		fprintf(stderr, "tls_client: %s\n", problem);
		exit(2);
	}
}

struct options parse_options(int argc, char **argv)
{
	struct options options = {
		.connections = 1,
		.requests = 1,
		.read_size = 16384,
		.upload = -1,
	};
	int letter;

	while ((letter = getopt_long(argc, argv, "U:xbBPwc:W:2N:K:u:CT:0Ek:p:q:e:", long_options,
				     NULL)) != -1)
		set_option(&options, letter, optarg);

	if (argc - optind != (options.unix_socket ? 1 : 3))
		die_with_usage();
	if (!options.unix_socket) {
		options.host = argv[optind++];
		options.port = argv[optind++];
	}
	options.path = argv[optind];
	reject_combinations(&options);
	return options;
}
