"""Run the stand-in: prints one line of JSON when it listens, and runs until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import sys
import threading
from typing import Any

from aiohttp import web

from tests.standin.config import KINDS, Config
from tests.standin.server import Server


def main() -> None:
    """Read the options and serve."""
    options = _parser().parse_args()
    try:
        config = Config().changed(_changes(options))
    except ValueError as error:
        sys.exit(f"standin: {error}")
    _allow_many_connections()
    asyncio.run(_serve(config, options.host, options.port, options.until_stdin_closes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.standin",
        description="A stand-in for the OpenAI API.",
        epilog="example:\n  python -m tests.standin --port 8080 --latency 8 --fault rate_limit:0.1",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--latency", type=float, nargs="+", metavar="S", help="one, or least most")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="KIND[:FRACTION]",
        help=f"any of {', '.join(KINDS)}",
    )
    parser.add_argument(
        "--config", type=json.loads, default={}, metavar="JSON", help="any setting of config.py"
    )
    parser.add_argument(
        "--until-stdin-closes",
        action="store_true",
        help="end with the process that holds it; a line there, settings of config.py in JSON, "
        "ends this server and starts one with them on another port",
    )
    return parser


def _changes(options: argparse.Namespace) -> dict[str, Any]:
    changes: dict[str, Any] = dict(options.config)
    if options.latency:
        one = len(options.latency) == 1
        changes["latency"] = options.latency[0] if one else options.latency
    if options.fault:
        pairs = [text.partition(":") for text in options.fault]
        changes["faults"] = [{"kind": k, "fraction": float(f or 1)} for k, _, f in pairs]
    return changes


def _allow_many_connections() -> None:
    """Raise the limit of open files as far as allowed: each hanging call is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _serve(config: Config, host: str, port: int, until_stdin_closes: bool) -> None:
    wanted: asyncio.Queue[Config | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, wanted.put_nowait, None)
    if until_stdin_closes:
        threading.Thread(target=_read_stdin, args=(loop, wanted), daemon=True).start()
    following: Config | None = config
    while following:
        # Cancelled handlers are how a client's death shows in the log at once.
        runner = web.AppRunner(
            Server(following).app(),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=0.1,
        )
        await runner.setup()
        site = web.TCPSite(runner, host, port, backlog=4096)
        await site.start()
        at = runner.addresses[0][1]
        print(json.dumps({"port": at, "base_url": f"http://{host}:{at}/v1"}), flush=True)
        following = await wanted.get()
        await runner.cleanup()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()  # a batch that is answered over some time


def _read_stdin(loop: asyncio.AbstractEventLoop, wanted: asyncio.Queue[Config | None]) -> None:
    # os.read, not sys.stdin: a thread inside the latter's lock breaks the interpreter's shutdown.
    read = b""
    while some := os.read(0, 4096):
        *lines, read = (read + some).split(b"\n")
        for line in lines:
            config = Config().changed(json.loads(line))
            loop.call_soon_threadsafe(wanted.put_nowait, config)
    loop.call_soon_threadsafe(wanted.put_nowait, None)


if __name__ == "__main__":
    main()
