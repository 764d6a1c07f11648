"""A vhost-user device that says which pages it wrote, and writes none.

What it sets in the log is what a device would that receives packets of 32 KiB
at random places of a stretch of RAM.
"""
import mmap
import os
import random
import socket
import struct
import threading

from lib.tool import Wrong, note

HEADER = struct.Struct("<III")
(GET_FEATURES, SET_LOG_BASE, GET_VRING_BASE, GET_PROTOCOL_FEATURES,
 GET_QUEUE_NUM) = 1, 6, 11, 15, 17
REPLY = 4 | 1
# VHOST_F_LOG_ALL, VHOST_USER_F_PROTOCOL_FEATURES, VIRTIO_F_VERSION_1
FEATURES = 1 << 26 | 1 << 30 | 1 << 32
# VHOST_USER_PROTOCOL_F_LOG_SHMFD
PROTOCOL_FEATURES = 1 << 1
# Pages of a packet, and seconds from burst to burst
RUN, TICK = 8, 0.01


class VhostUser:
    """The device; as a context it ends with it."""

    def __init__(self, path, pages_per_second, first, npages):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.burst = round(pages_per_second * TICK / RUN)
        self.stretch = first // RUN, (first + npages) // RUN
        self.log = None
        self.dirtied = 0
        self.ended, self.error = threading.Event(), None
        self.threads = [threading.Thread(target=self.run, args=(func,),
                                         daemon=True)
                        for func in (self.serve, self.dirty)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self.ended.set()
        self.listener.close()
        self.threads[1].join(5)

    def run(self, func):
        """A thread; what is wrong is said, and kept for check()."""
        try:
            func()
        except Exception as err:  # pylint: disable=broad-except
            if not self.ended.is_set():
                self.error = f"{type(err).__name__}: {err}"
                note(f"vhost-user: {self.error}")

    def check(self):
        """It has done all that it was to do, or it is Wrong."""
        if self.error:
            raise Wrong(f"the vhost-user device: {self.error}")
        if self.log is None:
            raise Wrong("the vhost-user device was never given a log")

    def dirty(self):
        """Bits of the log, some each TICK; a byte has a packet's pages."""
        order = random.Random(1)
        while not self.ended.wait(TICK):
            log = self.log
            if log is None:
                continue
            for _ in range(self.burst):
                log[order.randrange(*self.stretch)] = 0xff
            self.dirtied += self.burst * RUN

    def answer(self, request, payload, fds):
        """What is replied to a request, or None."""
        if request == GET_FEATURES:
            return struct.pack("<Q", FEATURES)
        if request == GET_PROTOCOL_FEATURES:
            return struct.pack("<Q", PROTOCOL_FEATURES)
        if request == GET_QUEUE_NUM:
            return struct.pack("<Q", 1)
        if request == GET_VRING_BASE:
            return struct.pack("<II", struct.unpack("<II", payload)[0], 0)
        if request == SET_LOG_BASE:
            size, offset = struct.unpack("<QQ", payload)
            self.log = mmap.mmap(fds[0], size, offset=offset)
            return b""
        return None

    def serve(self):
        """One connection, until it ends."""
        conn = self.listener.accept()[0]
        with conn:
            while conn.recv(1, socket.MSG_PEEK):
                data, fds, _, _ = socket.recv_fds(conn, HEADER.size, 8)
                request, _, size = HEADER.unpack(data)
                payload = conn.recv(size, socket.MSG_WAITALL) \
                    if size else b""
                reply = self.answer(request, payload, fds)
                for fd in fds:
                    os.close(fd)
                if reply is not None:
                    conn.sendall(HEADER.pack(request, REPLY, len(reply))
                                 + reply)
