"""A home with colour bundles: class = the brightest channel, so every right answer is known."""

from __future__ import annotations

import dataclasses
import io
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from starlette.testclient import TestClient

from redshank.http_api import ERRORS
from redshank.registry import Registry
from redshank.settings import Home, ServingSettings, Settings
from serving.edge import Edge
from serving.recorder import Spool
from serving.routes import build_app
from serving.worker import Slot, Worker
from tests.colour_bundle import CLASSES as ENGLISH
from tests.colour_bundle import write_colour_bundle

GERMAN = ("rot", "gruen", "blau")
SIDE = 8


def write_bundle_of(folder: Path, classes: tuple[str, ...] = ENGLISH) -> Path:
    return write_colour_bundle(folder, side=SIDE, classes=classes, temperature=1.0)


def colour_pixels(seed: int) -> npt.NDArray[np.uint8]:
    """A noisy picture whose brightest channel is `seed % 3`."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 100, (SIDE, SIDE, 3))
    pixels[..., seed % 3] += 120
    return pixels.astype(np.uint8)


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(colour_pixels(seed)).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass(frozen=True)
class FieldHome:
    """A home folder with bundles `one` (live, English) and `two` (German classes)."""

    settings: Settings
    registry: Registry
    one: str
    two: str

    def publish(self, bundle: str) -> None:
        self.registry.publish(bundle, actor="test", reason="", at_s=1.0)

    def with_serving(self, **changes: object) -> Settings:
        serving = dataclasses.replace(self.settings.serving, **changes)  # type: ignore[arg-type]  # test values
        return dataclasses.replace(self.settings, serving=serving)


@pytest.fixture(scope="session")
def image() -> Callable[[int], bytes]:
    return png


@pytest.fixture(scope="session")
def write_bundle_folder() -> Callable[..., Path]:
    return write_bundle_of


@pytest.fixture
def home(tmp_path: Path) -> FieldHome:
    registry = Registry(tmp_path / "models", tmp_path / "bundles")
    one, two = "20261122T090000-aaaaaa", "20261122T100000-bbbbbb"
    write_bundle_of(tmp_path / "bundles" / one)
    write_bundle_of(tmp_path / "bundles" / two, GERMAN)
    settings = Settings(
        home=Home(root=str(tmp_path)),
        serving=ServingSettings(poll_s=0.02, flush_s=0.02, drain_s=0.3, shadow_share=1.0),
    )
    made = FieldHome(settings, registry, one, two)
    made.publish(one)
    return made


StartClient = Callable[..., tuple[TestClient, Worker]]


@pytest.fixture
def start(home: FieldHome) -> Iterator[StartClient]:
    """Starts a worker behind a test client: `client, worker = start(settings=..., spool=...)`."""
    running: list[tuple[TestClient, Worker]] = []

    def begin(
        settings: Settings | None = None, spool: Spool | None = None
    ) -> tuple[TestClient, Worker]:
        worker = Worker(settings or home.settings, spool=spool)
        worker.start()
        slot = Slot()
        slot.worker = worker
        client = TestClient(Edge(build_app(slot), slot), raise_server_exceptions=True)
        client.__enter__()
        running.append((client, worker))
        return client, worker

    yield begin
    for client, worker in running:
        worker.stop()
        client.__exit__(None, None, None)


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Callable[[Worker], threading.Event]:
    """Holds a worker's batches, all of them in its thread, until the event that it gives is set."""
    monkeypatch.setattr("serving.worker.is_quick", lambda _: False)

    def held(worker: Worker) -> threading.Event:
        go, work = threading.Event(), worker.batcher._work

        def later(jobs: Any) -> Any:
            go.wait(60)
            return work(jobs)

        worker.batcher._work = later
        return go

    return held


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def error_of() -> Callable[[Any], dict[str, Any]]:
    return checked_error


def checked_error(response: Any) -> dict[str, Any]:
    """The envelope, checked: shape, known code, its status, the request id."""
    error: dict[str, Any] = response.json()["error"]
    assert sorted(error) == ["code", "details", "hint", "message", "request_id"]
    assert ERRORS[error["code"]][0] == response.status_code
    assert response.headers["x-request-id"] == error["request_id"]
    return error
