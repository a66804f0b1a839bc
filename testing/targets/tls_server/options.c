#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
	"usage: tls_server [options] PORT\n"
	"       tls_server [options] --unix SOCKET\n"
	"Prints \"ready PORT\" (or SOCKET) when it listens; port 0 takes a free one.\n"
	"\n"
	"  -f, --fork             a process per connection (default: a thread)\n"
	"  -e, --epoll            one thread with non-blocking sockets\n"
	"  -x, --ex               SSL_read_ex and SSL_write_ex\n"
	"  -W, --write-size N     largest write (everything in one call)\n"
	"  -0, --early-data N     accept N bytes of 0-RTT data per connection\n"
	"  -c, --cert FILE        certificate (cert.pem)\n"
	"  -k, --key FILE         private key (key.pem)\n";

static const struct option long_options[] = {
	{ "unix", required_argument, NULL, 'U' },
	{ "fork", no_argument, NULL, 'f' },
	{ "epoll", no_argument, NULL, 'e' },
	{ "ex", no_argument, NULL, 'x' },
	{ "write-size", required_argument, NULL, 'W' },
	{ "early-data", required_argument, NULL, '0' },
	{ "cert", required_argument, NULL, 'c' },
	{ "key", required_argument, NULL, 'k' },
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
	case 'f':
		options->serving = SERVE_FORKS;
		break;
	case 'e':
		options->serving = SERVE_EPOLL;
		break;
	case 'x':
		options->ex_calls = true;
		break;
	case 'W':
		options->write_size = atoi(value);
		break;
	case '0':
		options->early_data = strtoul(value, NULL, 0);
		break;
	case 'c':
		options->cert = value;
		break;
	case 'k':
		options->key = value;
		break;
	default:
		die_with_usage();
	}
}

struct options parse_options(int argc, char **argv)
{
	struct options options = { .cert = "cert.pem", .key = "key.pem" };
	int letter;

	while ((letter = getopt_long(argc, argv, "U:fexW:0:c:k:", long_options, NULL)) != -1)
		set_option(&options, letter, optarg);
	if (argc - optind != (options.unix_socket ? 0 : 1))
		die_with_usage();
	if (!options.unix_socket)
		options.port = atoi(argv[optind]);
	return options;
}
