"""What /proc says about a process group: CPU time and memory."""

import os
import time
from pathlib import Path


def group_members(group):
    """The process ids of a process group."""
    members = []
    for name in os.listdir("/proc"):
        if name.isdigit() and _group_of(name) == group:
            members.append(int(name))
    return members


def _group_of(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name may contain anything; what follows the last parenthesis is safe.
    return int(stat[stat.rindex(")") + 2 :].split()[2])


def group_cpu_ns(group):
    """CPU time that the living threads of a group have used, in ns."""
    total = 0
    for pid in group_members(group):
        for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(stat.read_text().split()[0])
            except OSError:
                pass
    return total


def tree_cpu_ns(pid):
    """CPU time of a process, its ended children and the living ones, in ns.

    Those may lead groups of their own.
    """
    tick_ns = 10**9 // os.sysconf("SC_CLK_TCK")
    try:
        # The clock of another process: clock_getcpuclockid(3), which Python does not have.
        own = time.clock_gettime_ns(~pid << 3 | 2)
        stat = Path(f"/proc/{pid}/stat").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    words = stat[stat.rindex(")") + 2 :].split()
    ended = sum(int(word) for word in words[13:15]) * tick_ns
    return own + ended + sum(tree_cpu_ns(int(child)) for child in children)


def group_memory_kib(group):
    """(resident now, highest ever) of a group, in KiB."""
    now = peak = 0
    for pid in group_members(group):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("VmRSS:"):
                now += int(line.split()[1])
            elif line.startswith("VmHWM:"):
                peak += int(line.split()[1])
    return now, peak
