"""The place where workloads run: private libraries, a certificate, bodies, servers."""

import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import time

from . import paths, pattern
from .pattern import Body
from .process import CommandFailed, Process, run

MIB = 1 << 20
NGINX_PORT = 18443
NGINX_HTTP2_PORT = 18444
SERVER_PORT = 18450

FILES = {
    "b1k": Body(0x1, 1024),
    "b16k": Body(0x10, 16384),
    "b64k": Body(0x64, 65536),
    "b1m": Body(0x100, MIB),
    "b100m": Body(0x6400, 100 * MIB),
}

NGINX_CONFIG = """\
worker_processes 1;
pid {lab}/nginx/nginx.pid;
error_log {lab}/nginx/error.log;
daemon off;
user root;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600;
    sendfile off;
    types {{}}
    default_type text/plain;
    client_body_temp_path {lab}/nginx/body;
    proxy_temp_path {lab}/nginx/proxy;
    fastcgi_temp_path {lab}/nginx/fastcgi;
    uwsgi_temp_path {lab}/nginx/uwsgi;
    scgi_temp_path {lab}/nginx/scgi;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate {cert};
    ssl_certificate_key {key};
    root {www};
    server {{ listen 127.0.0.1:{port} ssl; listen [::1]:{port} ssl; }}
    server {{ listen 127.0.0.1:{http2_port} ssl http2; }}
}}
"""


class Lab:
    """Everything that a workload needs, made on first use and kept between runs.

    The traced programs use a private copy of libssl: its inode is ours alone, so
    probes that others have on the system's library neither show up nor cost
    anything. wrk uses a second copy, which nobody traces.
    """

    def __init__(self):
        _raise_file_limit()
        self.lib = paths.LAB / "lib"
        self.untraced_lib = paths.LAB / "untraced-lib"
        self.gnutls_lib = paths.LAB / "gnutls-lib"
        self.www = paths.LAB / "www"
        self.cert = paths.LAB / "cert.pem"
        self.key = paths.LAB / "key.pem"
        self.libssl = self.lib / "libssl.so.3"
        self.env = {"LD_LIBRARY_PATH": str(self.lib)}
        self.untraced_env = {"LD_LIBRARY_PATH": str(self.untraced_lib)}

        paths.OUTPUT.mkdir(parents=True, exist_ok=True)
        _build(paths.TARGETS_SOURCE)
        _build(paths.BASELINE_SOURCE, optional=True)
        self._copy_libraries()
        self._create_certificate()
        self._write_bodies()
        self._write_nginx_config()

    def _copy_libraries(self):
        for name in ("libssl.so.3", "libcrypto.so.3"):
            source = system_library(name)
            if source is None:
                sys.exit(f"bench: {name} is not installed")
            copy_once(source, self.lib / name)
            copy_once(source, self.untraced_lib / name)
        gnutls = system_library("libgnutls.so.30")
        if gnutls:
            copy_once(gnutls, self.gnutls_lib / "libgnutls.so.30")

    def _create_certificate(self):
        if self.cert.exists():
            return
        names = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"
        command = "openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=localhost"
        run([*command.split(), "-addext", names, "-keyout", self.key, "-out", self.cert])

    def _write_bodies(self):
        self.www.mkdir(exist_ok=True)
        for name, body in FILES.items():
            file = self.www / name
            if not file.exists() or file.stat().st_size != body.size:
                file.write_bytes(pattern.body_bytes(body))

    def _write_nginx_config(self):
        directory = paths.LAB / "nginx"
        directory.mkdir(exist_ok=True)
        config = NGINX_CONFIG.format(
            lab=paths.LAB,
            cert=self.cert,
            key=self.key,
            www=self.www,
            port=NGINX_PORT,
            http2_port=NGINX_HTTP2_PORT,
        )
        (directory / "nginx.conf").write_text(config)

    def start_nginx(self, cpus=None):
        """Starts nginx with the private libssl and waits until it answers."""
        directory = paths.LAB / "nginx"
        log = directory / "error.log"
        command = ["nginx", "-p", directory, "-c", directory / "nginx.conf", "-e", log]
        nginx = Process(command, self.env, cpus)
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and nginx.alive:
            try:
                run([paths.TARGETS / "tls_client", "127.0.0.1", NGINX_PORT, "/b1k"], self.env)
                return nginx
            except CommandFailed:
                time.sleep(0.05)
        nginx.stop(signal.SIGKILL)
        raise CommandFailed(f"nginx did not start: {log.read_text()[-300:]}")

    def start_server(self, *options, address=(SERVER_PORT,), env=None):
        """Starts tls_server with the private libssl and waits until it listens."""
        command = [paths.TARGETS / "tls_server", "-c", self.cert, "-k", self.key]
        server = Process([*command, *options, *address], env or self.env, stdout=subprocess.PIPE)
        if not server.read_line().startswith("ready"):
            raise CommandFailed(f"tls_server {' '.join(options)} did not start")
        return server


def _build(directory, optional=False):
    """Runs make; only a message when what fails is optional."""
    result = subprocess.run(
        ["make", "-s", "-C", str(directory)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    if result.returncode == 0:
        return
    error = result.stderr.decode(errors="replace").strip()
    if not optional:
        sys.exit(f"bench: cannot build {directory}:\n{error}")
    print(f"bench: cannot build {directory} (tools from there are skipped):\n{error}", flush=True)


def build_go(target):
    """Builds the Go programs by `make go` or `make go-old`."""
    run(["make", "-s", "-C", paths.TARGETS_SOURCE, target], timeout=900)


def _raise_file_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def system_library(name):
    """The path of an installed library, or None."""
    machine = platform.machine()
    for directory in (f"/usr/lib/{machine}-linux-gnu", "/usr/lib64", "/usr/lib"):
        path = os.path.join(directory, name)
        if os.path.exists(path):
            return path
    return None


def copy_once(source, target):
    """Copies a file unless the copy is as new; libraries change with updates."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists() or target.stat().st_mtime < os.stat(source).st_mtime:
        shutil.copy2(source, target)
