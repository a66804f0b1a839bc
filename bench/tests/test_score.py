"""What counts as captured."""

import subprocess
import unittest

from harness import http2, paths, pattern, score
from harness.extract import Record
from harness.pattern import LINE, Body

BODY = Body(0x42, 10 * LINE)


def setUpModule():
    subprocess.run(["make", "-s", "-C", paths.TARGETS_SOURCE, "build/mkbody"], check=True)


class FindLinesTest(unittest.TestCase):
    def setUp(self):
        self.truth = pattern.body_bytes(BODY)

    def test_lines_have_64_bytes_and_their_names(self):
        lines = self.truth.split(b"\n")[:-1]
        self.assertEqual({len(line) for line in lines}, {LINE - 1})
        self.assertTrue(lines[9].startswith(b"L0042-00000009-"))

    def test_everything(self):
        found = pattern.find_lines(b"HTTP/1.1 200 OK\r\n\r\n" + self.truth, BODY)
        self.assertEqual(found, (10, 0, 0))

    def test_repetitions_are_in_order(self):
        self.assertEqual(pattern.find_lines(self.truth * 3, BODY), (30, 0, 0))

    def test_a_gap_loses_the_lines_it_touches(self):
        cut = self.truth[:100] + self.truth[200:]
        self.assertEqual(pattern.find_lines(cut, BODY).intact, 7)

    def test_a_wrong_byte_is_corrupt(self):
        wrong = self.truth[:20] + b"0" + self.truth[21:]
        wrong = wrong if wrong != self.truth else self.truth[:20] + b"1" + self.truth[21:]
        self.assertEqual(pattern.find_lines(wrong, BODY), (9, 1, 0))

    def test_swapped_pieces_are_out_of_order(self):
        swapped = self.truth[5 * LINE :] + self.truth[LINE : 5 * LINE]
        self.assertEqual(pattern.find_lines(swapped, BODY), (9, 0, 1))

    def test_other_streams_do_not_count(self):
        other = Body(0x43, BODY.size)
        self.assertEqual(pattern.find_lines(self.truth, other), (0, 0, 0))


class ScoreTest(unittest.TestCase):
    def score(self, *records, **changes):
        expectation = score.Expectation("client", "curl", "received", BODY)._replace(**changes)
        (result,) = score.score(records, [expectation])
        return result

    def test_pieces_of_a_stream_are_joined(self):
        truth = pattern.body_bytes(BODY)
        pieces = [Record("curl", 1, "received", truth[i : i + 37]) for i in range(0, 640, 37)]
        self.assertEqual(self.score(*pieces).ratio, 1)

    def test_directions_and_programs_are_told_apart(self):
        truth = pattern.body_bytes(BODY)
        wrong = [Record("curl", 1, "sent", truth), Record("nginx", 2, "received", truth)]
        self.assertEqual(self.score(*wrong).ratio, 0)

    def test_duplicates_show(self):
        truth = pattern.body_bytes(BODY)
        records = [Record("curl", stream, "received", truth) for stream in (1, 2)]
        self.assertEqual(self.score(*records).ratio, 2)

    def test_http2_frames_are_unpacked(self):
        truth = pattern.body_bytes(BODY)
        frames = b"".join(data_frame(truth[i : i + 100]) for i in range(0, len(truth), 100))
        self.assertEqual(self.score(Record("curl", 1, "received", frames), http2=True).ratio, 1)


def data_frame(payload):
    return len(payload).to_bytes(3, "big") + bytes([http2.DATA, 0]) + bytes(4) + payload


if __name__ == "__main__":
    unittest.main()
