"""Where OpenSSL comes from."""

import os
import shutil
import subprocess

from .. import paths
from ..lab import FILES, NGINX_PORT
from ..process import run
from ..score import Expectation
from .registry import case
from .scene import CaseSkipped, both_ends


@case("dlopen", "libssl opened by path at run time", nginx=True)
def opened_at_run_time(scene):
    lib = scene.lab.lib
    env = {**scene.lab.env, "LIBSSL": scene.lab.libssl, "LIBCRYPTO": lib / "libcrypto.so.3"}
    env = {name: str(value) for name, value in env.items()}
    return scene.download(FILES["b1m"], env=env, program="tls_client_dlopen")


@case("chroot", "a chroot with its own copy of libssl", nginx=True, other_library=True)
def chroot(scene):
    root = paths.LAB / "chroot"
    make_root(root, paths.TARGETS / "tls_client", scene.lab.env)
    client = ["/tls_client", "127.0.0.1", NGINX_PORT, "/b1m"]
    run(["unshare", "-m", "chroot", root, *client], {"LD_LIBRARY_PATH": "/lib"})
    return both_ends("tls_client", FILES["b1m"])


def make_root(root, program, env):
    """A directory in which the program runs: itself and the libraries that ldd names."""
    shutil.rmtree(root, ignore_errors=True)
    (root / "lib").mkdir(parents=True)
    shutil.copy(program, root)
    listing = subprocess.run(
        ["ldd", str(program)],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    for word in listing.split():
        if word.startswith("/"):
            shutil.copy(word, root / "lib")
            if "/ld-" in word:  # the program names its loader by this very path
                loader = root / word[1:]
                loader.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(word, loader)


@case("two-copies", "two copies of libssl, each used by a process", nginx=True, other_library=True)
def two_copies(scene):
    scene.client(path="/b64k", env=scene.lab.untraced_env, received=65536)
    scene.client(path="/b64k", received=65536)
    return both_ends("tls_client", FILES["b64k"], times=2)


@case(
    "two-versions",
    "another version of OpenSSL: curl of the tree $BENCH_OTHER_ROOT",
    nginx=True,
    other_library=True,
)
def two_versions(scene):
    root = os.environ.get("BENCH_OTHER_ROOT")
    if not root:
        raise CaseSkipped("BENCH_OTHER_ROOT names no unpacked distribution with curl")
    lib = f"{root}/usr/lib/x86_64-linux-gnu"
    curl = [f"{lib}/ld-linux-x86-64.so.2", "--library-path", lib, f"{root}/usr/bin/curl"]
    url = f"https://127.0.0.1:{NGINX_PORT}/b1m"
    run([*curl, "-sk", "--http1.1", "-o", "/dev/null", url], {"OPENSSL_CONF": "/dev/null"})
    scene.client(path="/b64k", received=65536)
    return [
        Expectation("other client", "curl|ld-linux", "received", FILES["b1m"]),
        Expectation("client", "tls_client", "received", FILES["b64k"]),
        Expectation("server", "nginx", "sent", FILES["b1m"]),
    ]


@case("static", "OpenSSL linked into the program", nginx=True, other_library=True)
def static(scene):
    return scene.download(FILES["b1m"], program="tls_client_static")


@case(
    "static-stripped",
    "OpenSSL linked into the program, no symbols",
    nginx=True,
    other_library=True,
)
def static_stripped(scene):
    return scene.download(FILES["b1m"], program="tls_client_static_stripped")
