"""Programs of others: languages, tools and other TLS libraries."""

import subprocess
import time

from .. import paths
from ..lab import FILES, NGINX_PORT
from ..process import CommandFailed, run
from ..score import Expectation
from .registry import case
from .scene import both_ends

URL = f"https://127.0.0.1:{NGINX_PORT}/b1m"
GO_ADDRESS = "127.0.0.1:18460"

PYTHON = """
import ssl, sys, urllib.request
context = ssl._create_unverified_context()
print(len(urllib.request.urlopen(sys.argv[1], context=context).read()))
"""

NODE = """
const options = { rejectUnauthorized: false };
require("https").get(process.argv[1], options, (response) => {
  let total = 0;
  response.on("data", (data) => (total += data.length));
  response.on("end", () => console.log(total));
});
"""


def expect_size(output, size):
    if output != str(size):
        raise CommandFailed(f"received {output} instead of {size} bytes")


@case("s_client", "openssl s_client, 1 MiB", nginx=True, programs=("openssl",))
def s_client(scene):
    command = ["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{NGINX_PORT}"]
    client = subprocess.Popen(
        command,
        env={**scene.lab.env, "PATH": "/usr/bin:/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    client.stdin.write(b"GET /b1m HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    client.stdin.flush()
    time.sleep(2)  # it ends when its input does, whether it has read everything or not
    client.communicate(timeout=10)
    return both_ends("openssl", FILES["b1m"])


@case("python", "Python's urllib (_ex functions), 1 MiB", nginx=True)
def python(scene):
    output = run(["/usr/bin/python3", "-c", PYTHON, URL], scene.lab.env)
    expect_size(output, FILES["b1m"].size)
    return both_ends("python3", FILES["b1m"])


@case(
    "node",
    "Node.js (OpenSSL inside of it, or the system's), 1 MiB",
    nginx=True,
    other_library=True,
    programs=("node",),
)
def node(scene):
    expect_size(run(["node", "-e", NODE, URL]), FILES["b1m"].size)
    return both_ends("node|MainThread", FILES["b1m"])


@case(
    "wget",
    "wget (GnuTLS on Debian), 1 MiB",
    nginx=True,
    feature="gnutls",
    other_library=True,
    programs=("wget",),
)
def wget(scene):
    env = {"LD_LIBRARY_PATH": str(scene.lab.gnutls_lib)}
    run(["wget", "-q", "--no-check-certificate", "-O", "/dev/null", URL], env)
    return both_ends("wget", FILES["b1m"])


def go_client(program):
    expect_size(run([paths.TARGETS / program, URL]), FILES["b1m"].size)
    return [Expectation("client", "go_", "received", FILES["b1m"])]


def go_server(scene, server, client):
    lab = scene.lab
    command = [paths.TARGETS / server, GO_ADDRESS, lab.cert, lab.key, lab.www]
    scene.start(command, stdout=subprocess.PIPE).read_line()
    output = run([paths.TARGETS / client, "-n", 20, f"https://{GO_ADDRESS}/b64k"])
    expect_size(output, 20 * FILES["b64k"].size)
    return [Expectation("server", "go_", "sent", FILES["b64k"], 20)]


GO = {"nginx": True, "other_library": True, "feature": "go", "programs": ("go",)}
GO_OLD = {**GO, "feature": "go-old"}


@case("go", "Go client, 1 MiB", **GO)
def go(_scene):
    return go_client("go_client")


@case("go-stripped", "Go client without symbols, 1 MiB", **GO)
def go_stripped(_scene):
    return go_client("go_client_stripped")


@case("go-server", "Go server, 20 connections x 64 KiB", **GO)
def go_new_server(scene):
    return go_server(scene, "go_server", "go_client")


@case("go-old", "client by an older Go, 1 MiB", **GO_OLD)
def go_old(_scene):
    return go_client("go1.24.13/client")


@case("go-old-stripped", "client by an older Go without symbols, 1 MiB", **GO_OLD)
def go_old_stripped(_scene):
    return go_client("go1.24.13/client_stripped")


@case("go-old-server", "server by an older Go, 20 connections x 64 KiB", **GO_OLD)
def go_old_server(scene):
    return go_server(scene, "go1.24.13/server", "go1.24.13/client")
