#include "ssl_calls.h"

#ifndef DLOPEN

void load_openssl(void)
{
}

#else

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static void *libssl, *libcrypto;

static void *open_library(const char *variable, const char *fallback)
{
	const char *path = getenv(variable);
	void *library = dlopen(path ? path : fallback, RTLD_NOW | RTLD_LOCAL);

	if (!library) {
		fprintf(stderr, "%s\n", dlerror());
		exit(9);
	}
	return library;
}

void load_openssl(void)
{
	libssl = open_library("LIBSSL", "libssl.so.3");
	libcrypto = open_library("LIBCRYPTO", "libcrypto.so.3");
}

void *openssl_symbol(const char *name)
{
	void *symbol = dlsym(libssl, name);

	if (!symbol)
		symbol = dlsym(libcrypto, name);
	if (!symbol) {
		fprintf(stderr, "%s: not found in libssl or libcrypto\n", name);
		exit(9);
	}
	return symbol;
}

#endif
