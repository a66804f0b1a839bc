"""The tools under test: what tools.json says of them, and one run of one of them."""

import json
import os
import re
import shutil
import signal
import sys
import time

from . import elf, extract, paths, subject
from .process import Process, run

DEFAULT_FILE = paths.BENCH / "tools.json"
READY_TIMEOUT_S = 60
SETTLE_S = 0.3
STOP_GRACE_S = 30
ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class ToolFailed(Exception):
    """The tool did not start; the message is the end of what it printed."""


class Tool:
    """An entry of tools.json; see README.md for the fields."""

    def __init__(self, name, fields):
        self.name = name
        self.about = fields.get("about", "")
        self.command = fields["command"]
        self.command_everywhere = fields.get("command_everywhere", self.command)
        self.env = fields.get("env", {})
        self.ready = re.compile(fields["ready"])
        self.lost = re.compile(fields["lost"]) if "lost" in fields else None
        self.kept = re.compile(fields["kept"]) if "kept" in fields else None
        self.read = extract.FORMATS[fields["format"]] if "format" in fields else None
        self.stop_signal = getattr(signal, fields.get("stop_signal", "SIGINT"))

    def why_unavailable(self):
        """None, or why this tool cannot run here."""
        program = self.command[0]
        if program == "{ecapture}":
            if subject.find() is None:
                return "not found; build bin/ecapture or target/release/ecapture, or set ECAPTURE"
            return None
        program = program.replace("{baseline}", str(paths.BASELINE))
        return None if shutil.which(program) else f"{program} not found"


def load_tools(names, extra_file=None):
    """The named tools that can run here, in order; says which are skipped."""
    fields = json.loads(DEFAULT_FILE.read_text())
    if extra_file:
        with open(extra_file, encoding="utf-8") as file:
            fields.update(json.load(file))
    tools = []
    for name in names:
        if name not in fields:
            sys.exit(f"bench: no tool {name}; there are: {', '.join(fields)}")
        tool = Tool(name, fields[name])
        reason = tool.why_unavailable()
        if reason:
            print(f"skipped: {name}: {reason}", flush=True)
            continue
        if tool.command[0] == "{ecapture}":
            subject.snapshot()
        tools.append(tool)
    return tools


def go_sites():
    """Where ecapture probes the plaintext calls of the Go server: their starts and returns."""
    report = json.loads(run([subject.snapshot(), "inspect", "--json", paths.GO_SERVER]))
    functions = [
        function
        for library in report["libraries"]
        for function in library["functions"]
        if function.get("probe_returns")
    ]
    offsets = [
        offset
        for function in functions
        for offset in (function["probe_offset"], *function["probe_returns"])
    ]
    return ",".join(f"{offset:x}" for offset in offsets)


class ToolRun:
    """One run of a tool, from its start to the reading of its output."""

    def __init__(self, tool, lab, tag, everywhere=False):
        """With `everywhere` the tool finds libraries by itself instead of getting ours."""
        self.tool = tool
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{tool.name}.{tag}")
        self.out = paths.OUTPUT / f"{name}.out"
        self.log = paths.OUTPUT / f"{name}.log"
        self._values = {
            "baseline": paths.BASELINE,
            "libssl": lab.libssl,
            "go_server": paths.GO_SERVER,
            "lab": paths.LAB,
            "out": self.out,
            **elf.probe_offsets(lab.libssl),
        }
        if "{go_sites}" in tool.command:
            self._values["go_sites"] = go_sites()
        if tool.command[0] == "{ecapture}":
            self._values["ecapture"] = subject.snapshot()
        words = tool.command_everywhere if everywhere else tool.command
        self.command = [self._fill(word) for word in words]
        self.env = {name: self._fill(value) for name, value in tool.env.items()}
        self.process = None
        self.ready_s = None
        self.rss_kib = self.peak_kib = 0
        self.crashed = False

    def _fill(self, word):
        return re.sub(r"\{(\w+)\}", lambda match: str(self._values[match[1]]), word)

    def start(self):
        """Starts the tool and waits until it says that it captures."""
        self.out.unlink(missing_ok=True)
        with open(self.log, "wb") as log:
            self.process = Process(self.command, self.env, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not self.tool.ready.search(self.log_text()):
            if not self.process.alive or time.monotonic() > deadline:
                self.process.stop(signal.SIGKILL)
                raise ToolFailed(self.log_text().strip()[-300:] or "no message")
            time.sleep(0.005)
        self.ready_s = (time.monotonic_ns() - self.process.started_ns) / 1e9
        time.sleep(SETTLE_S)

    def log_text(self):
        """What the tool printed on standard output and error, without colours."""
        return ANSI_COLOUR.sub("", self.log.read_text(errors="replace"))

    def wait_until_quiet(self, quiet=0.7, limit=30):
        """Waits until the tool neither writes nor works any more."""
        deadline = time.monotonic() + limit
        last, since = None, time.monotonic()
        while time.monotonic() < deadline and time.monotonic() - since < quiet:
            now = (self.out_size(), self.process.cpu_ns() // 20_000_000)
            if now != last:
                last, since = now, time.monotonic()
            time.sleep(0.1)

    def stop(self):
        """Stops the tool as a user would and notes its memory just before."""
        was_alive = self.process.alive
        self.rss_kib, self.peak_kib = self.process.memory_kib()
        code = self.process.stop(self.tool.stop_signal, STOP_GRACE_S)
        stopped = (0, -self.tool.stop_signal, -signal.SIGTERM, 130)
        self.crashed = not was_alive or self.process.killed_hard or code not in stopped

    def cpu_ns(self):
        return self.process.cpu_ns()

    def out_size(self):
        return os.path.getsize(self.out) if self.out.exists() else 0

    def lost(self):
        """What the tool itself reports lost in its summary; None: it says nothing."""
        return self._said(self.tool.lost)

    def kept(self):
        """How many packets the tool says that it has; None: it says nothing."""
        return self._said(self.tool.kept)

    def _said(self, pattern):
        matches = pattern.findall(self.log_text()) if pattern else []
        return int(matches[-1]) if matches else None

    def records(self):
        """What it captured; nothing when it wrote no file."""
        return self.tool.read(self.out) if self.tool.read and self.out.exists() else ()

    def drop_output(self, above=0):
        """Removes the output when it is larger than this; it can be gigabytes."""
        if self.out_size() > above:
            self.out.unlink()
