"""How long a tool takes to start on a busy machine, to see the first event, and to end."""

import json
import signal
import statistics
import time

from . import paths
from .process import Process
from .table import Table, number
from .timestamps import first_stamp
from .tools import ToolFailed, ToolRun, load_tools

STEADY_S = 1.5
FIGURES = ("ready_s", "first_event_s", "rss_mib", "peak_mib", "stop_s")


def add_arguments(parser):
    parser.add_argument("-t", "--tools", default="min-capture,ecapture")
    parser.add_argument("-r", "--rounds", type=int, default=5)
    parser.add_argument(
        "-p", "--processes", type=int, default=300, help="running meanwhile, half of them with TLS"
    )


def main(lab, args):
    tools = load_tools(args.tools.split(","), args.tools_file)
    crowd = start_crowd(lab, args.processes)
    try:
        print(f"{args.processes} other processes, median of {args.rounds} rounds", flush=True)
        columns = ("ready s", "event s", "RSS MiB", "peak MiB", "stop s")
        table = Table(("tool", 28), *columns)
        for tool in tools:
            measure_tool(lab, table, tool, False, args)
            if tool.command_everywhere != tool.commands["tls"]:
                measure_tool(lab, table, tool, True, args)
    finally:
        for process in crowd:
            process.stop(signal.SIGKILL)


def start_crowd(lab, count):
    """Sleeping processes; every second one has libssl loaded."""
    with_tls = [paths.TARGETS / "tls_client", "-p", 3600000, "127.0.0.1", 1, "/"]
    plain = ["sleep", 3600]
    return [Process(with_tls if i % 2 else plain, lab.env) for i in range(count)]


def measure_tool(lab, table, tool, everywhere, args):
    """Prints the row of one tool, told the library or not."""
    name = f"{tool.name}, all libraries" if everywhere else tool.name
    rounds = []
    for _ in range(args.rounds):
        try:
            rounds.append(measure_once(lab, tool, everywhere))
        except ToolFailed as error:
            table.note(name, f"did not start: {error}")
            return
    medians = {}
    for key in FIGURES:
        values = [figures[key] for figures in rounds if figures[key] is not None]
        medians[key] = statistics.median(values) if values else None
    formats = (".3f", ".3f", ".1f", ".1f", ".2f")
    table.row(name, *(number(medians[key], spec) for key, spec in zip(FIGURES, formats)))
    if args.json:
        with open(args.json, "a", encoding="utf-8") as file:
            file.write(json.dumps({"tool": name, **medians}) + "\n")


def measure_once(lab, tool, everywhere):
    """Starts the tool while a program writes a time stamp every 2 ms."""
    command = [paths.TARGETS / "ssl_micro", "-t", "-s", 64, "-r", 500, "-d", 60]
    writer = Process([*command, "-c", lab.cert, "-k", lab.key], lab.env)
    tool_run = ToolRun(tool, lab, "startup", everywhere)
    try:
        tool_run.start()
        time.sleep(STEADY_S)
        begin = time.monotonic()
        tool_run.stop()
        stop_s = time.monotonic() - begin
    finally:
        writer.stop(signal.SIGKILL)
    started = tool_run.process.started_ns
    first = first_stamp(tool_run.out, not_before=started)
    return {
        "ready_s": tool_run.ready_s,
        "first_event_s": None if first is None else (first - started) / 1e9,
        "rss_mib": tool_run.rss_kib / 1024,
        "peak_mib": tool_run.peak_kib / 1024,
        "stop_s": stop_s,
    }
