"""Plain text tables."""


def number(value, spec):
    """A number in a format, or "-" when there is none."""
    return "-" if value is None else format(value, spec)


class Table:
    """Prints rows as they come: the first column to the left, the others to the right."""

    def __init__(self, first, *columns):
        self.first_width = first[1]
        self.widths = [max(8, len(name)) for name in columns]
        self.row(first[0], *columns)

    def row(self, first, *cells):
        padded = [cell.rjust(width) for cell, width in zip(cells, self.widths)]
        print(first.ljust(self.first_width), *padded, sep="  ", flush=True)

    def note(self, first, text):
        """A row without figures."""
        print(first.ljust(self.first_width), text, sep="  ", flush=True)
