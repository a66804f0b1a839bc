"""Traffic over a cable between two network namespaces, for tools that capture packets."""

import signal
import subprocess
import sys
import time

from .loads import Load, Sample
from .process import CommandFailed, Process, run

NAME = "cable"
HERE, THERE = "10.98.0.1", "10.98.0.2"
PORT = 18460
MIB = 1 << 20

# As iperf: one connection, 128 KiB in a call. The other end reads what comes.
RECEIVER = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
buffer = bytearray(1 << 17)
while True:
    connection, _ = listener.accept()
    while connection.recv_into(buffer): pass
    connection.close()
"""
SENDER = """
import socket, sys, time
address, port, seconds, rate, size = sys.argv[1], *map(int, sys.argv[2:])
connection = socket.create_connection((address, port))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
block, sent, begin = bytes(size), 0, time.monotonic()
while (now := time.monotonic() - begin) < seconds:
    if rate and sent > now * rate:
        time.sleep(0.001)
        continue
    connection.sendall(block)
    sent += len(block)
print(sent, time.monotonic() - begin)
"""


class Cable(Load):
    """Bytes through one TCP connection over a veth pair; an operation is a MiB."""

    programs = ("ip", "nsenter", "unshare")

    def __init__(self, name, rate=0, size=128 << 10):
        """So many bytes per second, 0: as many as go; so many in each call."""
        super().__init__(name)
        self.rate = rate
        self.size = size
        self.there = self.receiver = None

    def open(self, lab):
        self.there = Process(["unshare", "--net", "sleep", "infinity"])
        while run(["readlink", f"/proc/{self.there.pid}/ns/net"]) == run(
            ["readlink", "/proc/self/ns/net"]
        ):
            time.sleep(0.01)
        peer = ["peer", "name", NAME, "netns", self.there.pid]
        run(["ip", "link", "add", NAME, "type", "veth", *peer])
        for where, address in (([], HERE), (self._inside(), THERE)):
            run([*where, "ip", "address", "add", f"{address}/24", "dev", NAME])
            run([*where, "ip", "link", "set", NAME, "up"])
        receiver = [*self._inside(), sys.executable, "-c", RECEIVER, THERE, PORT]
        self.receiver = Process(receiver, stdout=subprocess.PIPE)
        if self.receiver.read_line() != "ready":
            raise CommandFailed("the receiver did not start")

    def _inside(self):
        return ["nsenter", f"--net=/proc/{self.there.pid}/ns/net"]

    def sample(self, lab, seconds):
        before = self.receiver.cpu_ns()
        command = [sys.executable, "-c", SENDER, THERE, PORT, seconds, self.rate, self.size]
        sent, took = map(float, run(command, timeout=seconds + 60).split())
        cpu_ns = self.receiver.cpu_ns() - before
        return Sample(sent / MIB / took, cpu_ns / (sent / MIB), int(sent / MIB), calls=MIB / self.size)

    def close(self):
        run(["ip", "link", "delete", NAME])
        for process in (self.receiver, self.there):
            process.stop(signal.SIGKILL)


LOADS = {
    load.name: load
    for load in (
        Cable("cable", rate=125 * MIB),
        Cable("cable-fast"),
        Cable("cable-small", size=200),
    )
}
