"""What the serving benchmarks share: a small network as a bundle, a real server, a load."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

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
from redshank.onnx_session import open_session, run_session
from redshank.reference import Reference, write_reference
from redshank.registry import Registry

CHECKOUT = Path(__file__).parents[1]
SIDE, WIDTH, CLASSES = 32, 32, 10


def write_network(folder: Path, *, word: str, seed: int = 0) -> Path:
    """A bundle of a three-layer network of random weights; class names start with `word`."""
    folder.mkdir(parents=True)
    _write_graph(folder / MODEL_FILE, np.random.default_rng(seed))
    return complete_bundle(folder, word=word, side=SIDE)


def write_backbone(folder: Path, name: str, *, side: int) -> Path:
    """A bundle of one of our backbones with random weights, as `redshank export` writes its graph.

    Args:
        folder: of the bundle, not there yet.
        name: of the backbone.
        side: height and width of its images.
    """
    import torch

    from export.to_onnx import write_onnx
    from redshank.nn.backbones import build_backbone

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    network = build_backbone(name, CLASSES).eval()
    path = folder / MODEL_FILE
    write_onnx(network, path, height=side, width=side, max_batch=64, metadata={})
    return complete_bundle(folder, word="class", side=side)


def complete_bundle(folder: Path, *, word: str, side: int) -> Path:
    """What a folder with a graph needs to be a bundle."""
    inputs = np.random.default_rng(1).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    logits, embedding = run_session(open_session(folder / MODEL_FILE), inputs)
    write_golden(folder, Golden(inputs, logits, embedding))
    features, cells = embedding.shape[1], np.zeros((1, CLASSES, 19))
    reference = Reference(
        held_out_counts_DCB=cells,
        validation_counts_DCB=cells,
        labelled_counts_CCB=np.zeros((CLASSES, CLASSES, 19)),
        embedding_mean_E=np.zeros(features),
        embedding_projection_EP=np.eye(features)[:, :128],
        novelty_quantiles_Q=np.linspace(0, 10, 101),
    )
    write_reference(folder / REFERENCE_FILE, reference)
    names = (MODEL_FILE, GOLDEN_FILE, REFERENCE_FILE)
    bundle = Bundle(
        schema=1,
        bundle_id=folder.name,
        model="default",
        created_at="2026-11-22T09:00:00.000Z",
        input=InputSpec(side, side),
        classes=tuple(f"{word}-{n}" for n in range(CLASSES)),
        source_domains=("benchmark",),
        target_domains=(),
        temperature=1.0,
        temperature_fitted_on="validation",
        abstain_below=0.5,
        embedding_dim=features,
        parity=Parity(2, 0.0, 0.0, 0.0, 1.0, 1e-4),
        domains=(),
        provenance=Provenance("random weights", None, "0", "", "-", onnx.__version__, 20),
        files={name: sha256_file(folder / name) for name in names},
    )
    write_bundle(folder, bundle)
    return folder


def _write_graph(path: Path, generator: np.random.Generator) -> None:
    constants: dict[str, Any] = {"scale": np.array(1 / 128, np.float32), "axes": np.array([2, 3])}
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "scale"], ["layer0"]),
    ]
    channels = 3
    for number in range(3):
        filters = WIDTH * 2**number
        constants[f"w{number}"] = _weights(generator, (filters, channels, 3, 3))
        names = [f"layer{number}", f"w{number}"]
        options: dict[str, Any] = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
        nodes.append(helper.make_node("Conv", names, [f"conv{number}"], **options))
        nodes.append(helper.make_node("Relu", [f"conv{number}"], [f"layer{number + 1}"]))
        channels = filters
    constants["head"] = _weights(generator, (channels, CLASSES))
    nodes.append(helper.make_node("ReduceMean", ["layer3", "axes"], ["embedding"], keepdims=0))
    nodes.append(helper.make_node("MatMul", ["embedding", "head"], ["logits"]))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "network",
        [value("image", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [
            value("logits", TensorProto.FLOAT, ["batch", CLASSES]),
            value("embedding", TensorProto.FLOAT, ["batch", channels]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)


def _weights(generator: np.random.Generator, shape: tuple[int, ...]) -> Any:
    fan_in = int(np.prod(shape[1:])) if len(shape) > 2 else shape[0]
    return (generator.standard_normal(shape) * (2 / fan_in) ** 0.5).astype(np.float32)


def picture(seed: int, *, side: int = SIDE, kind: str = "PNG") -> bytes:
    """A noisy picture: 32 x 32 as PNG is about 3 kB, 224 x 224 as JPEG about 30 kB."""
    noise = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((side, side))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@dataclass
class RunningServer:
    """A `redshank serve` process and its registry."""

    port: int
    registry: Registry
    process: subprocess.Popen[bytes]

    def worker_pids(self) -> list[int]:
        """Process ids of the workers."""
        pid = self.process.pid
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def cpu_s(self) -> float:
        """CPU seconds of supervisor and workers so far."""
        return tree_cpu_s(self.process.pid)


def tree_cpu_s(pid: int) -> float:
    """CPU seconds of a process and all its living children, in nanoseconds' resolution."""
    spent_ns, pids = 0, [pid]
    while pids:
        tasks = Path(f"/proc/{pids.pop()}/task")
        for task in tasks.iterdir() if tasks.is_dir() else ():
            with contextlib.suppress(OSError):  # a thread may end meanwhile
                spent_ns += int((task / "schedstat").read_text().split()[0])
                pids += [int(child) for child in (task / "children").read_text().split()]
    return spent_ns / 1e9


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_server(
    home: Path, *, workers: int, bundle: str, settings: Sequence[str] = ()
) -> Iterator[RunningServer]:
    """Publish a bundle of `home` and serve it, with further `settings`, until the block ends."""
    registry = Registry(home / "models", home / "bundles")
    registry.publish(bundle, actor="benchmark", reason="", at_s=time.time())
    port = free_port()
    own = (f"home.root={home}", f"serving.port={port}", f"serving.workers={workers}")
    command = [sys.executable, "-m", "redshank", "serve"]
    for setting in (*own, *settings):
        command += ["--set", setting]
    with (home / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=CHECKOUT, stdout=log, stderr=log)
    try:
        wait_until_answered(port, "/readyz", process)
        yield RunningServer(port, registry, process)
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_until_answered(port: int, path: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until GET `path` is answered with 200."""
    for _ in range(900):
        if process.poll() is not None:
            raise SystemExit(f"the server ended with status {process.returncode}")
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            with contextlib.closing(connection):
                connection.request("GET", path)
                if connection.getresponse().status == 200:
                    return
        time.sleep(0.1)
    raise SystemExit("the server was not ready within 90 s")


@dataclass
class LoadResult:
    """What closed-loop clients saw."""

    answers: list[tuple[float, float, dict[str, Any]]] = field(default_factory=list)
    """When (monotonic, s), latency (ms), answer."""
    failures: list[str] = field(default_factory=list)


def closed_loop(
    port: int, *, clients: int, images: list[bytes], go_on: Callable[[int], bool]
) -> LoadResult:
    """Each client asks again as soon as it is answered, while `go_on(answers so far)`."""
    result = LoadResult()

    def ask(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        number = first
        while go_on(len(result.answers)):
            number += 1
            began = time.monotonic()
            try:
                connection.request("POST", "/v1/predict", images[number % len(images)])
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException) as error:
                result.failures.append(repr(error))
                connection.close()
                continue
            if response.status != 200:
                result.failures.append(f"{response.status} {body[:200]!r}")
                continue
            now = time.monotonic()
            result.answers.append((now, 1000 * (now - began), json.loads(body)))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return result
