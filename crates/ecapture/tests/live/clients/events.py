"""Clients of `ecapture --ecaptureq`: what they get, as JSON lines. All they know of it is proto/event.proto.

events.py URL [HEADER: VALUE]...           one client, which tells each message
events.py --many CLIENTS URL               so many clients, and one more that reads nothing: bytes that all of them
                                           have, whenever they are more, and at the end those of each
events.py --rude URL                       breaks the protocol in several ways
"""

import asyncio
import json
import os
import socket
import sys

import websockets
import event_pb2
from google.protobuf.json_format import MessageToDict


def say(value):
    print(json.dumps(value), flush=True)


async def one(url, headers):
    try:
        async with websockets.connect(url, additional_headers=headers, max_size=None, compression=None) as stream:
            async for message in stream:
                entry = event_pb2.LogEntry()
                assert isinstance(message, bytes) and entry.ParseFromString(message) == len(message)
                say(MessageToDict(entry, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))
    except websockets.exceptions.InvalidStatus as refused:
        say({"refused": refused.response.status_code})


async def count(url, totals, number, ready):
    async with websockets.connect(url, max_size=None, compression=None) as stream:
        async for message in stream:
            entry = event_pb2.LogEntry.FromString(message)
            kind = entry.WhichOneof("payload")
            if kind == "heartbeat_payload" and entry.heartbeat_payload.count == 1:
                ready.add(number)
            if kind == "event_payload":
                totals[number] += entry.event_payload.length


def handshake(url, buffer=None):
    host, port = url.removeprefix("ws://").rstrip("/").rsplit(":", 1)
    raw = socket.socket()
    if buffer:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    raw.connect((host, int(port)))
    raw.sendall(
        f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    return raw


async def progress(totals, ready):
    told = None
    while True:
        if len(ready) == len(totals) and min(totals) != told:
            told = min(totals)
            say({"all": told})
        await asyncio.sleep(0.01)


async def many(clients, url):
    totals, ready = [0] * clients, set()
    stalled = handshake(url, 4096)
    tasks = [asyncio.create_task(count(url, totals, number, ready)) for number in range(clients)]
    telling = asyncio.create_task(progress(totals, ready))
    await asyncio.gather(*tasks)
    telling.cancel()
    say({"totals": totals})
    stalled.close()


def rude(url):
    bad = [
        b"\xff" * 100,  # reserved bits
        b"\x82\x05hello",  # not masked
        b"\x82\xff" + b"\x7f" * 8 + b"mask",  # a frame without an end
        b"\x89\xff" + (126).to_bytes(8, "big") + b"mask" + bytes(126),  # a long ping
        b"\x88\x81mask!",  # a close frame with half a code
        b"\x82\xfe\xff\xff" + b"mask" + os.urandom(65535),  # too long
    ]
    for frame in bad:
        raw = handshake(url)
        raw.settimeout(20)
        raw.sendall(frame)
        try:
            while raw.recv(65536):
                pass
        except ConnectionResetError:
            pass
        raw.close()
    handshake(url).close()
    say({"rude": len(bad)})


match sys.argv[1:]:
    case ["--many", clients, url]:
        asyncio.run(many(int(clients), url))
    case ["--rude", url]:
        rude(url)
    case [url, *headers]:
        asyncio.run(one(url, [tuple(header.split(": ", 1)) for header in headers]))
