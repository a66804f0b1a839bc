"""Where things are."""

import os
import shutil
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
TARGETS_SOURCE = ROOT / "testing" / "targets"
TARGETS = TARGETS_SOURCE / "build"
GO_SERVER = TARGETS / "go_server"
BASELINE_SOURCE = BENCH / "baseline"
BASELINE = BASELINE_SOURCE / "build"

# Everything that a run writes: libraries, bodies, outputs of the tools.
LAB = Path(os.environ.get("BENCH_LAB", f"/tmp/ecapture-bench.{os.getuid()}"))
OUTPUT = LAB / "output"


def missing_programs(names):
    """Those of the programs that are not installed."""
    return [name for name in names if shutil.which(name) is None]
