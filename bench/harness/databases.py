"""Database servers from private copies of their files, with small selects as load."""

import glob
import os
import re
import shutil
import signal
import time

from . import paths, procfs
from .lab import copy_once
from .process import CommandFailed, Process, run

CLIENTS = 4
NOBODY = 65534


class _Server:
    """A server with its data in the lab; it runs as nobody, as servers refuse root."""

    kind = None
    programs = ("setpriv",)

    def __init__(self):
        self.directory = paths.LAB / self.kind
        self.process = None

    @property
    def data(self):
        return self.directory / "data"

    @property
    def file(self):
        return self.directory / "server"

    def start(self, cpus):
        """Makes the data when there are none, starts the server and waits until it answers."""
        self.directory.mkdir(exist_ok=True)
        os.chown(self.directory, NOBODY, NOBODY)
        copy_once(self.source(), self.file)
        if not self.data.exists():
            try:
                run(_as_nobody(self.install_command()), cpus=cpus)
            except CommandFailed:
                shutil.rmtree(self.data, ignore_errors=True)
                raise
        self.process = Process(_as_nobody(self.server_command()), cpus=cpus)
        deadline = time.monotonic() + 30
        while True:
            try:
                self.prepare()
                return
            except CommandFailed:
                if time.monotonic() > deadline or not self.process.alive:
                    raise
                time.sleep(0.1)

    def cpu_ns(self):
        return procfs.tree_cpu_ns(self.process.pid)

    def stop(self):
        self.process.stop(signal.SIGQUIT if self.kind == "postgres" else signal.SIGTERM, grace=30)


class Postgres(_Server):
    """pgbench -S, by simple queries or prepared statements."""

    kind = "postgres"
    programs = (*_Server.programs, "psql")
    mark = re.compile(rb"SELECT abalance FROM pgbench_accounts")

    def __init__(self, mode):
        super().__init__()
        self.mode = mode
        self.env = {"PGHOST": str(self.directory), "PGUSER": "nobody", "PGDATABASE": "postgres"}

    @staticmethod
    def _program(name):
        """Of the latest version that Debian or Ubuntu have installed."""
        found = glob.glob(f"/usr/lib/postgresql/*/bin/{name}") or [shutil.which(name)]
        return max(found, key=lambda path: [int(word) for word in re.findall(r"\d+", path)])

    def source(self):
        return self._program("postgres")

    def install_command(self):
        return [self._program("initdb"), "-D", self.data, "-U", "nobody", "-A", "trust"]

    def server_command(self):
        sockets = f"unix_socket_directories={self.directory}"
        return [self.file, "-D", self.data, "-c", "listen_addresses=", "-c", sockets]

    def prepare(self):
        run([self._program("pgbench"), "-i", "-q", "-s", "1"], self.env)

    def run(self, seconds, cpus):
        command = [self._program("pgbench"), "-S", "-n", "-M", self.mode]
        command += ["-c", CLIENTS, "-T", seconds]
        report = run(command, self.env, seconds + 60, cpus)
        rate = float(re.search(r"tps = ([\d.]+)", report).group(1))
        return rate, int(re.search(r"actually processed: (\d+)", report).group(1))


class MariaDb(_Server):
    """A loop of selects of one row by its key."""

    kind = "mysqld"
    programs = (*_Server.programs, "mariadbd", "mariadb", "mariadb-slap", "mariadb-install-db")
    mark = re.compile(rb"select v from bench\.t where id = 1")
    table = (
        "create database if not exists bench;"
        "create or replace table bench.t (id int primary key, v int);"
        "insert into bench.t values (1, 1)"
    )
    select = "select v from bench.t where id = 1"
    # What a run has for each second; its end depends on the machine.
    per_second = 5000

    @property
    def _socket(self):
        return f"--socket={self.directory / 's'}"

    def source(self):
        return shutil.which("mariadbd")

    def install_command(self):
        options = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        return ["mariadb-install-db", "--no-defaults", f"--datadir={self.data}", *options]

    def server_command(self):
        options = [f"--datadir={self.data}", self._socket, "--skip-networking"]
        return [self.file, "--no-defaults", *options]

    def prepare(self):
        run(["mariadb", "--no-defaults", "-uroot", self._socket, "-e", self.table])

    def run(self, seconds, cpus):
        statements = self.per_second * seconds
        command = ["mariadb-slap", "--no-defaults", "-uroot", self._socket, f"--query={self.select}"]
        command += [f"--concurrency={CLIENTS}", f"--number-of-queries={statements}"]
        command.append("--create-schema=bench")
        begin = time.monotonic()
        run(command, timeout=seconds * 20 + 60, cpus=cpus)
        return statements / (time.monotonic() - begin), statements


def _as_nobody(command):
    ids = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return ["setpriv", *ids, *command]
