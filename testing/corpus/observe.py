#!/usr/bin/env python3
"""observe.py FILE: where a shared library of the OpenSSL family keeps the keys of a connection, seen while it makes one.

The library is loaded into a Python process and makes two connections, with TLS 1.2 and with 1.3, to a server that writes a key log. What is in that log is then
looked for in memory, from the connection object on. FILE needs symbols of its public functions, and its own libraries where the loader finds them.
"""

import contextlib
import ctypes
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

OBJECT, TARGET = 0x1600, 0x800  # bytes that are searched of the object, and of what it points to
NAMES = {"CLIENT_RANDOM": "master", "EXPORTER_SECRET": "exporter"}


def main(file):
    with tempfile.TemporaryDirectory() as home:
        certificate = Path(home) / "certificate.pem"
        command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost".split()
        subprocess.run([*command, "-keyout", certificate, "-out", f"{certificate}.crt"], check=True, capture_output=True)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            log = Path(home) / version.name
            port = serve(version, certificate, log)
            print(version.name, subprocess.run([sys.executable, __file__, file, str(port), log], capture_output=True, text=True).stdout.strip())


def serve(version, certificate, log):
    """A server for one connection that stays open for a moment; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{certificate}.crt", certificate)
    context.keylog_filename = log
    context.minimum_version = context.maximum_version = version
    listener = socket.create_server(("127.0.0.1", 0))

    def run():
        connection, _ = listener.accept()
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
            tls.sendall(tls.recv(100))
            tls.recv(100)

    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()[1]


def observe(file, port, log):
    """Connects with the library and prints the ways to each value, as lists of offsets."""
    library = Library(file)
    library.call("SSL_library_init", ctypes.c_int)
    method = library.call("TLS_client_method", ctypes.c_void_p) or library.call("SSLv23_client_method", ctypes.c_void_p)
    context = library.call("SSL_CTX_new", ctypes.c_void_p, ctypes.c_void_p(method))
    connection = library.call("SSL_new", ctypes.c_void_p, ctypes.c_void_p(context))
    with socket.create_connection(("127.0.0.1", int(port))) as transport:
        pointer = ctypes.c_void_p(connection)
        library.call("SSL_set_fd", ctypes.c_int, pointer, ctypes.c_int(transport.fileno()))
        if library.call("SSL_connect", ctypes.c_int, pointer) != 1:
            sys.exit(print("no connection: not a version that the library has?"))
        text = ctypes.create_string_buffer(b"hello")
        library.call("SSL_write", ctypes.c_int, pointer, text, ctypes.c_int(5))
        library.call("SSL_read", ctypes.c_int, pointer, text, ctypes.c_int(5))
        print(json.dumps(search(connection, wanted(log))))


class Library:
    """Functions by their addresses, as many are not exported."""

    def __init__(self, file):
        self.addresses = {}
        for table in ([], ["--dynamic"]):
            listing = subprocess.run(["nm", "--defined-only", *table, file], capture_output=True, text=True).stdout
            for line in listing.splitlines():
                address, _, name = line.split(maxsplit=2)
                self.addresses[name.split("@")[0]] = int(address, 16)
        ctypes.CDLL(file, mode=os.RTLD_LAZY | os.RTLD_GLOBAL)
        maps = Path("/proc/self/maps").read_text().splitlines()
        self.base = min(int(line.split("-")[0], 16) for line in maps if line.endswith(os.path.realpath(file)))

    def call(self, name, result, *arguments):
        if name not in self.addresses:
            return None
        return ctypes.CFUNCTYPE(result, *map(type, arguments))(self.base + self.addresses[name])(*arguments)


def wanted(log):
    lines = [line.split() for line in Path(log).read_text().splitlines() if not line.startswith("#")]
    values = {NAMES[label]: bytes.fromhex(secret) for label, _, secret in lines if label in NAMES}
    return values | {"client_random": bytes.fromhex(lines[0][1])}


def search(start, values):
    """Up to two pointers deep; the second only from what the first 64 bytes point to, where BoringSSL has its state."""
    found = {name: [] for name in values}
    ways = [([], start, OBJECT)]
    for way, address, size in ways:
        memory = read(address, size)
        for name, value in values.items():
            found[name] += [[*way, at] for at in range(len(memory)) if memory.startswith(value, at)]
        if len(way) == 0 or len(way) == 1 and way[0] < 64:
            ways += [([*way, at], pointer, TARGET) for at, pointer in pointers(memory)]
    return found


def pointers(memory):
    words = ((at, struct.unpack_from("<Q", memory, at)[0]) for at in range(0, len(memory) - 7, 8))
    return [(at, word) for at, word in words if 0x10000 < word < 1 << 47]


def read(address, size):
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        try:
            memory.seek(address)
            return memory.read(size)
        except OSError:
            return b""


if __name__ == "__main__":
    observe(*sys.argv[1:]) if len(sys.argv) == 4 else main(*sys.argv[1:])
