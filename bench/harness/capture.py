"""What a tool captures of workloads whose every line is known."""

import dataclasses
import json
import signal

from . import cases, paths
from .cases.scene import CaseSkipped, Scene
from .extract import FormatError
from .lab import build_go
from .process import CommandFailed
from .score import score
from .tools import ToolFailed, ToolRun, load_tools

KEEP_OUTPUT_BELOW = 64 << 20


def add_arguments(parser):
    parser.add_argument("-t", "--tools", default="ecapture-json")
    parser.add_argument("-c", "--cases", help="names; default: all that need no other feature")
    parser.add_argument("--features", default="", help=f"also: {','.join(cases.FEATURES)}")
    parser.add_argument("--everywhere", action="store_true", help="never name the library")
    parser.add_argument("--list", action="store_true", help="print the cases")


def print_list():
    for case in cases.CASES.values():
        feature = f" [{case.feature}]" if case.feature else ""
        print(f"{case.name:16} {case.about}{feature}")


def main(lab, args):
    tools = load_tools(args.tools.split(","), args.tools_file)
    chosen = choose_cases(args)
    build_features({case.feature for case in chosen})
    for case in chosen:
        missing = paths.missing_programs(case.programs)
        if missing:
            print(f"{case.name:16} skipped: {', '.join(missing)} not installed", flush=True)
            continue
        for tool in tools:
            result = run_case(lab, tool, case, args.everywhere or case.other_library)
            print(result.line(), flush=True)
            if args.json:
                with open(args.json, "a", encoding="utf-8") as file:
                    file.write(json.dumps(dataclasses.asdict(result)) + "\n")


def choose_cases(args):
    if args.cases:
        return [cases.CASES[name] for name in args.cases.split(",")]
    features = {None, *args.features.split(",")}
    return [case for case in cases.CASES.values() if case.feature in features]


def build_features(features):
    for feature in features & {"go", "go-old"}:
        build_go(feature)


@dataclasses.dataclass
class CaseResult:
    """One tool in one case."""

    case: str
    tool: str
    ends: list = dataclasses.field(default_factory=list)
    lost_bytes: int = None
    crashed: bool = False
    note: str = ""
    problem: str = ""

    def line(self):
        start = f"{self.case:16} {self.tool:16} "
        if self.problem:
            return start + self.problem.replace("\n", " | ")[-200:]
        parts = [format_end(end) for end in self.ends]
        if self.lost_bytes is not None:
            parts.append(f"lost {self.lost_bytes}")
        if self.crashed:
            parts.append("CRASHED")
        if self.note:
            parts.append(f"({self.note})")
        return start + "  ".join(parts)


def format_end(end):
    text = f"{end.end} {end.ratio:.4f}"
    if end.corrupt:
        text += f" ({end.corrupt} corrupt)"
    if end.disordered:
        text += f" ({end.disordered} out of order)"
    return text


def run_case(lab, tool, case, everywhere):
    result = CaseResult(case.name, tool.name)
    scene = Scene(lab)
    nginx = None
    try:
        nginx = lab.start_nginx() if case.nginx else None
        if case.before:
            case.before(scene)
        tool_run = ToolRun(tool, lab, f"capture.{case.name}", everywhere)
        tool_run.start()
        try:
            expectations = case.run(scene)
            tool_run.wait_until_quiet(limit=case.drain_s)
        finally:
            tool_run.stop()
        result.note = scene.note
        result.lost_bytes = tool_run.lost()
        result.crashed = tool_run.crashed
        result.ends = score(tool_run.records(), expectations)
        tool_run.drop_output(above=KEEP_OUTPUT_BELOW)
    except CaseSkipped as reason:
        result.problem = f"skipped: {reason}"
    except ToolFailed as error:
        result.problem = f"the tool did not start: {error}"
    except FormatError as error:
        result.problem = f"cannot read its output: {error}"
    except CommandFailed as error:
        result.problem = f"the workload failed: {error}"
    finally:
        scene.close()
        if nginx:
            nginx.stop(signal.SIGTERM)
    return result
