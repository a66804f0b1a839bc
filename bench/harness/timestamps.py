"""Times that ssl_micro -t puts into its payloads, found in what a tool wrote."""

import re

STAMP = re.compile(rb"@T(\d{20})@")


def first_stamp(path, not_before=0, not_after=1 << 63):
    """The earliest time in the file (ns, CLOCK_MONOTONIC) within the limits, or None."""
    if not path.exists():
        return None
    times = (int(stamp) for stamp in STAMP.findall(path.read_bytes()))
    return min((time for time in times if not_before <= time <= not_after), default=None)
