"""Workloads with a known truth, one function each; importing a module registers its cases."""

from . import clients, libraries, lifetimes, runtimes, servers  # noqa: F401
from .registry import CASES, FEATURES  # noqa: F401
