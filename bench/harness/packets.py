"""What a capture of packets costs and loses, next to tcpdump's: `overhead` with traffic over a cable."""

from . import overhead

main = overhead.main


def add_arguments(parser):
    overhead.add_arguments(parser)
    parser.set_defaults(tools="tcpdump,ecapture-pcapng", loads="cable,cable-fast,cable-small")
