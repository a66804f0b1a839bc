"""What a tool costs: a load under each tool, next to untraced runs of the same round.

On a shared machine speed drifts, so every round measures the untraced load again
(first, after every third tool, last), and a tool is compared with the median of
these only. The order of the tools is random. Printed are medians over all rounds,
but captured and lost of the worst round.
"""

import json
import random
import statistics

from . import cable, loads, paths
from .loads import count_marks
from .table import Table, number
from .tools import ToolFailed, ToolRun, load_tools

LOADS = {**loads.LOADS, **cable.LOADS}
DEFAULT_TOOLS = "empty-session-int,min-capture,ecapture"
DEFAULT_LOADS = "micro100,micro4k,micro16k,nginx1k"
KEEP_OUTPUT_BELOW = 8 << 20


def add_arguments(parser):
    parser.add_argument("-t", "--tools", default=DEFAULT_TOOLS)
    parser.add_argument(
        "-l", "--loads", default=DEFAULT_LOADS, help=f"of {','.join(LOADS)} (default: %(default)s)"
    )
    parser.add_argument("-r", "--rounds", type=int, default=3)
    parser.add_argument("-d", "--seconds", type=int, default=2, help="per measurement")
    parser.add_argument("--seed", type=int, default=1, help="for the order of the tools")


def main(lab, args):
    random.seed(args.seed)
    tools = load_tools(args.tools.split(","), args.tools_file)
    for name in args.loads.split(","):
        load = LOADS[name]
        missing = paths.missing_programs(load.programs)
        if missing:
            print(f"skipped: {name}: {', '.join(missing)} not installed", flush=True)
            continue
        measure_load(lab, tools, load, args)


def measure_load(lab, tools, load, args):
    """All rounds of one load, and its table."""
    rounds = []
    load.open(lab)
    try:
        for _ in range(args.rounds):
            rounds.append(measure_round(lab, tools, load, args.seconds))
    finally:
        load.close()
    print_table(load, tools, rounds)
    if args.json:
        append_json(args.json, load, rounds)


def measure_round(lab, tools, load, seconds):
    """Returns (untraced rate, untraced CPU ns per operation, {tool name: figures})."""
    untraced = [load.sample(lab, seconds)]
    figures = {}
    order = random.sample(tools, len(tools))
    for position, tool in enumerate(order):
        figures[tool.name] = measure_tool(lab, tool, load, seconds)
        if position % 3 == 2 or position == len(order) - 1:
            untraced.append(load.sample(lab, seconds))
    rate = statistics.median(sample.rate for sample in untraced)
    cpu_ns = statistics.median(sample.cpu_ns for sample in untraced)
    for figure in figures.values():
        if "error" not in figure:
            compare(figure, rate, cpu_ns)
    return rate, cpu_ns, figures


def compare(figure, rate, cpu_ns):
    """Adds the ratios to the untraced runs of the round."""
    figure["rate_ratio"] = figure["rate"] / rate
    figure["cpu_ratio"] = figure["cpu_ns"] / cpu_ns
    figure["added_us_per_call"] = (figure["cpu_ns"] - cpu_ns) / figure["calls"] / 1000


def measure_tool(lab, tool, load, seconds):
    """One sample of the load under a tool."""
    tool_run = ToolRun(tool, lab, f"overhead.{load.name}")
    try:
        tool_run.start()
    except ToolFailed as error:
        return {"error": str(error)}
    cpu_before = tool_run.cpu_ns()
    sample = load.sample(lab, seconds)
    tool_run.wait_until_quiet(quiet=0.5, limit=25)
    tool_cpu_s = (tool_run.cpu_ns() - cpu_before) / 1e9
    tool_run.stop()
    figures = {
        **sample._asdict(),
        "tool_cpu_s": tool_cpu_s,
        "captured": captured_share(tool_run, load, sample),
        "lost": tool_run.lost(),
        "rss_mib": tool_run.rss_kib / 1024,
        "peak_mib": tool_run.peak_kib / 1024,
        "ready_s": tool_run.ready_s,
        "crashed": tool_run.crashed,
    }
    tool_run.drop_output(above=KEEP_OUTPUT_BELOW)
    return figures


def captured_share(tool_run, load, sample):
    """Marks in the tool's output / true marks; None when it has no output. Of packets, as the tool says."""
    if tool_run.kept() is not None:
        return tool_run.kept() / max(tool_run.kept() + tool_run.lost(), 1)
    if load.mark is None or tool_run.tool.read is None or not tool_run.out.exists():
        return None
    true_marks = load.marks * sample.operations
    return count_marks(tool_run.out, load.mark) / max(true_marks, 1)


def print_table(load, tools, rounds):
    rates = [rate for rate, _, _ in rounds]
    cpu_us = [cpu_ns / 1000 for _, cpu_ns, _ in rounds]
    print(
        f"\n{load.name}: untraced {statistics.median(rates):.0f} op/s, "
        f"{statistics.median(cpu_us):.2f} us CPU per op "
        f"({min(cpu_us):.2f} to {max(cpu_us):.2f}; median of {len(rounds)} rounds)"
    )
    columns = ("through", "cpu", "+us/call", "tool s", "captured", "lost", "RSS MiB", "peak MiB")
    table = Table(("tool", 18), *columns)
    for tool in tools:
        figures = [by_tool[tool.name] for _, _, by_tool in rounds]
        print_row(table, tool, figures)


def print_row(table, tool, figures):
    good = [figure for figure in figures if "error" not in figure]
    if not good:
        table.note(tool.name, "did not start: " + figures[0]["error"].replace("\n", " | ")[-120:])
        return
    table.row(
        tool.name,
        number(median_of(good, "rate_ratio"), ".3f"),
        number(median_of(good, "cpu_ratio"), ".2f"),
        number(median_of(good, "added_us_per_call"), ".2f"),
        number(median_of(good, "tool_cpu_s"), ".2f"),
        number(worst_of(good, "captured", min), ".4f"),
        number(worst_of(good, "lost", max), ".0f"),
        number(median_of(good, "rss_mib"), ".1f"),
        number(median_of(good, "peak_mib"), ".1f"),
    )
    if any(figure["crashed"] for figure in good):
        table.note("", "the tool crashed or had to be killed")


def median_of(figures, key):
    values = [figure[key] for figure in figures if figure[key] is not None]
    return statistics.median(values) if values else None


def worst_of(figures, key, worst):
    """Of the worst round: a median would hide what is lost in some rounds only."""
    return worst((figure[key] for figure in figures if figure[key] is not None), default=None)


def append_json(path, load, rounds):
    """One line per load, round and tool."""
    with open(path, "a", encoding="utf-8") as file:
        for index, (rate, cpu_ns, by_tool) in enumerate(rounds):
            for tool, figures in by_tool.items():
                line = {"load": load.name, "round": index, "tool": tool}
                line.update(untraced_rate=rate, untraced_cpu_ns=cpu_ns, **figures)
                file.write(json.dumps(line) + "\n")
