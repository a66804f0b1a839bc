"""The truth: bodies of 64-byte lines that name their stream and place (testing/targets/pat.h)."""

import collections
import functools
import re
import subprocess

from . import paths

LINE = 64
UPLOAD_STREAM = 0xC11E

# What a body is made of: the number of its stream and its size in bytes.
Body = collections.namedtuple("Body", "stream size")

# How the lines of one body were found in captured data.
Found = collections.namedtuple("Found", "intact corrupt disordered")


@functools.lru_cache(maxsize=8)
def body_bytes(body):
    """The true bytes of a body, made by the same C code as in the workloads."""
    command = [paths.TARGETS / "mkbody", hex(body.stream), str(body.size)]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout


def find_lines(data, body):
    """Looks for the lines of a body in one captured stream, which may repeat it.

    A line is corrupt when its name is right and its rest is not, and disordered
    when it comes after a later line, unless a new repetition of the body begins.
    """
    truth = body_bytes(body)
    line = re.compile(rb"L%04x-([0-9a-f]{8})-[0-9a-f]{48}\n" % body.stream)
    intact = corrupt = disordered = 0
    previous = -1
    for match in line.finditer(data):
        sequence = int(match.group(1), 16)
        if match.group(0) != truth[LINE * sequence : LINE * (sequence + 1)]:
            corrupt += 1
            continue
        intact += 1
        if 0 < sequence <= previous:
            disordered += 1
        previous = sequence
    return Found(intact, corrupt, disordered)
