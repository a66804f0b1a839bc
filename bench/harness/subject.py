"""The ecapture under test."""

import functools
import hashlib
import os
import shutil
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
