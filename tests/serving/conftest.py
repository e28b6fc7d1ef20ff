"""A home with colour bundles: class = the brightest channel, so every right answer is known."""

from __future__ import annotations

import dataclasses
import io
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from starlette.testclient import TestClient

from redshank.bundle import (
    GOLDEN_FILE,
    MODEL_FILE,
    REFERENCE_FILE,
    Bundle,
    Golden,
    InputSpec,
    Parity,
    Provenance,
    write_bundle,
    write_golden,
)
from redshank.files import sha256_file
from redshank.http_api import ERRORS
from redshank.reference import Reference, write_reference
from redshank.registry import Registry
from redshank.settings import Home, ServingSettings, Settings
from serving.edge import Edge
from serving.recorder import Spool
from serving.routes import build_app
from serving.worker import Slot, Worker

ENGLISH = ("red", "green", "blue")
GERMAN = ("rot", "gruen", "blau")
SIDE = 8
SHARPNESS = 8.0


def write_colour_bundle(folder: Path, classes: tuple[str, ...] = ENGLISH) -> Path:
    folder.mkdir(parents=True)
    _write_graph(folder / MODEL_FILE)
    inputs = np.random.default_rng(9).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    embedding = (inputs.mean(axis=(1, 2)) / 255).astype(np.float32)
    write_golden(folder, Golden(inputs, SHARPNESS * embedding, embedding))
    cells = np.zeros((1, 3, 19))
    reference = Reference(
        held_out_counts_DCB=cells,
        validation_counts_DCB=cells,
        labelled_counts_CCB=np.zeros((3, 3, 19)),
        embedding_mean_E=np.full(3, 0.5),
        embedding_projection_EP=np.eye(3),
        novelty_quantiles_Q=np.linspace(0, 1, 101),
    )
    write_reference(folder / REFERENCE_FILE, reference)
    names = (MODEL_FILE, GOLDEN_FILE, REFERENCE_FILE)
    bundle = Bundle(
        schema=1,
        bundle_id=folder.name,
        model="default",
        created_at="2026-11-22T09:00:00.000Z",
        input=InputSpec(SIDE, SIDE),
        classes=classes,
        source_domains=("meadow",),
        target_domains=(),
        temperature=1.0,
        temperature_fitted_on="validation",
        abstain_below=0.5,
        embedding_dim=3,
        parity=Parity(8, 0.0, 0.0, 0.0, 1.0, 1e-4),
        domains=(),
        provenance=Provenance("run", None, "0", "", "2", "1", 20),
        files={name: sha256_file(folder / name) for name in names},
    )
    write_bundle(folder, bundle)
    return folder


def _write_graph(path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "scale"], ["unit"]),
        helper.make_node("ReduceMean", ["unit", "axes"], ["embedding"], keepdims=0),
        helper.make_node("Mul", ["embedding", "sharpness"], ["logits"]),
    ]
    constants = {
        "scale": np.array(1 / 255, np.float32),
        "axes": np.array([1, 2]),
        "sharpness": np.array(SHARPNESS, np.float32),
    }
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "mean_colour",
        [value("image", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [
            value("logits", TensorProto.FLOAT, ["batch", 3]),
            value("embedding", TensorProto.FLOAT, ["batch", 3]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)


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
    return write_colour_bundle


@pytest.fixture
def home(tmp_path: Path) -> FieldHome:
    registry = Registry(tmp_path / "models", tmp_path / "bundles")
    one, two = "20261122T090000-aaaaaa", "20261122T100000-bbbbbb"
    write_colour_bundle(tmp_path / "bundles" / one)
    write_colour_bundle(tmp_path / "bundles" / two, GERMAN)
    settings = Settings(
        home=Home(root=str(tmp_path)),
        serving=ServingSettings(poll_s=0.02, flush_s=0.02, drain_s=0.3),
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
