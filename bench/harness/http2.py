"""HTTP/2 framing, for tools that show raw bytes."""

FRAME_HEAD = 9
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA = 0
LAST_KNOWN_TYPE = 16
MAX_FRAME = 1 << 20


def data_frames(stream):
    """The payload of all DATA frames of one direction, or None: this is not HTTP/2."""
    payload = bytearray()
    position = len(PREFACE) if stream.startswith(PREFACE) else 0
    while position + FRAME_HEAD <= len(stream):
        length = int.from_bytes(stream[position : position + 3], "big")
        kind = stream[position + 3]
        if kind > LAST_KNOWN_TYPE or length > MAX_FRAME:
            return None
        start = position + FRAME_HEAD
        if kind == DATA:
            payload += stream[start : start + length]
        position = start + length
    return bytes(payload)
