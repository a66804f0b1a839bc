"""Ways in which servers call OpenSSL."""

from .. import paths
from ..lab import MIB, SERVER_PORT
from ..pattern import UPLOAD_STREAM, Body
from ..process import run
from .registry import case
from .scene import both_ends, upload_ends


@case("ex-server", "SSL_read_ex and SSL_write_ex, 1 MiB in writes of 16 KiB")
def ex_server(scene):
    scene.server("--ex", "-W", 16384)
    return scene.generate(Body(0x5001, MIB))


@case("bigwrite", "1 MiB sent with one SSL_write")
def big_write(scene):
    scene.server()
    return scene.generate(Body(0x5002, MIB))


@case("mt-server", "a thread per connection, 16 clients x 20 connections x 64 KiB", drain_s=40)
def threaded_server(scene):
    scene.server("-W", 16384)
    scene.clients(16, "-N", 20, port=SERVER_PORT, path="/bytes/65536/5003")
    return both_ends("tls_client", Body(0x5003, 65536), "tls_server", 320)


@case("fork-server", "a process per connection, 50 connections x 16 KiB")
def forking_server(scene):
    scene.server("--fork", "-W", 16384)
    return scene.generate(Body(0x5004, 16384), "-N", 50, times=50)


@case("epoll-server", "one thread, non-blocking, 16 clients x 10 connections x 64 KiB", drain_s=40)
def epoll_server(scene):
    scene.server("--epoll", "-W", 16384)
    scene.clients(16, "-N", 10, port=SERVER_PORT, path="/bytes/65536/5007")
    return both_ends("tls_client", Body(0x5007, 65536), "tls_server", 160)


@case("unix-socket", "TLS over a Unix socket, 64 KiB both ways")
def unix_socket(scene):
    socket = paths.LAB / "server.sock"
    scene.server("--unix", socket, address=())
    client = [paths.TARGETS / "tls_client", "--unix", socket]
    down, up = Body(0x5008, 65536), Body(UPLOAD_STREAM, 65536)
    run([*client, f"/bytes/{down.size}/{down.stream:x}"], scene.lab.env)
    run([*client, "-u", up.size, "/up"], scene.lab.env)
    return both_ends("tls_client", down, "tls_server") + upload_ends(up)
