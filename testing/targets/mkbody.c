/*
 * mkbody: writes a body of pattern lines (pat.h) to standard output.
 *
 * usage: mkbody STREAM BYTES      STREAM may be hexadecimal (0x..); BYTES is
 *                                 rounded down to whole lines
 */
#include <stdio.h>
#include <stdlib.h>

#include "pat.h"

int main(int argc, char **argv)
{
	char line[PAT_LINE];
	unsigned int stream;
	unsigned long lines;

	if (argc != 3) {
		fprintf(stderr, "usage: mkbody STREAM BYTES\n");
		return 2;
	}
	stream = strtoul(argv[1], NULL, 0);
	lines = strtoul(argv[2], NULL, 0) / PAT_LINE;
	for (unsigned long i = 0; i < lines; i++) {
		pat_line(line, stream, i);
		if (fwrite(line, PAT_LINE, 1, stdout) != 1)
			return 1;
	}
	return fflush(stdout) ? 1 : 0;
}
