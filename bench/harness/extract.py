"""Readers of what tools write: output file -> records in order.

A reader is a function from a path to an iterable of Record; add one to FORMATS
for a tool with another format.
"""

import base64
import collections
import json
import re

# stream: anything hashable that tells streams apart, so that the data of one
# stream and direction can be joined. direction: "sent", "received" or None when
# the tool does not say. comm: "" when it does not say.
Record = collections.namedtuple("Record", "comm stream direction data")


class FormatError(Exception):
    """The output is not in the format that tools.json promises."""


TEXT_HEADER = re.compile(
    rb"\d{4}-\d\d-\d\dT\S+ PID:(?P<pid>\d+), Comm:(?P<comm>[^\n]*?), Src:(?P<src>[^\n]*?), "
    rb"Dest:(?P<dest>[^\n]*?), TID:\d+, UID:\d+, (?:FD:(?P<fd>\d+), )?"
    rb"Dir:(?P<dir>sent|received), Type:[^\n]*?, Length:(?P<length>\d+),\n"
)
MIN_CAPTURE_HEADER = re.compile(
    rb"\[\d+\] PID:(?P<pid>\d+) TID:\d+ SSL:(?P<ssl>\w+) (?P<dir>READ|WRITE) "
    rb"\((?P<length>\d+) bytes\):\n"
)


def read_text(path):
    """ecapture's text: a header line, Length bytes, a newline."""
    for header, data in _framed(path, TEXT_HEADER):
        stream = (header["pid"], header["src"], header["dest"], header["fd"])
        yield Record(header["comm"].decode("latin-1"), stream, header["dir"].decode(), data)


def read_min_capture(path):
    """The baseline's text: a header line, n bytes, a newline."""
    for header, data in _framed(path, MIN_CAPTURE_HEADER):
        direction = "sent" if header["dir"] == b"WRITE" else "received"
        yield Record("", (header["pid"], header["ssl"]), direction, data)


def _framed(path, header):
    """Yields (match of the header line, payload); skips lines between the records.

    A newline must follow each payload. Else the lengths are wrong, and going on
    would report as lost what was only written in another way.
    """
    with open(path, "rb") as file:
        text = file.read()
    match = header.search(text)
    while match:
        end = match.end() + int(match["length"])
        # A record at the end may be cut: the tool was killed.
        if text[end : end + 1] not in (b"\n", b""):
            raise FormatError(
                f"{path}: the {match['length'].decode()} bytes of payload at byte {match.end()} "
                "are not followed by a newline"
            )
        yield match, text[match.end() : end]
        # Not before `end`: a payload may contain what looks like a header.
        match = header.search(text, end)


def read_json(path):
    """ecapture's JSON lines: data as UTF-8 text, or data_b64."""
    with open(path, "rb") as file:
        for line in file:
            record = _json_record(line)
            if record:
                yield record


def _json_record(line):
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    if "data_b64" in fields:
        data = base64.b64decode(fields["data_b64"])
    elif "data" in fields:
        data = fields["data"].encode("utf-8", "surrogateescape")
    else:
        return None
    # Without a connection id the descriptor of the thread has to do.
    connection = fields.get("conn", (fields.get("tid"), fields.get("fd")))
    stream = (fields.get("pid"), connection, fields.get("stream"))
    return Record(fields.get("comm", ""), stream, fields.get("dir"), data)


def read_raw(path):
    """Any tool that writes nothing but payload."""
    with open(path, "rb") as file:
        yield Record("", None, None, file.read())


FORMATS = {
    "text": read_text,
    "json": read_json,
    "min-capture": read_min_capture,
    "raw": read_raw,
}
