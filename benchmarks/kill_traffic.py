"""Clients that never stop asking and remember every answer they were given."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from demo.uploads import Service, Upload


@dataclass(frozen=True)
class Reply:
    """One request and what became of it."""

    sequence_id: str
    """Unlike all others; the event of the request carries it."""
    domain: str
    sent_at: float
    ended_at: float
    status: int
    """HTTP status; 0: the connection failed."""
    version: str

    @property
    def ok(self) -> bool:
        """Whether an answer was acknowledged."""
        return self.status == 200


@dataclass
class Traffic:
    """One client a site, each with a connection and a rhythm of its own, without retries."""

    service: Service
    every_s: float
    """Seconds between two requests of a site."""
    replies: list[Reply] = field(default_factory=list)
    _streams: dict[str, Sequence[Upload]] = field(default_factory=dict)
    _threads: list[threading.Thread] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self, streams: dict[str, list[Upload]]) -> None:
        """Begin; pictures are sent again and again."""
        self.change(streams)
        for site in streams:
            thread = threading.Thread(target=self._send, args=(site,), name=site, daemon=True)
            self._threads.append(thread)
            thread.start()

    def change(self, streams: dict[str, list[Upload]]) -> None:
        """Send other pictures from now on."""
        self._streams = dict(streams)

    def stop(self) -> None:
        """End all clients."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.service.close()

    def _send(self, site: str) -> None:
        for number in itertools.count():
            if self._stop.wait(self.every_s):
                return
            stream = self._streams[site]
            name = f"{site}-{number}"
            upload = dataclasses.replace(stream[number % len(stream)], sequence_id=name)
            sent_at = time.time()
            answer = self.service.predict(upload)
            self.replies.append(
                Reply(name, site, sent_at, time.time(), answer.status, answer.version)
            )


class ReadyLog:
    """Asks `/readyz` five times a second and remembers the answers."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ready", daemon=True)
        self.samples: list[tuple[float, bool]] = []
        """Seconds since the epoch, and whether the server took traffic."""

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            is_ready = self._service.is_ready()
            self.samples.append((time.time(), is_ready))
