"""Workloads that can be measured: throughput, and CPU time of the traced program."""

import collections
import json
import os
import re
import resource
import signal
import subprocess
import time

from . import paths
from .lab import FILES, NGINX_PORT, build_go
from .process import CommandFailed, Process, run

# The traced program gets one CPU and the load generator another, if there are two.
_CPUS = sorted(os.sched_getaffinity(0))
TRACED_CPU = {_CPUS[-1]}
GENERATOR_CPU = {_CPUS[0]}

# operations per second; CPU ns of the traced program per operation; operations
# in all; calls of SSL_read and SSL_write per operation.
Sample = collections.namedtuple("Sample", "rate cpu_ns operations calls")


class Load:
    """A workload that runs again and again; `mark` is found `marks` times per operation."""

    programs = ()
    mark = None
    marks = 1

    def __init__(self, name):
        self.name = name

    def open(self, lab):
        """Starts what stays up between the samples."""

    def sample(self, lab, seconds):
        raise NotImplementedError

    def close(self):
        """Stops what open() started."""


class Micro(Load):
    """One thread with both ends of a connection: a write and a read per operation."""

    mark = re.compile(rb"@W[0-9a-f]{8}@")
    marks = 2

    def __init__(self, name, size, *options):
        super().__init__(name)
        self.options = ("-m", "-s", size, *options)

    def sample(self, lab, seconds):
        command = [paths.TARGETS / "ssl_micro", *self.options, "-d", seconds]
        command += ["-c", lab.cert, "-k", lab.key]
        result = json.loads(run(command, lab.env, seconds + 60, TRACED_CPU))
        return Sample(result["ops_per_s"], result["cpu_ns_per_op"], result["ops"], calls=2)


def sample_wrk(lab, load, server, url, seconds):
    """What wrk gets of a server, and what that costs the server."""
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s", "--timeout", "20s", url]
    before = server.cpu_ns()
    report = run(command, lab.untraced_env, seconds + 60, GENERATOR_CPU)
    cpu_ns = server.cpu_ns() - before
    requests = int(re.search(r"(\d+) requests in", report).group(1))
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", report).group(1))
    return Sample(rate, cpu_ns / max(requests, 1), requests, load.calls)


class Nginx(Load):
    """nginx on one CPU serves a file to 16 keep-alive connections of wrk."""

    programs = ("nginx", "wrk")
    mark = re.compile(rb"HTTP/1\.1 200 OK")

    def __init__(self, name, file):
        super().__init__(name)
        self.file = file
        # One read of the request, the read that finds no more, and the writes.
        self.calls = 2 + (FILES[file].size + 300 + 16383) // 16384
        self.nginx = None

    def open(self, lab):
        self.nginx = lab.start_nginx(TRACED_CPU)

    def sample(self, lab, seconds):
        url = f"https://127.0.0.1:{NGINX_PORT}/{self.file}"
        return sample_wrk(lab, self, self.nginx, url, seconds)

    def close(self):
        self.nginx.stop(signal.SIGTERM)


class Go(Load):
    """A server in Go on one CPU serves a file to 16 keep-alive connections of wrk."""

    programs = ("go", "wrk")
    mark = re.compile(rb"HTTP/1\.1 200 OK")
    port = 18461

    def __init__(self, name, file):
        super().__init__(name)
        self.file = file
        # One read of the request, and writes of the header and the body.
        self.calls = 2 + (FILES[file].size + 16383) // 16384
        self.server = None

    def open(self, lab):
        build_go("go")
        command = [paths.GO_SERVER, f"127.0.0.1:{self.port}", lab.cert, lab.key, lab.www]
        self.server = Process(command, cpus=TRACED_CPU, stdout=subprocess.PIPE)
        if not self.server.read_line().startswith("ready"):
            raise CommandFailed("go_server did not start")

    def sample(self, lab, seconds):
        url = f"https://127.0.0.1:{self.port}/{self.file}"
        return sample_wrk(lab, self, self.server, url, seconds)

    def close(self):
        self.server.stop(signal.SIGTERM)


class Exec(Load):
    """Processes that load libssl and end at once: what probes cost at exec and mmap."""

    def sample(self, lab, seconds):
        env = {**os.environ, **lab.env}
        command = [str(paths.TARGETS / "tls_client"), "-N", "0", "127.0.0.1", "1", "/"]
        quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
        processes = 0
        begin, begin_cpu = time.monotonic(), _children_cpu_s()
        while time.monotonic() - begin < seconds:
            pid = os.posix_spawn(command[0], command, env, file_actions=quiet)
            os.waitpid(pid, 0)
            processes += 1
        cpu_s = _children_cpu_s() - begin_cpu
        rate = processes / (time.monotonic() - begin)
        return Sample(rate, cpu_s * 1e9 / processes, processes, calls=1)


def _children_cpu_s():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


_ALL = [
    Micro("micro100", 100),
    Micro("micro4k", 4096),
    Micro("micro16k", 16384),
    Micro("microex4k", 4096, "-x"),
    Nginx("nginx1k", "b1k"),
    Nginx("nginx16k", "b16k"),
    Nginx("nginx1m", "b1m"),
    Go("go1k", "b1k"),
    Go("go16k", "b16k"),
    Exec("exec"),
]
LOADS = {load.name: load for load in _ALL}


def count_marks(path, mark, chunk_size=16 << 20):
    """How often the mark of a load occurs in a file of any size."""
    overlap = 64
    count = 0
    tail = b""
    with open(path, "rb") as file:
        while True:
            chunk = file.read(chunk_size)
            data = tail + chunk
            last = not chunk
            # What begins in the overlap is counted with the next chunk.
            end = len(data) if last else len(data) - overlap
            count += sum(1 for match in mark.finditer(data) if match.start() < end)
            if last:
                return count
            tail = data[max(end, 0) :]
