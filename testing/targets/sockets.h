/*
 * The few socket calls that the client and the server share: TCP (IPv4, IPv6)
 * and Unix stream sockets.
 */
#ifndef SOCKETS_H
#define SOCKETS_H

#include <stdbool.h>

/* Both return a socket, or -1 after a message on standard error. */
int connect_tcp(const char *host, const char *port);
int connect_unix(const char *path);

/* Listens on all addresses, IPv4 and IPv6; port 0 takes a free one. */
int listen_tcp(unsigned short port);
/* Replaces a socket file that is left from an earlier run. */
int listen_unix(const char *path);

/* The port that a listening TCP socket got. */
unsigned short local_port(int fd);

void set_nonblocking(int fd);
/* Waits until fd is readable or writable, or for the time. False: it is not. */
bool wait_for(int fd, short events, int timeout_ms);

#endif
