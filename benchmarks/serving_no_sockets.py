"""CPU time a request of the whole server but its sockets, against the bare loop, in one process.

`python -m benchmarks.serving_no_sockets` prints a line for the server with everything on, the
one that records nothing, and the bare decode + inference loop of one image at a time. uvicorn's
HTTP protocol gets the bytes of requests from clients that ask again as soon as they are answered,
everything behind it is the real server, without its supervisor. Blocks are short and take turns:
the least of many is what the work costs on a machine that others use as well, where
benchmarks/serving_overhead.py, over sockets, measures the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from redshank.infer import load_model
from redshank.registry import Registry
from redshank.settings import Settings
from serving.edge import Edge
from serving.routes import build_app
from serving.worker import Slot, Worker

from .serving_load import picture, write_backbone
from .serving_overhead import BUNDLE, SITES, bare_cpu_ms, new_requests

WARM = 2500
"""Requests before the first block: the burst of field images is among them."""
SETTLE_S = 5.0


class Client:
    """The other end of a connection: sends the next request when it has an answer."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._written = b""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Addresses."""
        return {"sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 2)}.get(name, default)

    def is_closing(self) -> bool:
        """Never."""
        return False

    def pause_reading(self) -> None:
        """Nothing is read ahead."""

    resume_reading = close = pause_reading

    def write(self, data: bytes) -> None:
        """Take a part of an answer; its JSON is the last one."""
        self._written += data
        if self._written.endswith(b"}"):
            assert self._written.startswith(b"HTTP/1.1 200"), self._written
            self._written = b""
            self._load.answered(self)


class Load:
    """Closed-loop clients of one server."""

    def __init__(self, edge: Edge, requests: Iterator[bytes], clients: int) -> None:
        self._loop, self._requests = asyncio.get_running_loop(), requests
        config, state = uvicorn.Config(edge, log_config=None, server_header=False), ServerState()
        config.load()
        self._protocols: dict[Client, HttpToolsProtocol] = {}
        for _ in range(clients):
            client, protocol = Client(self), HttpToolsProtocol(config, state, {}, _loop=self._loop)
            protocol.connection_made(client)  # type: ignore[arg-type]  # what it needs of one
            self._protocols[client] = protocol

    async def run(self, count: int) -> float:
        """CPU ms a request of this process."""
        self._unsent, self._open = count - len(self._protocols), count
        self._done = self._loop.create_future()
        began_s = time.process_time()
        for client in self._protocols:
            self._send(client)
        await self._done
        return 1000 * (time.process_time() - began_s) / count

    def answered(self, client: Client) -> None:
        """Count, and let the client ask again."""
        self._open -= 1
        if self._unsent > 0:
            self._unsent -= 1
            self._loop.call_soon(self._send, client)
        elif self._open == 0:
            self._done.set_result(None)

    def _send(self, client: Client) -> None:
        self._protocols[client].data_received(next(self._requests))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="small_cnn")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--blocks", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        uvloop.run(measure(Path(name), options.backbone, options.clients, options.blocks))


async def measure(home: Path, backbone: str, clients: int, blocks: int) -> None:
    """Blocks of the three in turn, and a table of them."""
    side, kind, count = (32, "PNG", 64) if backbone == "small_cnn" else (224, "JPEG", 8)
    images = [picture(seed, side=side, kind=kind) for seed in range(512)]
    folder = write_backbone(home / "bundles" / BUNDLE, backbone, side=side)
    registry = Registry(home / "models", home / "bundles")
    registry.publish(BUNDLE, actor="benchmark", reason="", at_s=time.time())
    model, requests = load_model(folder), new_requests(images, SITES)
    cpu_ms: dict[str, list[float]] = {"all on": [], "recording off": [], "bare loop": []}
    async with contextlib.AsyncExitStack() as stack:
        on, off = [
            Load(await stack.enter_async_context(server(home, is_on)), requests, clients)
            for is_on in (True, False)
        ]
        for load in (on, off):
            await load.run(WARM * count // 64)
        await asyncio.sleep(SETTLE_S)
        for _ in range(blocks):
            cpu_ms["all on"].append(await on.run(count))
            cpu_ms["recording off"].append(await off.run(count))
            cpu_ms["bare loop"].append(bare_cpu_ms(model, images, count=count // 2))
    print_table(cpu_ms)


@contextlib.asynccontextmanager
async def server(home: Path, is_on: bool) -> AsyncIterator[Edge]:
    """A worker behind its edge; with everything on, or without recording."""
    former, sites = Settings(), SITES if is_on else ()
    serving = replace(former.serving, record=is_on, capture_domains=sites)
    settings = replace(former, home=replace(former.home, root=str(home)), serving=serving)
    slot, worker = Slot(), Worker(settings)
    await asyncio.to_thread(worker.start)
    slot.worker = worker
    routes: Starlette = build_app(slot, lambda _app: contextlib.nullcontext())
    yield Edge(routes, slot, routes)
    await asyncio.to_thread(worker.stop)


def print_table(cpu_ms: dict[str, list[float]]) -> None:
    """The least and the median of the blocks, and ratios to the bare loop."""
    bare = cpu_ms["bare loop"]
    print("| | least, CPU ms | ÷ bare loop | median, CPU ms | ÷ bare loop beside it |")
    print("|---|---|---|---|---|")
    for name, values in cpu_ms.items():
        ratio = statistics.median(a / b for a, b in itertools.zip_longest(values, bare))
        least, median = min(values), statistics.median(values)
        print(f"| {name} | {least:.3f} | {least / min(bare):.2f} | {median:.3f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
