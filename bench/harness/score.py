"""Compares what a tool captured with what truly passed."""

import collections
import re

from . import http2, pattern

# What must be found at one end of the workload: in processes whose name matches
# `comm`, in one direction, `times` copies of a body.
Expectation = collections.namedtuple(
    "Expectation", "end comm direction body times http2", defaults=(1, False)
)

# How much of it was found: captured / true lines; 1.0 is all, more is duplicates.
Result = collections.namedtuple("Result", "end ratio corrupt disordered")


def join_streams(records):
    """Joins the data of each (comm, stream, direction), in order of appearance."""
    pieces = collections.defaultdict(list)
    for record in records:
        pieces[record.comm, record.stream, record.direction].append(record.data)
    return {key: b"".join(parts) for key, parts in pieces.items()}


def score(records, expectations):
    """Returns one Result per expectation."""
    streams = join_streams(records)
    return [_score_one(streams, expectation) for expectation in expectations]


def _score_one(streams, expectation):
    intact = corrupt = disordered = 0
    for (comm, _, direction), stream in streams.items():
        if comm and not re.search(expectation.comm, comm):
            continue
        if direction not in (expectation.direction, None):
            continue
        frames = http2.data_frames(stream) if expectation.http2 else None
        found = pattern.find_lines(frames or stream, expectation.body)
        intact += found.intact
        corrupt += found.corrupt
        disordered += found.disordered
    true_lines = expectation.body.size // pattern.LINE * expectation.times
    return Result(expectation.end, intact / true_lines, corrupt, disordered)
