"""How soon a tool captures a library that it has never seen.

A new process uses a fresh copy of libssl (another inode) at once. Two questions:
are its first request and the answer captured whole, and how long after the start
of the process does the first captured byte come? Once with the build-id that the
tool may know already, once with a new one for every copy.
"""

import json
import shutil
import statistics

from . import elf, paths
from .extract import FormatError
from .lab import SERVER_PORT
from .pattern import LINE, Body, find_lines
from .process import run
from .score import join_streams
from .table import Table
from .timestamps import first_stamp
from .tools import ToolFailed, ToolRun, load_tools

FIRST_STREAM = 0x6000
BODY_SIZE = 4096
WRITING_S = 1


def add_arguments(parser):
    parser.add_argument("-t", "--tools", default="ecapture-json")
    parser.add_argument("-n", "--copies", type=int, default=20, help="of each kind")


def main(lab, args):
    tools = load_tools(args.tools.split(","), args.tools_file)
    columns = ("requests", "answers", "seen", "median ms", "worst ms", "soonest")
    table = Table(("tool", 34), *columns)
    for tool in tools:
        for new_build_id in (False, True):
            kind = "new build-id" if new_build_id else "known build-id"
            name = f"{tool.name}, {kind}"
            try:
                figures = measure_tool(lab, tool, args.copies, new_build_id)
            except ToolFailed as error:
                table.note(name, f"did not start: {error}")
                continue
            except FormatError as error:
                table.note(name, f"cannot read its output: {error}")
                continue
            print_row(table, name, figures, args.copies)
            if args.json:
                with open(args.json, "a", encoding="utf-8") as file:
                    file.write(json.dumps({"tool": name, **figures}) + "\n")


def print_row(table, name, figures, copies):
    """`soonest` is when the first byte existed: no tool can be faster."""
    delays = figures["delays_ms"]
    table.row(
        name,
        f"{figures['requests']}/{copies}",
        f"{figures['answers']}/{copies}",
        f"{len(delays)}/{copies}",
        f"{statistics.median(delays):.1f}" if delays else "-",
        f"{max(delays):.1f}" if delays else "-",
        f"{statistics.median(figures['soonest_ms']):.1f}",
    )


def measure_tool(lab, tool, copies, new_build_id):
    """Runs both workloads under the tool."""
    copier = LibraryCopier(lab, new_build_id)
    server = lab.start_server(env=lab.untraced_env)
    tool_run = ToolRun(tool, lab, "discover", everywhere=True)
    try:
        tool_run.start()
        bodies = [Body(FIRST_STREAM + i, BODY_SIZE) for i in range(copies)]
        for body in bodies:
            request(copier, body)
        writers = [write_stamps(lab, copier) for _ in range(copies)]
        tool_run.wait_until_quiet()
        tool_run.stop()
    finally:
        server.stop()
        copier.remove()
    delays = [delay_ms(tool_run, writer) for writer in writers]
    return {
        **count_whole(tool_run.records(), bodies),
        "delays_ms": [delay for delay in delays if delay is not None],
        "soonest_ms": [(writer["begun_ns"] - writer["started_ns"]) / 1e6 for writer in writers],
    }


class LibraryCopier:
    """Makes copies of libssl that no process has mapped yet."""

    def __init__(self, lab, new_build_id):
        self._lab = lab
        self._root = paths.LAB / "discover"
        self._count = 0
        self._data = bytearray(lab.libssl.read_bytes())
        self._build_id = elf.Elf(lab.libssl).build_id_offset() if new_build_id else None
        self.remove()

    def env(self):
        """The environment of a process that uses the next copy."""
        directory = self._root / str(self._count)
        directory.mkdir(parents=True)
        self._count += 1
        if self._build_id:
            offset, length = self._build_id
            self._data[offset : offset + length] = self._count.to_bytes(length, "big")
        (directory / "libssl.so.3").write_bytes(self._data)
        return {"LD_LIBRARY_PATH": f"{directory}:{self._lab.lib}"}

    def remove(self):
        shutil.rmtree(self._root, ignore_errors=True)


def request(copier, body):
    """A process that starts, makes one request and ends."""
    path = f"/bytes/{body.size}/{body.stream:x}"
    run([paths.TARGETS / "tls_client", "127.0.0.1", SERVER_PORT, path], copier.env())


def write_stamps(lab, copier):
    """A process that writes the time every ms; returns what it says of itself."""
    command = [paths.TARGETS / "ssl_micro", "-t", "-s", 64, "-r", 1000, "-d", WRITING_S]
    return json.loads(run([*command, "-c", lab.cert, "-k", lab.key], copier.env()))


def delay_ms(tool_run, writer):
    """From the start of the process to its first captured time stamp; None: none was."""
    started = writer["started_ns"]
    first = first_stamp(tool_run.out, started, started + (WRITING_S + 1) * 10**9)
    return None if first is None else (first - started) / 1e6


def count_whole(records, bodies):
    """How many requests and answers were captured from the first to the last byte."""
    streams = join_streams(records)
    sent = [data for key, data in streams.items() if is_client(key, "sent")]
    received = [data for key, data in streams.items() if is_client(key, "received")]
    requests = sum(any(has_request(data, body) for data in sent) for body in bodies)
    answers = sum(any(has_body(data, body) for data in received) for body in bodies)
    return {"requests": requests, "answers": answers}


def is_client(key, wanted):
    comm, _, direction = key
    return comm in ("tls_client", "") and direction in (wanted, None)


def has_request(data, body):
    """The first and the last words of the request; what is between them came with them."""
    begin = b"GET /bytes/%d/%x " % (body.size, body.stream)
    return begin in data and b"X-Probe: conn-0-req-0" in data


def has_body(data, body):
    return find_lines(data, body).intact == body.size // LINE
