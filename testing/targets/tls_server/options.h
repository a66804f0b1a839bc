#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>

enum serving {
	SERVE_THREADS, /* a thread per connection */
	SERVE_FORKS, /* a process per connection */
	SERVE_EPOLL, /* one thread, non-blocking sockets */
};

/* What the command line says; options.c explains each. */
struct options {
	enum serving serving;
	bool ex_calls;
	int write_size; /* 0: everything in one call */
	unsigned int early_data; /* bytes accepted per connection; 0: none */
	const char *cert;
	const char *key;
	const char *unix_socket; /* NULL: TCP */
	unsigned short port; /* 0: any free one */
};

/* Ends the program with a usage text when the command line is wrong. */
struct options parse_options(int argc, char **argv);

#endif
