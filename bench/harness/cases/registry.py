"""The list of cases."""

import dataclasses
from collections.abc import Callable

# What cases may need beyond OpenSSL; off unless asked for.
FEATURES = ("go", "go-old", "gnutls")

CASES = {}


@dataclasses.dataclass
class Case:
    """A workload: `run(scene)` runs it and returns what must have been captured."""

    name: str
    about: str
    run: Callable
    nginx: bool
    before: Callable
    other_library: bool
    feature: str
    programs: tuple
    drain_s: int


def case(
    name,
    about,
    nginx=False,
    before=None,
    other_library=False,
    feature=None,
    programs=(),
    drain_s=20,
):
    """Registers a function as a case.

    nginx: it must run meanwhile. before: runs before the tool starts.
    other_library: uses OpenSSL from elsewhere, so the tool must find it by itself.
    programs: what must be installed. drain_s: how long the tool may lag behind.
    """

    def register(function):
        needed = (*programs, "nginx") if nginx else programs
        CASES[name] = Case(
            name, about, function, nginx, before, other_library, feature, needed, drain_s
        )
        return function

    return register
