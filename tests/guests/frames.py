"""Frames for the guest program netreader.c, which knows what they must be.

Each QEMU of a chain has a socket of its own.  While a guest moves, frames go
to both: one of them does not read, or must not let the guest have what it
reads.  A frame that got lost on the way is sent again, until the guest says
that it has it, so that in the end it had each frame once and in order.  Its
replies are numbered as well: none may be damaged, come again or come late, and
hardly any may be missing.
"""
import pathlib
import select
import socket
import struct
import subprocess
import threading
import time

DATA = bytes.fromhex("525400123456" "525400000001" "88b5" "0000")
REPLY = b"\x88\xb6"
REPLY_HEADER = 40
SHORTEST, LONGEST = 60, 1514
# Frames that are under way, and frames for one reply.
WINDOW = 48
FEW = 16
SEND_AGAIN = 0.3


def mix(number):
    """What mix.h does."""
    mask = (1 << 64) - 1
    number = (number + 0x9e3779b97f4a7c15) & mask
    number = ((number ^ (number >> 30)) * 0xbf58476d1ce4e5b9) & mask
    number = ((number ^ (number >> 27)) * 0x94d049bb133111eb) & mask
    return number ^ (number >> 31)


CONTENTS = b"".join(struct.pack("<Q", mix(i)) for i in range(8192))


def numbered(head, number):
    """A frame that begins so, with the length and contents of number N."""
    word = mix(number)
    length = SHORTEST + word % (LONGEST - SHORTEST + 1)
    start = (word >> 32) % 32768
    return head + CONTENTS[start:start + length - len(head)]


def frame(number):
    """Frame N."""
    return numbered(DATA + struct.pack("<Q", number), number)


class Link:
    """The socket of one QEMU."""

    def __init__(self, tmp, number):
        self.peer = str(pathlib.Path(tmp, f"frames-{number}"))
        self.mine = str(pathlib.Path(tmp, f"replies-{number}"))
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(self.mine)
        self.sent = 0

    def send(self, acked):
        """As much of the window as the socket takes."""
        self.sent = max(self.sent, acked)
        while self.sent < acked + WINDOW:
            try:
                self.socket.sendto(frame(self.sent), self.peer)
            except OSError:         # full, not there yet, or gone
                return
            self.sent += 1

    def received(self):
        """All packets that are there."""
        while True:
            try:
                yield self.socket.recv(2048)
            except OSError:
                return


class Feeder:
    # pylint: disable=too-many-instance-attributes
    """Sends until it is closed.

    There is one reply for so many frames.  Where each frame has one, the
    guest's packets wait in QEMU now and then, because the socket is full.
    """

    def __init__(self, tmp, replies):
        self.tmp = tmp
        self.replies = replies
        self.links = {}
        self.lock = threading.Lock()
        self.acked = self.octets = 0
        self.heard, self.missing = None, 0
        self.problem = None
        self.progress = time.monotonic()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()
        for link in self.links.values():
            link.socket.close()

    def arguments(self, number, binary):
        """What gives QEMU number N of the chain a NIC at this feeder.

        Where QEMU can read straight to the guest's buffers, it always does.
        """
        told = subprocess.run([binary, "-device", "virtio-net-pci,help"],
                              check=True, text=True, stdout=subprocess.PIPE)
        direct = ",rx-direct=on" if "rx-direct=" in told.stdout else ""
        link = Link(self.tmp, number)
        with self.lock:
            self.links[number] = link
            if len(self.links) > 2:
                self.links.pop(min(self.links)).socket.close()
        return ["-netdev", "dgram,id=net,local.type=unix,"
                f"local.path={link.peer},remote.type=unix,"
                f"remote.path={link.mine}",
                "-device", f"virtio-net-pci,netdev=net,romfile={direct}"]

    def hear(self, packet, number):
        """A reply with that number is the next, but for some that are lost."""
        if packet != numbered(packet[:REPLY_HEADER], number):
            self.problem = f"reply {number} is damaged"
        elif self.heard is not None and number <= self.heard:
            self.problem = f"reply {number} came after reply {self.heard}"
        elif self.heard is not None:
            missing = number - self.heard - 1
            self.missing += missing
            if missing > WINDOW:
                self.problem = f"{missing} replies before {number} are missing"
        self.heard = number

    def reply(self, packet):
        """The guest says what it has."""
        if packet[12:14] != REPLY:
            return
        have, octets, number = struct.unpack_from("<QQQ", packet, 16)
        self.hear(packet, number)
        if have > self.acked:
            self.octets += sum(len(frame(i)) for i in range(self.acked, have))
            self.acked, self.progress = have, time.monotonic()
        if have == self.acked and octets != self.octets:
            self.problem = (f"{self.octets} bytes in {have} frames were sent "
                            f"and {octets} arrived")

    def turn(self):
        """Take in replies, send."""
        with self.lock:
            links = list(self.links.values())
            select.select([link.socket for link in links], [], [], 0.005)
            # The newest first: what has come from a target says that its
            # source is stopped, so nothing is missing that's looked for next.
            came = [list(link.received()) for link in reversed(links)]
            for packets in reversed(came):
                for packet in packets:
                    self.reply(packet)
            if time.monotonic() - self.progress > SEND_AGAIN:
                self.progress = time.monotonic()
                for link in links:
                    link.sent = self.acked
            for link in links:
                link.send(self.acked)

    def rewind(self, acked):
        """The guest, which is stopped, is again what it was when it had these.
        """
        with self.lock:
            for link in self.links.values():
                for _ in link.received():
                    pass
                link.sent = acked
            self.octets -= sum(len(frame(i))
                               for i in range(acked, self.acked))
            self.acked, self.heard = acked, None
            self.progress = time.monotonic()

    def check(self, had, timeout):
        """What is wrong, if more than a window has to go through since then.
        """
        end = time.monotonic() + timeout
        while not self.problem and self.acked <= had + WINDOW:
            if time.monotonic() > end:
                self.problem = f"no frames get through after {self.acked}"
            time.sleep(0.01)
        return self.problem

    def run(self):
        """The thread."""
        while not self.done.is_set() and not self.problem:
            self.turn()
            time.sleep(0.001)
