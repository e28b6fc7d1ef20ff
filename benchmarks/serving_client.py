"""A closed-loop HTTP/1.1 load of few instructions, in a process of its own.

A load generator in Python threads needs more CPU than a small model does, and on two cores it is
the generator that such a benchmark measures. Here each connection is one `asyncio.Protocol` on
uvloop that sends ready-made bytes and looks for the end of the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

_END = b"\r\n\r\n"
_LENGTH = b"content-length: "


@dataclass(frozen=True)
class Load:
    """What the clients of one measurement saw."""

    latency_ms: npt.NDArray[np.float64]
    """Of every answer with status 200, in order of arrival."""
    seconds: float
    failures: tuple[str, ...]
    """Status line and body of the answers with another status."""
    last: bytes
    """Body of the last good answer."""

    @property
    def requests_s(self) -> float:
        """Good answers a second."""
        return len(self.latency_ms) / self.seconds

    def quantile_ms(self, level: float) -> float:
        """A quantile of the latency."""
        return float(np.quantile(self.latency_ms, level))


def post(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """The bytes of one POST request to 127.0.0.1."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + _END + body


def form_post(path: str, field: str, image: bytes, headers: Mapping[str, str]) -> bytes:
    """The bytes of one POST request with the image as a file of a form."""
    part = f'Content-Disposition: form-data; name="{field}"; filename="a.png"\r\n'
    head = f"--redshank\r\n{part}Content-Type: image/png\r\n\r\n".encode()
    kind = {"Content-Type": "multipart/form-data; boundary=redshank"}
    return post(path, head + image + b"\r\n--redshank--\r\n", {**headers, **kind})


def closed_loop_load(port: int, requests: Sequence[bytes], *, clients: int, count: int) -> Load:
    """Send `count` requests over `clients` connections, each as soon as it was answered.

    Args:
        port: of 127.0.0.1.
        requests: ready-made bytes, sent in turn.
        clients: open connections.
        count: answers to wait for.

    Raises:
        RuntimeError: a connection broke.
    """
    with load_process() as load:
        return load(port, list(requests), clients, count)


@contextlib.contextmanager
def load_process() -> Iterator[Callable[[int, list[bytes], int, int], Load]]:
    """One process for many short loads: port, requests, clients and count as above."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield lambda *load: pool.apply(_load, load)


def _load(port: int, requests: list[bytes], clients: int, count: int) -> Load:
    import uvloop

    return uvloop.run(_run(port, requests, clients, count))


async def _run(port: int, requests: list[bytes], clients: int, count: int) -> Load:
    loop = asyncio.get_running_loop()
    shared = _Shared(itertools.cycle(requests), count, loop.create_future())
    for _ in range(clients):
        await loop.create_connection(lambda: _Client(shared), "127.0.0.1", port)
    began = time.perf_counter()
    for client in shared.clients:
        client.send()
    await shared.done
    seconds = time.perf_counter() - began
    for client in shared.clients:
        client.close()
    return Load(np.array(shared.latency_ms), seconds, tuple(shared.failures), shared.last)


class _Shared:
    """What all connections of one load count together."""

    def __init__(self, requests: Iterator[bytes], count: int, done: asyncio.Future[None]) -> None:
        self.requests, self.unsent, self.left, self.done = requests, count, count, done
        self.clients: list[_Client] = []
        self.latency_ms: list[float] = []
        self.failures: list[str] = []
        self.last = b""


class _Client(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self._read = b""
        self._need = -1
        self._sent_s = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the connection."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._shared.clients.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """A server that hangs up ends the measurement."""
        if not self._shared.done.done():
            self._shared.done.set_exception(RuntimeError(f"the server hung up: {exc}"))

    def send(self) -> None:
        """Send the next request, if there is one."""
        assert self._transport is not None
        if not self._shared.unsent:  # more than asked for would cost the server, and nobody wait
            return
        self._shared.unsent -= 1
        self._sent_s = time.perf_counter()
        self._transport.write(next(self._shared.requests))

    def close(self) -> None:
        """End the connection."""
        assert self._transport is not None
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Collect one answer; at its end ask again."""
        self._read += data
        if self._need < 0:
            head = self._read.find(_END)
            if head < 0:
                return
            lower = self._read[:head].lower()
            at = lower.index(_LENGTH) + len(_LENGTH)
            self._need = head + len(_END) + int(lower[at : at + 12].split(b"\r")[0])
        if len(self._read) < self._need:
            return
        self._answered(self._read)
        self._read, self._need = b"", -1

    def _answered(self, answer: bytes) -> None:
        shared = self._shared
        if answer[9:12] == b"200":
            shared.latency_ms.append(1000 * (time.perf_counter() - self._sent_s))
            shared.last = answer.partition(_END)[2]
        else:
            shared.failures.append(answer[:300].decode("utf-8", "replace"))
        shared.left -= 1
        if shared.left == 0 and not shared.done.done():
            shared.done.set_result(None)
        self.send()
