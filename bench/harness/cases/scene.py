"""What the cases work with."""

import subprocess

from .. import paths
from ..lab import FILES, NGINX_PORT, SERVER_PORT
from ..process import CommandFailed, Process, run
from ..score import Expectation


class CaseSkipped(Exception):
    """The case cannot run here."""


class Scene:
    """Starts the programs of a case; stops what is left when the case is over."""

    def __init__(self, lab):
        self.lab = lab
        self.note = ""
        self._processes = []

    def start(self, command, env=None, stdout=subprocess.DEVNULL):
        """Starts a program in the background."""
        process = Process(command, self.lab.env if env is None else env, stdout=stdout)
        self._processes.append(process)
        return process

    def close(self):
        for process in self._processes:
            process.stop(grace=1)

    def server(self, *options, **where):
        """Starts tls_server."""
        server = self.lab.start_server(*options, **where)
        self._processes.append(server)
        return server

    def client_command(
        self, *options, path, port=NGINX_PORT, host="127.0.0.1", program="tls_client"
    ):
        return [paths.TARGETS / program, *options, host, port, path]

    def client(self, *options, env=None, received=None, **where):
        """Runs tls_client; it must receive as many body bytes as given, if given."""
        output = run(self.client_command(*options, **where), self.lab.env if env is None else env)
        if received is not None and output != str(received):
            raise CommandFailed(f"tls_client received {output} instead of {received} bytes")
        return output

    def clients(self, count, *options, **where):
        """Runs several tls_client at the same time; all must succeed."""
        command = self.client_command(*options, **where)
        running = [self.start(command) for _ in range(count)]
        for process in running:
            if process.wait(120) != 0:
                raise CommandFailed(f"{command[0]}: exit {process.exit_code}")

    def download(self, body, *options, times=1, comm="tls_client", **where):
        """tls_client gets a body from nginx; returns what must be captured."""
        name = next(name for name, file in FILES.items() if file == body)
        self.client(*options, path=f"/{name}", received=body.size * times, **where)
        return both_ends(comm, body, "nginx", times)

    def generate(self, body, *options, times=1, **where):
        """tls_client gets a generated body from tls_server; returns what must be captured."""
        path = f"/bytes/{body.size}/{body.stream:x}"
        where.setdefault("port", SERVER_PORT)
        self.client(*options, path=path, received=body.size * times, **where)
        return both_ends("tls_client", body, "tls_server", times)

    def upload(self, body, *options, times=1, **where):
        """tls_client sends a body to tls_server; returns what must be captured."""
        where.setdefault("port", SERVER_PORT)
        self.client("-u", body.size, *options, path="/up", received=9 * times, **where)
        return upload_ends(body, times)


def both_ends(client, body, server="nginx", times=1, http2=False):
    """A body that a server sent and a client received."""
    return [
        Expectation("client", client, "received", body, times, http2),
        Expectation("server", server, "sent", body, times, http2),
    ]


def upload_ends(body, times=1):
    """A body that tls_client sent and tls_server received."""
    return [
        Expectation("client", "tls_client", "sent", body, times),
        Expectation("server", "tls_server", "received", body, times),
    ]
