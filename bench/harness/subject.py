"""The ecapture under test."""

import functools
import hashlib
import json
import os
import shutil
import subprocess
import time

from . import paths

COPY = paths.LAB / "ecapture"


def find():
    """$ECAPTURE, else bin/ecapture, else target/release/ecapture; None if there is none."""
    named = os.environ.get("ECAPTURE")
    places = [paths.ROOT / "bin" / "ecapture", paths.ROOT / "target" / "release" / "ecapture"]
    for place in [named] if named else places:
        if os.path.isfile(place):
            return str(place)
    return None


@functools.lru_cache(maxsize=1)
def snapshot():
    """Copies it once per run of the bench and says what it is.

    So a build that ends meanwhile does not mix two programs in one table.
    """
    source = find()
    COPY.unlink(missing_ok=True)
    shutil.copy2(source, COPY)
    digest = hashlib.sha256(COPY.read_bytes()).hexdigest()[:12]
    built = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(COPY.stat().st_mtime))
    print(f"ecapture: {source}, built {built}, sha256 {digest}", flush=True)
    return COPY


@functools.lru_cache
def hooked(file):
    """Where it hooks a server: {entries} and {returns}, for tools.json."""
    command = [snapshot(), "inspect", "--json", file]
    report = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    places = {"entries": [], "returns": []}
    for function in report["libraries"][0]["functions"]:
        when = "returns" if function["does"].startswith("when it returns") else "entries"
        places[when].append(f"{function['probe_offset']:x}")
    return {when: ",".join(dict.fromkeys(offsets)) for when, offsets in places.items()}
