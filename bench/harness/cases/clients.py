"""Ways in which clients call OpenSSL."""

from ..lab import FILES, MIB, NGINX_HTTP2_PORT, NGINX_PORT
from ..pattern import UPLOAD_STREAM, Body
from ..process import run
from .registry import case
from .scene import both_ends

CURL = ("curl", "-sk", "-o", "/dev/null")


@case("curl-1m", "curl from nginx, 1 MiB", nginx=True, programs=("curl",))
def curl(scene):
    run([*CURL, "--http1.1", f"https://127.0.0.1:{NGINX_PORT}/b1m"], scene.lab.env)
    return both_ends("curl", FILES["b1m"])


@case("curl-100m", "curl from nginx, 100 MiB", nginx=True, programs=("curl",), drain_s=60)
def curl_large(scene):
    run([*CURL, "--http1.1", f"https://127.0.0.1:{NGINX_PORT}/b100m"], scene.lab.env)
    return both_ends("curl", FILES["b100m"])


@case("curl-h2-1m", "curl from nginx by HTTP/2, 1 MiB", nginx=True, programs=("curl",))
def curl_http2(scene):
    run([*CURL, "--http2", f"https://127.0.0.1:{NGINX_HTTP2_PORT}/b1m"], scene.lab.env)
    return both_ends("curl", FILES["b1m"], http2=True)


@case("keepalive-200", "200 requests of 16 KiB on one connection", nginx=True)
def keepalive(scene):
    return scene.download(FILES["b16k"], "-K", 200, times=200)


@case("nonblock", "non-blocking, odd reads of 1 to 1,000 bytes, 20 x 64 KiB", nginx=True)
def nonblocking(scene):
    return scene.download(FILES["b64k"], "--nonblocking", "-N", 20, times=20)


@case("ex-client", "SSL_read_ex and SSL_write_ex, 1 MiB", nginx=True)
def ex_client(scene):
    return scene.download(FILES["b1m"], "--ex")


@case("peek", "SSL_peek before each read; it must not show twice", nginx=True)
def peek(scene):
    return scene.download(FILES["b64k"], "--peek", "-c", 4096)


@case("membio", "memory BIOs: the SSL object knows no socket", nginx=True)
def memory_bio(scene):
    return scene.download(FILES["b1m"], "--memory-bio")


@case("tls12", "TLS 1.2, 1 MiB", nginx=True)
def tls12(scene):
    return scene.download(FILES["b1m"], "--tls12")


@case("ipv6", "IPv6, 1 MiB", nginx=True)
def ipv6(scene):
    return scene.download(FILES["b1m"], host="::1")


@case("upload", "1 MiB sent with one SSL_write")
def upload(scene):
    scene.server()
    return scene.upload(Body(UPLOAD_STREAM, MIB))


@case("partial-write", "SSL_write that returns after each record, non-blocking, 1 MiB")
def partial_write(scene):
    scene.server()
    return scene.upload(Body(UPLOAD_STREAM, MIB), "--partial-write", "--nonblocking")


@case("ssl-clear", "one SSL object for 20 connections, 64 KiB each", nginx=True)
def ssl_clear(scene):
    return scene.download(FILES["b64k"], "--reuse-ssl", "-N", 20, times=20)


@case("shared-threads", "one connection: a thread writes, three read; 50 x 64 KiB")
def shared_threads(scene):
    scene.server("-W", 16384)
    return scene.generate(Body(0x5006, 65536), "--threads", 4, "-K", 50, times=50)


@case("early-data", "20 uploads of 16 KiB, 19 of them in 0-RTT data")
def early_data(scene):
    scene.server("--early-data", 65536)
    return scene.upload(Body(UPLOAD_STREAM, 16384), "--early-data", "-N", 20, times=20)
