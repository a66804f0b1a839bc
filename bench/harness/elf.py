"""The little of ELF that the bench needs: where functions and the build-id are in a file."""

import re
import struct
import subprocess

PT_LOAD = 1
PT_NOTE = 4
SHT_DYNSYM = 11
NT_GNU_BUILD_ID = 3


class Elf:
    """A 64-bit little-endian ELF file."""

    def __init__(self, path):
        self.path = str(path)
        with open(path, "rb") as file:
            self.data = file.read()
        if self.data[:6] != b"\x7fELF\x02\x01":
            raise ValueError(f"{path}: not a 64-bit little-endian ELF file")

    def segments(self, kind):
        """(file offset, address, size) of the segments of a kind."""
        table, size, count = self._table(32, 54)
        for i in range(count):
            header = struct.unpack_from("<IIQQQQ", self.data, table + i * size)
            if header[0] == kind:
                yield header[2], header[3], header[5]

    def dynamic_symbols(self):
        """Yields (name without version, address) of the exported symbols."""
        table, size, count = self._table(40, 58)
        sections = [
            struct.unpack_from("<IIQQQQIIQQ", self.data, table + i * size) for i in range(count)
        ]
        for section in sections:
            if section[1] == SHT_DYNSYM:
                names = sections[section[6]][4]
                yield from self._symbols(section[4], section[5], names)

    def _symbols(self, table, size, names):
        for offset in range(table, table + size, 24):
            name, _, _, section, address, _ = struct.unpack_from("<IBBHQQ", self.data, offset)
            if section:
                end = self.data.index(b"\0", names + name)
                yield self.data[names + name : end].decode(), address

    def _table(self, offset_at, size_at):
        """(file offset, entry size, entries) of one of the two header tables."""
        offset = struct.unpack_from("<Q", self.data, offset_at)[0]
        size, count = struct.unpack_from("<HH", self.data, size_at)
        return offset, size, count

    def file_offset(self, address):
        for offset, start, size in self.segments(PT_LOAD):
            if start <= address < start + size:
                return address - start + offset
        raise ValueError(f"{self.path}: address {address:#x} is not in the file")

    def build_id_offset(self):
        """(file offset, length) of the build-id, or None."""
        for segment, _, size in self.segments(PT_NOTE):
            note = segment
            while note + 12 <= segment + size:
                name, length, kind = struct.unpack_from("<III", self.data, note)
                start = note + 12 + _align(name)
                if kind == NT_GNU_BUILD_ID and self.data[note + 12 : note + 15] == b"GNU":
                    return start, length
                note = start + _align(length)
        return None


def _align(size):
    """Names and contents of notes are padded to 4 bytes."""
    return (size + 3) // 4 * 4


def first_callee(path, address, span=64):
    """The address of the first function that the function at `address` calls, by objdump."""
    listing = subprocess.run(
        [
            "objdump",
            "-d",
            "--no-show-raw-insn",
            f"--start-address={address:#x}",
            f"--stop-address={address + span:#x}",
            str(path),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    call = re.search(r"\b(?:call|bl)\s+([0-9a-f]+) <", listing)
    return int(call.group(1), 16) if call else None


def probe_offsets(path):
    """Where tools attach to a libssl: placeholders for tools.json.

    {offsets} are SSL_read and SSL_write, {internal_offsets} the functions behind
    these and their _ex twins, which begin with an instruction that the kernel
    emulates.
    """
    elf = Elf(path)
    symbols = dict(elf.dynamic_symbols())
    exported = [symbols["SSL_read"], symbols["SSL_write"]]
    values = {"offsets": _format_offsets(elf, exported)}
    internal = [first_callee(path, address) for address in exported]
    if all(internal):
        values["internal_offsets"] = _format_offsets(elf, internal)
    return values


def _format_offsets(elf, addresses):
    return ",".join(f"{elf.file_offset(address):x}" for address in addresses)
