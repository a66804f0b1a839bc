"""Many connections, short processes, connections older than the tool, state left behind."""

import signal
import subprocess
import time

from ..lab import FILES, SERVER_PORT
from ..pattern import UPLOAD_STREAM, Body
from .registry import case
from .scene import both_ends

IDLE_CONNECTIONS = 1500

HOLD_CONNECTIONS = f"""
import socket, ssl, time
context = ssl._create_unverified_context()
held = []
for _ in range({IDLE_CONNECTIONS}):
    held.append(context.wrap_socket(socket.create_connection(("127.0.0.1", {SERVER_PORT}))))
print("ready", flush=True)
time.sleep(60)
"""


@case("seq-2000", "2,000 connections of one process, 1 KiB each", nginx=True, drain_s=40)
def sequential(scene):
    return scene.download(FILES["b1k"], "-N", 2000, times=2000)


@case("par-2000", "2,000 connections of 20 processes, 1 KiB each", nginx=True, drain_s=40)
def parallel(scene):
    scene.clients(20, "-N", 100, path="/b1k")
    return both_ends("tls_client", FILES["b1k"], times=2000)


@case("short-200", "200 processes that _exit right after the last read, 1 KiB each", nginx=True)
def short_lived(scene):
    for _ in range(200):
        scene.client("--early-exit", path="/b1k", received=1024)
    return both_ends("tls_client", FILES["b1k"], times=200)


def connect_before(scene):
    scene.old_client = scene.start(scene.client_command("-q", 20000, path="/b1m"))
    time.sleep(1)


@case("before", "a connection older than the tool, 1 MiB", nginx=True, before=connect_before)
def older_connection(scene):
    scene.old_client.wait(60)
    return both_ends("tls_client", FILES["b1m"])


@case("killed-1200", "1,200 clients killed inside of SSL_read, then 64 KiB")
def killed_clients(scene):
    scene.server("-W", 16384)
    command = scene.client_command(port=SERVER_PORT, path="/hang")
    for _ in range(20):
        clients = [scene.start(command) for _ in range(60)]
        time.sleep(1.2)
        for client in clients:
            client.stop(signal.SIGKILL)
    return scene.generate(Body(0x5005, 65536))


@case("idle-1500", "a server with 1,500 threads inside of SSL_read, then an upload of 64 KiB")
def idle_connections(scene):
    scene.server("-W", 16384)
    command = ["/usr/bin/python3", "-c", HOLD_CONNECTIONS]
    holder = scene.start(command, scene.lab.untraced_env, stdout=subprocess.PIPE)
    holder.read_line()
    time.sleep(1)
    return scene.upload(Body(UPLOAD_STREAM, 65536))
