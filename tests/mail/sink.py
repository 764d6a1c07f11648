#!/usr/bin/python3
"""An SMTP server on loopback that keeps what it is sent, one file a mail.

sink.py FOLDER: writes the port to FOLDER/port once it listens, each mail to
FOLDER/NNNN.eml with the envelope in X-Envelope headers; ends with its parent
or after half an hour.
"""
import asyncio
import os
import pathlib
import sys

from aiosmtpd.smtp import SMTP


class Keep:
    """The handler."""

    def __init__(self, folder):
        self.folder, self.count = folder, 0

    async def handle_DATA(self, _server, _session, envelope):  # noqa: N802
        """Write one mail."""
        self.count += 1
        head = (f"X-Envelope-From: {envelope.mail_from}\n"
                f"X-Envelope-To: {' '.join(envelope.rcpt_tos)}\n").encode()
        body = envelope.content.replace(b"\r\n", b"\n")
        path = self.folder / f"{self.count:04}.eml"
        path.write_bytes(head + body)
        return "250 kept"


async def serve(folder):
    """Listen, and stop by itself."""
    handler = Keep(folder)
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(handler, hostname="localhost"), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    (folder / "port.tmp").write_text(str(port), encoding="ascii")
    (folder / "port.tmp").rename(folder / "port")
    parent = os.getppid()
    for _ in range(3600):
        await asyncio.sleep(0.5)
        if os.getppid() != parent:
            break
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(pathlib.Path(sys.argv[1])))
