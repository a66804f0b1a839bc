"""Child processes that never outlive the bench."""

import atexit
import ctypes
import os
import signal
import subprocess
import time

from . import procfs

PR_SET_PDEATHSIG = 1
POLL_S = 0.003

_libc = ctypes.CDLL(None)
_running = set()


class CommandFailed(Exception):
    """A program of the workload did not do what the truth assumes."""


def _prepare_child(cpus):
    """Returns what runs in the child before exec."""

    def prepare():
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if cpus is not None:
            os.sched_setaffinity(0, cpus)

    return prepare


class Process:
    """A child in a process group of its own, which dies with us whatever happens."""

    def __init__(self, command, env=None, cpus=None, stdout=subprocess.DEVNULL, stderr=None):
        self.command = [str(word) for word in command]
        self.started_ns = time.monotonic_ns()
        self.killed_hard = False
        self._popen = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.DEVNULL if stderr is None else stderr,
            env={**os.environ, **(env or {})},
            preexec_fn=_prepare_child(cpus),
        )
        self.pid = self._popen.pid
        _running.add(self)

    @property
    def exit_code(self):
        """None while it runs; negative: the signal that ended it."""
        code = self._popen.poll()
        if code is not None:
            _running.discard(self)
        return code

    @property
    def alive(self):
        return self.exit_code is None

    def read_line(self):
        """The next line of its output, which must be a pipe."""
        return self._popen.stdout.readline().decode().strip()

    def wait(self, timeout):
        """Returns the exit code, or None when it still runs after the time (in s)."""
        end = time.monotonic() + timeout
        while self.alive:
            if time.monotonic() > end:
                return None
            time.sleep(POLL_S)
        return self.exit_code

    def signal_group(self, number):
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    def stop(self, number=signal.SIGTERM, grace=5):
        """Asks the process to end, waits, then insists. Returns the exit code."""
        if self.alive:
            os.kill(self.pid, number)
            if self.wait(grace) is None:
                self.killed_hard = True
                self.signal_group(signal.SIGKILL)
                self.wait(3)
        self.signal_group(signal.SIGKILL)
        return self.exit_code

    def cpu_ns(self):
        return procfs.group_cpu_ns(self.pid)

    def memory_kib(self):
        return procfs.group_memory_kib(self.pid)


@atexit.register
def _kill_all():
    for process in list(_running):
        process.signal_group(signal.SIGKILL)


def run(command, env=None, timeout=180, cpus=None):
    """Runs a program to its end and returns its output; it must succeed."""
    process = Process(command, env, cpus, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = process._popen.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.stop(signal.SIGKILL)
        raise CommandFailed(f"{process.command[0]}: not done after {timeout} s") from None
    if process.exit_code != 0:
        reason = err.decode(errors="replace").strip()[-300:]
        raise CommandFailed(f"{' '.join(process.command)}: exit {process.exit_code} {reason}")
    return out.decode(errors="replace").strip()
