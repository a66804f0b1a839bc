#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>

/* What the command line says; options.c explains each. */
struct options {
	const char *host;
	const char *port;
	const char *unix_socket; /* NULL: TCP */
	const char *path;
	const char *keylog; /* NULL: none */

	bool ex_calls;
	bool nonblocking;
	bool memory_bio;
	bool peek;
	bool tls12;
	bool partial_write;
	bool reuse_ssl;
	bool early_data;
	bool early_exit;

	int connections;
	int requests;
	int threads; /* 0: everything in the main thread */
	int read_size;
	int write_size; /* 0: everything in one call */
	long upload; /* -1: GET */

	int handshake_delay_ms;
	int request_delay_ms;
	int exit_delay_ms;
};

/* Ends the program with a usage text when the command line is wrong. */
struct options parse_options(int argc, char **argv);

#endif
