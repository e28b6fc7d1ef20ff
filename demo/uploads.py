"""Image uploads over HTTP, and a prober that never stops asking while a model is swapped."""

import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from redshank.errors import StageError
from redshank.http_api import CLIENT_HEADER, DOMAIN_HEADER, SEQUENCE_HEADER

TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Upload:
    """One picture on its way to the service."""

    domain: str
    sequence_id: str
    """Unlike all others: each picture shows another scene."""
    body: bytes
    content_type: str
    label: str
    """True class, for the printed accuracy only."""
    severity: float
    """What the simulator did to it; 0 is healthy."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    upload: Upload
    sent_at: float
    """Seconds since the epoch."""
    status: int
    """HTTP status; 0 when the connection failed."""
    class_name: str
    version: str

    @property
    def ok(self) -> bool:
        """Whether it was answered."""
        return self.status == 200

    @property
    def correct(self) -> bool:
        """Whether the answer was right."""
        return self.ok and self.class_name == self.upload.label


class Service:
    """Connections to one service, one a thread, kept open."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._host, self._port = host, port
        self._local = threading.local()
        self._opened: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        """Close every connection; call it when no thread asks any more."""
        for connection in self._opened:
            connection.close()

    def predict(self, upload: Upload) -> Answer:
        """Send one picture; a failure is an answer too."""
        sent_at = time.time()
        headers = {
            "Content-Type": upload.content_type,
            DOMAIN_HEADER: upload.domain,
            SEQUENCE_HEADER: upload.sequence_id,
            CLIENT_HEADER: f"camera-{upload.domain}",
        }
        try:
            connection = self._connection()
            connection.request("POST", "/v1/predict", upload.body, headers)
            response = connection.getresponse()
            body = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError):
            self._drop()
            return Answer(upload, sent_at, 0, "", "")
        return Answer(
            upload, sent_at, response.status, body.get("class", ""), body.get("version", "")
        )

    def predict_all(self, uploads: Iterable[Upload], *, threads: int = 4) -> list[Answer]:
        """Send many pictures in order, a few at a time."""
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self.predict, uploads))

    def is_ready(self) -> bool:
        """Whether the service takes traffic."""
        try:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=2.0)
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def wait_ready(self, timeout_s: float, check: Callable[[], None]) -> None:
        """Wait until it takes traffic; `check` raises when its process has died.

        Raises:
            StageError: it was not ready in time.
        """
        deadline = time.monotonic() + timeout_s
        while not self.is_ready():
            check()
            if time.monotonic() > deadline:
                raise StageError(f"the service was not ready within {timeout_s:g} s")
            time.sleep(0.2)

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
            self._local.connection = connection
            self._opened.append(connection)
        return connection

    def _drop(self) -> None:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None


class Prober:
    """Sends pictures in a steady rhythm from a thread of its own while the block lasts."""

    def __init__(self, service: Service, uploads: Sequence[Upload], *, every_s: float) -> None:
        self._service, self._uploads, self._every_s = service, uploads, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prober", daemon=True)
        self.answers: list[Answer] = []

    @property
    def failed(self) -> int:
        """Requests that got no answer of status 200."""
        return sum(not answer.ok for answer in self.answers)

    def __enter__(self) -> "Prober":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for number, upload in enumerate(itertools.cycle(self._uploads)):
            if self._stop.wait(self._every_s):
                return
            fresh = Upload(
                upload.domain,
                f"probe-{number}",
                upload.body,
                upload.content_type,
                upload.label,
                upload.severity,
            )
            self.answers.append(self._service.predict(fresh))
