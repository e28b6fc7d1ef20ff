"""A steady stream of requests that remembers every answer, and a reader of the events they left."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redshank.errors import InputError
from redshank.events import read_events, spool_files

CLIENTS, EVERY_S = 4, 0.04
"""So many connections, each with a pause of so long between its requests."""
Right = tuple[bytes, tuple[str, float]]
"""An image, and its class and confidence."""


@dataclass(frozen=True)
class Reply:
    """One request."""

    sequence_id: str
    """Unlike all others; the event of the request carries it."""
    status: int
    """HTTP status; 0: the connection ended."""
    problem: str
    """Why it is not a right answer; empty when it is."""


class Traffic:
    """Clients with a rhythm, each on a connection of its own, until the block ends.

    One of them names a domain of its own at each request: new series in the metrics' files.
    """

    def __init__(self, port: int, name: str, expected: Sequence[Right], *, domain: str) -> None:
        self._port, self._name, self._expected, self._domain = port, name, expected, domain
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(CLIENTS)]
        self.replies: list[Reply] = []

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        number = client
        while not self._stop.wait(EVERY_S):
            number += CLIENTS
            image, right = self._expected[number % len(self._expected)]
            name = f"{self._name}-{number}"
            domain = re.sub(r"[^a-z0-9]+", "-", name) if client == 0 else self._domain
            headers = {"X-Domain": domain, "X-Sequence-Id": name, "X-Client-Id": name}
            try:
                body = image + name.encode()  # behind its end: another digest, the same picture
                connection.request("POST", "/v1/predict", body, headers)
                response = connection.getresponse()
                status, body = response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self.replies.append(Reply(name, 0, repr(error)))
            else:
                self.replies.append(Reply(name, status, difference(status, body, right)))
        connection.close()


def difference(status: int, body: bytes, right: tuple[str, float]) -> str:
    """What is wrong with an answer; empty when it is the bundle's own."""
    if status != 200:
        return f"{status} {body[:200]!r}"
    answer: dict[str, Any] = json.loads(body)
    same = answer["class"] == right[0] and abs(answer["confidence"] - right[1]) < 1e-4
    return "" if same else f"{answer} instead of {right}"


@dataclass
class Reader:
    """Follows the spool as the evaluator does; what it read once may be deleted."""

    folder: Path
    seen: set[str] = field(default_factory=set)
    """Sequence ids of events."""
    _after: dict[Path, int] = field(default_factory=dict)

    def look(self) -> None:
        """Read what is new."""
        for path in spool_files(self.folder):
            try:
                rows = read_events(path, after_seq=self._after.get(path, 0))
            except InputError:  # just made, or just deleted
                continue
            self.seen.update(row.event.sequence_id for row in rows)
            if rows:
                self._after[path] = rows[-1].seq
