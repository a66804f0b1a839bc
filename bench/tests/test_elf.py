"""The reader of ELF files, compared with binutils."""

import re
import shutil
import subprocess
import unittest

from harness import elf, lab

LIBSSL = lab.system_library("libssl.so.3")


@unittest.skipUnless(LIBSSL and shutil.which("readelf"), "needs libssl and binutils")
class ElfTest(unittest.TestCase):
    def readelf(self, *options):
        command = ["readelf", "-W", *options, LIBSSL]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def test_symbols(self):
        line = next(
            line for line in self.readelf("--dyn-syms").splitlines() if " SSL_read@" in line
        )
        address = dict(elf.Elf(LIBSSL).dynamic_symbols())["SSL_read"]
        self.assertEqual(address, int(line.split()[1], 16))

    def test_build_id(self):
        library = elf.Elf(LIBSSL)
        offset, length = library.build_id_offset()
        build_id = re.search(r"Build ID: (\w+)", self.readelf("--notes")).group(1)
        self.assertEqual(library.data[offset : offset + length].hex(), build_id)

    def test_address_outside_of_the_file(self):
        with self.assertRaises(ValueError):
            elf.Elf(LIBSSL).file_offset(1 << 40)


if __name__ == "__main__":
    unittest.main()
