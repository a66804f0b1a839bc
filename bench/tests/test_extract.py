"""The readers of what tools write."""

import tempfile
import unittest
from pathlib import Path

from harness import extract

TEXT_HEAD = (
    "2026-11-21T12:00:00.123456789Z PID:1234, Comm:{comm}, Src:127.0.0.1:40000, "
    "Dest:127.0.0.1:443, TID:1235, UID:0, FD:5, Dir:{dir}, Type:{type}, Length:{length},\n"
)


class ReaderTest(unittest.TestCase):
    def read(self, format_name, content):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "out"
            path.write_bytes(content)
            return list(extract.FORMATS[format_name](path))


class TextTest(ReaderTest):
    def text(self, payload, comm="curl", direction="sent", kind="HTTP/1.1 request"):
        head = TEXT_HEAD.format(comm=comm, dir=direction, type=kind, length=len(payload))
        return head.encode() + payload + b"\n"

    def test_fields(self):
        (record,) = self.read("text", self.text(b"GET / HTTP/1.1\r\n\r\n"))
        self.assertEqual(record.comm, "curl")
        self.assertEqual(record.direction, "sent")
        self.assertEqual(record.data, b"GET / HTTP/1.1\r\n\r\n")

    def test_payload_may_look_like_a_header(self):
        inner = self.text(b"abc")
        records = self.read("text", self.text(inner) + self.text(b"end"))
        self.assertEqual([record.data for record in records], [inner, b"end"])

    def test_names_with_commas(self):
        (record,) = self.read("text", self.text(b"x", comm="a, b", kind="WebSocket, text"))
        self.assertEqual(record.comm, "a, b")

    def test_lines_of_the_program_are_skipped(self):
        records = self.read("text", b"capturing\n" + self.text(b"x") + b"summary lost=0\n")
        self.assertEqual([record.data for record in records], [b"x"])

    def test_wrong_lengths_are_not_taken_for_losses(self):
        wrong = self.text(b"line\r\n").replace(b"\r\n", b"\n")
        with self.assertRaises(extract.FormatError):
            self.read("text", wrong + self.text(b"x"))

    def test_the_last_record_may_be_cut(self):
        (record,) = self.read("text", self.text(b"0123456789")[:-5])
        self.assertEqual(record.data, b"012345")


class JsonTest(ReaderTest):
    def test_text_and_base64(self):
        records = self.read(
            "json",
            b'{"pid":1,"tid":2,"comm":"curl","conn":7,"dir":"sent","data":"\\u00e4\\n"}\n'
            b'{"pid":1,"tid":2,"comm":"curl","conn":7,"dir":"received","data_b64":"/w=="}\n'
            b"not json\n"
            b'{"message":"no data"}\n',
        )
        self.assertEqual([record.data for record in records], ["ä\n".encode(), b"\xff"])
        self.assertEqual([record.direction for record in records], ["sent", "received"])

    def test_connections_are_streams_of_their_own(self):
        line = b'{"pid":1,"tid":2,"comm":"x","conn":%d,"dir":"sent","data":"a"}\n'
        one, two = self.read("json", line % 1 + line % 2)
        self.assertNotEqual(one.stream, two.stream)


class MinCaptureTest(ReaderTest):
    def test_fields(self):
        (record,) = self.read("min-capture", b"[99] PID:1 TID:2 SSL:5f READ (3 bytes):\na\nb\n")
        self.assertEqual((record.direction, record.data), ("received", b"a\nb"))


if __name__ == "__main__":
    unittest.main()
