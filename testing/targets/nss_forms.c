// A client of NSS, which sends the file `body` in one of the ways that NSPR has, and gets it back.
//
//	nss_forms write|send|writev|file|nonblocking read|recv|peek 1.2|1.3 PORT
//
// Before TLS begins it says STARTTLS through the same descriptor, and it uses NSPR for a file and a pipe: what is not
// under TLS is not to be captured. Any certificate will do. Fails unless what comes back is what was sent. Prints how
// often a call had to be made again.
#include <nspr.h>
#include <nss.h>
#include <private/pprio.h>
#include <ssl.h>
#include <sslproto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

// More than a record holds, and no multiple of it.
#define PIECE 20011
#define LARGEST (1 << 22)

static char body[LARGEST], arrived[LARGEST];
static int length, again;
static const char *sending, *receiving;

static void check(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %s\n", what, PR_ErrorToName(PR_GetError()));
	exit(1);
}

static int is(const char *form)
{
	return !strcmp(sending, form) || !strcmp(receiving, form);
}

static SECStatus any_certificate(void *arg, PRFileDesc *fd, PRBool check_signature,
				 PRBool is_server)
{
	(void)arg, (void)fd, (void)check_signature, (void)is_server;
	return SECSuccess;
}

// NSPR for what is not TLS.
static void read_body(void)
{
	PRFileDesc *file = PR_Open("body", PR_RDONLY, 0), *ends[2];
	char byte = '!';

	check(file && PR_CreatePipe(&ends[0], &ends[1]) == PR_SUCCESS, "open");
	length = PR_Read(file, body, sizeof(body));
	check(length > 0 && PR_Write(ends[1], &byte, 1) == 1 && PR_Read(ends[0], &byte, 1) == 1,
	      "read");
	PR_Close(file);
}

static void wait_for(PRFileDesc *tls, int events)
{
	PRPollDesc poll = { .fd = tls, .in_flags = events };

	check(PR_GetError() == PR_WOULD_BLOCK_ERROR, "not to be tried again");
	again++;
	PR_Poll(&poll, 1, PR_SecondsToInterval(10));
}

static int send_piece(PRFileDesc *tls, char *from, int size)
{
	int third = size / 3;
	PRIOVec parts[] = { { from, third },
			    { from + third, third },
			    { from + third * 2, size - third * 2 } };

	if (is("write"))
		return PR_Write(tls, from, size);
	if (is("writev"))
		return PR_Writev(tls, parts, 3, PR_INTERVAL_NO_TIMEOUT);
	return PR_Send(tls, from, size, 0, PR_INTERVAL_NO_TIMEOUT);
}

static void send_all(PRFileDesc *tls)
{
	if (is("file")) {
		PRFileDesc *file = PR_Open("body", PR_RDONLY, 0);

		check(PR_TransmitFile(tls, file, "", 0, PR_TRANSMITFILE_KEEP_OPEN,
				      PR_INTERVAL_NO_TIMEOUT) == length,
		      "send a file");
		return;
	}
	for (int at = 0; at < length;) {
		int left = length - at;
		int sent = send_piece(tls, body + at, left < PIECE ? left : PIECE);

		if (sent < 0)
			wait_for(tls, PR_POLL_WRITE);
		at += sent > 0 ? sent : 0;
	}
}

static int receive(PRFileDesc *tls, char *to)
{
	if (is("read"))
		return PR_Read(tls, to, 10007);
	if (is("peek"))
		PR_Recv(tls, to, 1009, PR_MSG_PEEK, PR_INTERVAL_NO_TIMEOUT);
	return PR_Recv(tls, to, 10007, 0, PR_INTERVAL_NO_TIMEOUT);
}

static PRFileDesc *connected(int port, int version)
{
	PRFileDesc *tcp = PR_NewTCPSocket(), *tls;
	SSLVersionRange range = { version, version };
	PRNetAddr address;

	PR_InitializeNetAddr(PR_IpAddrLoopback, port, &address);
	check(PR_Connect(tcp, &address, PR_INTERVAL_NO_TIMEOUT) == PR_SUCCESS, "connect");
	tls = SSL_ImportFD(NULL, tcp);
	check(tls && SSL_VersionRangeSet(tls, &range) == SECSuccess, "import");
	SSL_AuthCertificateHook(tls, any_certificate, NULL);
	SSL_SetURL(tls, "localhost");
	SSL_OptionSet(tls, SSL_SECURITY, PR_FALSE);
	check(PR_Write(tls, "STARTTLS\n", 9) == 9, "write");
	SSL_OptionSet(tls, SSL_SECURITY, PR_TRUE);
	SSL_OptionSet(tls, SSL_HANDSHAKE_AS_CLIENT, PR_TRUE);
	check(SSL_ResetHandshake(tls, PR_FALSE) == SECSuccess, "reset");
	check(SSL_ForceHandshake(tls) == SECSuccess, "handshake");
	return tls;
}

int main(int argc, char **argv)
{
	PRSocketOptionData blocking = { .option = PR_SockOpt_Nonblocking,
					.value = { .non_blocking = PR_TRUE } };
	int small = 4608;

	if (argc != 5)
		return 2;
	sending = argv[1], receiving = argv[2];
	check(NSS_NoDB_Init(NULL) == SECSuccess, "init");
	NSS_SetDomesticPolicy();
	read_body();
	PRFileDesc *tls = connected(atoi(argv[4]), strcmp(argv[3], "1.3") ?
							   SSL_LIBRARY_VERSION_TLS_1_2 :
							   SSL_LIBRARY_VERSION_TLS_1_3);
	if (is("nonblocking")) {
		setsockopt(PR_FileDesc2NativeHandle(tls), SOL_SOCKET, SO_SNDBUF, &small,
			   sizeof(small));
		PR_SetSocketOption(tls, &blocking);
	}
	send_all(tls);
	for (int total = 0; total < length;) {
		int got = receive(tls, arrived + total);

		check(got != 0, "an early end");
		if (got < 0)
			wait_for(tls, PR_POLL_READ);
		total += got > 0 ? got : 0;
	}
	check(!memcmp(body, arrived, length), "other bytes came back");
	PR_Close(tls);
	printf("%d\n", again);
	return 0;
}
