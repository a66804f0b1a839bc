"""What an empty probe costs on this kernel, by first instruction and way of attaching."""

import subprocess

from . import paths


def add_arguments(parser):
    parser.add_argument("--iterations", type=int, default=20000)
    parser.add_argument("-r", "--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="instructions whose name contains this")


def main(_lab, args):
    print("ns that a probe adds to a call (first column: the call without one)", flush=True)
    command = [paths.TARGETS / "uprobe_floor", args.iterations, args.rounds, args.only]
    subprocess.run([str(word) for word in command], check=True)
