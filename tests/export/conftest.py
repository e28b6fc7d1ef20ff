from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from export.assemble import export_run
from export.plan import ExportPlan
from redshank.dataset import Item, write_manifest
from redshank.files import sha256_file
from redshank.nn.backbones import Backbone, build_backbone
from redshank.nn.checkpoint import save_model
from redshank.run import (
    HELD_OUT_FILE,
    MANIFEST_FILE,
    WEIGHTS_FILE,
    BackboneSpec,
    DomainMetrics,
    HeldOut,
    Run,
    Temperature,
    write_held_out,
    write_run,
)

CLASSES = ("heron", "plover", "stint")
DOMAINS = ("coast", "marsh")
SIZE = 32

PLAN = ExportPlan(
    model="default",
    tolerance=1e-4,
    parity_images=16,
    reference_images=2000,
    max_batch=32,
    abstain_below=0.5,
)

MakeRun = Callable[..., Path]


def write_images(root: Path, *, val: int, seed: int = 0) -> tuple[Item, ...]:
    """Per domain 6 labelled and 12 unlabelled training images and `val` labelled ones."""
    rng = np.random.default_rng(seed)
    items = []
    for shade, domain in enumerate(DOMAINS):
        (root / domain).mkdir(parents=True)
        for number in range(18 + val):
            pixels = rng.integers(60 * shade, 160 + 60 * shade, (SIZE, SIZE, 3), np.uint8)
            path = f"{domain}/{number:03}.png"
            Image.fromarray(pixels).save(root / path)
            labelled = number < 6 or number >= 18
            items.append(
                Item(
                    path=path,
                    domain=domain,
                    label=CLASSES[number % 3] if labelled else "",
                    split="val" if number >= 18 else "train",
                )
            )
    return tuple(items)


def random_network(name: str = "small_cnn", *, width: int = 8, seed: int = 0) -> Backbone:
    """Random weights; one pass in training mode gives BatchNorm real statistics."""
    torch.manual_seed(seed)
    network = build_backbone(name, len(CLASSES), width=width)
    with torch.no_grad():
        for _ in range(10):
            network(torch.rand(16, 3, SIZE, SIZE))
        assert isinstance(network.head, torch.nn.Linear)
        network.head.weight *= 4
    return network.eval()


def finish_run(folder: Path, network: Backbone, *, temperature: float = 1.5) -> Path:
    """`run.json` over the files that lie in `folder` already, and the weights."""
    save_model(folder / WEIGHTS_FILE, network)
    kept = [
        name for name in (WEIGHTS_FILE, MANIFEST_FILE, HELD_OUT_FILE) if (folder / name).is_file()
    ]
    run = Run(
        schema=1,
        run_id=folder.name,
        created_at="2026-11-22T09:00:00.000Z",
        code_version="0.1.0",
        seed=0,
        steps=1,
        device="cpu",
        seconds=1.0,
        parent=None,
        data_sha256="0" * 64,
        classes=CLASSES,
        source_domains=DOMAINS,
        target_domains=(),
        backbone=BackboneSpec("small_cnn", SIZE, network.embedding_dim, 8),
        temperature=Temperature(temperature, "held_out", 10, 1.0, 0.9),
        metrics=(
            DomainMetrics("coast", "source", "test", 9, 0.4, 0.1, None, None),
            DomainMetrics("coast", "source", "val", 12, 0.5, 0.1, None, None),
            DomainMetrics("dunes", "unseen", "test", 7, 0.3, 0.2, None, None),
        ),
        settings={},
        files={name: sha256_file(folder / name) for name in kept},
    )
    write_run(folder, run)
    return folder


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """Makes run folders as training leaves them, with random weights."""

    def make(*, val: int = 12, held_out: bool = True, network: Backbone | None = None) -> Path:
        base = tmp_path_factory.mktemp("run")
        folder = base / "20261122T090000-abcdef"
        folder.mkdir()
        items = write_images(base / "images", val=val)
        write_manifest(
            folder / MANIFEST_FILE, root=str(base / "images"), classes=CLASSES, items=items
        )
        if held_out:
            rng = np.random.default_rng(5)
            logits = rng.normal(size=(40, len(CLASSES))).astype(np.float32)
            label = np.where(np.arange(40) < 30, rng.integers(0, 3, 40), -1).astype(np.int64)
            write_held_out(folder, HeldOut(logits, label, np.arange(40) % len(DOMAINS)))
        return finish_run(folder, network or random_network())

    return make


@pytest.fixture(scope="session")
def run_dir(make_run: MakeRun) -> Path:
    """One run that nobody changes."""
    return make_run()


@pytest.fixture(scope="session")
def exported(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of that run, which nobody changes either."""
    return export_run(run_dir, tmp_path_factory.mktemp("home") / "bundles", PLAN)


@pytest.fixture(scope="session")
def plan() -> ExportPlan:
    """What `exported` was made with."""
    return PLAN
