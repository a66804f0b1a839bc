/*
 * Self-identifying test data: 64-byte ASCII lines
 *
 *     L<stream, 4 hex>-<sequence, 8 hex>-<48 hex, a hash of both>\n
 *
 * Every line names the body it belongs to and its place in it, and the hash
 * proves that it is intact. So a lost, cut, shifted, repeated or invented line
 * in the output of a tracer shows. bench/harness/pattern.py is the same in
 * Python.
 */
#ifndef PAT_H
#define PAT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PAT_LINE 64

/* The finalizer of splitmix64: cheap, and any two inputs differ in the output. */
static inline uint64_t pat_mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static inline void pat_hex(char *out, uint64_t value, int digits)
{
	static const char hex[] = "0123456789abcdef";

	for (int i = digits - 1; i >= 0; i--) {
		out[i] = hex[value & 15];
		value >>= 4;
	}
}

/* Writes the PAT_LINE bytes of one line; no NUL. */
static inline void pat_line(char *out, unsigned int stream, unsigned int sequence)
{
	uint64_t key = ((uint64_t)stream << 32 | sequence) * 3;

	out[0] = 'L';
	pat_hex(out + 1, stream, 4);
	out[5] = '-';
	pat_hex(out + 6, sequence, 8);
	out[14] = '-';
	for (int i = 0; i < 3; i++)
		pat_hex(out + 15 + 16 * i, pat_mix(key + i), 16);
	out[63] = '\n';
}

/* Fills a buffer with lines from sequence 0 on; the last one may be cut. */
static inline void pat_fill(char *buf, size_t len, unsigned int stream)
{
	char line[PAT_LINE];
	unsigned int sequence = 0;

	for (size_t off = 0; off < len; off += PAT_LINE) {
		size_t n = len - off < PAT_LINE ? len - off : PAT_LINE;

		pat_line(line, stream, sequence++);
		memcpy(buf + off, line, n);
	}
}

#endif
