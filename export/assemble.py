"""The main flow: a run folder becomes a bundle folder, or nothing.

Read the run, write the graph, compare it with the network, store golden answers and the monitor's
references, write the manifest, load the result as a server would, and publish it in one rename.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from redshank.bundle import (
    GOLDEN_FILE,
    MODEL_FILE,
    REFERENCE_FILE,
    Bundle,
    DomainReport,
    Golden,
    InputSpec,
    Parity,
    Provenance,
    read_bundle,
    write_bundle,
    write_golden,
)
from redshank.dataset import Manifest, read_manifest
from redshank.errors import ConfigError, InputError, IntegrityError
from redshank.files import Clock, new_id, publish_folder, rfc3339, sha256_file, to_json
from redshank.infer import load_model
from redshank.nn.backbones import Backbone
from redshank.nn.checkpoint import load_model as load_network
from redshank.onnx_session import CPU, open_session, run_session
from redshank.reference import MIN_IMAGES, Reference, write_reference
from redshank.registry import checked_name
from redshank.run import MANIFEST_FILE, WEIGHTS_FILE, Run, read_held_out, read_run

from .golden import synthetic_images
from .images import Pixels, held_items, pixel_chunks, scene_name, scene_weights
from .parity import checked_parity, format_table, network_answers, parity_table
from .references import DomainAnswers, build_reference
from .to_onnx import OPSET, write_onnx

GOLDEN_IMAGES = 8


@dataclass(frozen=True)
class ExportPlan:
    """What the user decides about an export."""

    model: str
    """Name under which the bundle is released."""
    tolerance: float
    """Largest difference of logits and embeddings, see `export.parity`."""
    parity_images: int
    """Real images in the parity check, over all source domains."""
    reference_images: int
    """Most images a source domain behind the references."""
    max_batch: int
    abstain_below: float
    parent_bundle: str | None = None


def export_run(
    run_dir: Path,
    bundles: Path,
    plan: ExportPlan,
    *,
    clock: Clock = time.time,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Export one run; returns the published bundle folder.

    Args:
        run_dir: what `redshank train` wrote.
        bundles: folder of all bundles.
        plan: see `ExportPlan`.
        clock: seconds since the epoch, for the id.
        say: gets one line a step.

    Raises:
        ConfigError: a number of the plan is impossible.
        InputError: no run, no weights in it, or its images are gone.
        IntegrityError: files changed, or the graph does not answer as the network does.
    """
    checked_name(plan.model)
    check_plan(plan)
    run, network, manifest = _read(run_dir)
    if plan.parent_bundle is not None:
        read_bundle(bundles / plan.parent_bundle, verify=False)
    now_s = clock()
    target = bundles / new_id(now_s)
    with publish_folder(target) as folder:
        size = run.backbone.image_size
        say(f"graph of {run.backbone.name}, {size} x {size} pixels")
        _write_graph(folder, network, run, plan)
        session = open_session(folder / MODEL_FILE, providers=[CPU])
        parity = _check_parity(network, session, run, manifest, plan, say)
        _write_golden(folder, network, size)
        say(f"references from {len(run.source_domains)} source domains")
        reference = _reference(session, run_dir, run, manifest, plan)
        write_reference(folder / REFERENCE_FILE, reference)
        write_bundle(folder, _manifest(folder, target.name, now_s, run, network, parity, plan))
        worst = load_model(folder, providers=[CPU]).self_test()
        say(f"golden answers differ by {worst:.1e} at most")
    return target


def check_plan(plan: ExportPlan) -> None:
    """Refuses numbers that cannot work, by the names they have in the settings."""
    limits = {
        "tolerance": (plan.tolerance, 0.0, 1.0),
        "parity_images": (plan.parity_images, 1, 10**6),
        "reference_images": (plan.reference_images, MIN_IMAGES, 10**6),
        "max_batch": (plan.max_batch, 2, 4096),
        "abstain_below": (plan.abstain_below, 0.0, 1.0),
    }
    for name, (value, low, high) in limits.items():
        if not low <= value <= high:
            raise ConfigError(f"export.{name} is {value}, expected {low} to {high}")


def _read(run_dir: Path) -> tuple[Run, Backbone, Manifest]:
    run = read_run(run_dir)
    for name in (WEIGHTS_FILE, MANIFEST_FILE):
        if name not in run.files:
            raise InputError(
                f"{run_dir} holds no {name}", hint="The training did not finish: train again."
            )
    network = load_network(run_dir / WEIGHTS_FILE)
    built = (network.head.out_features, network.embedding_dim)
    if built != (len(run.classes), run.backbone.embedding_dim):
        raise IntegrityError(
            f"{run_dir}: the weights have {built[0]} classes and {built[1]} features, run.json "
            f"says {len(run.classes)} and {run.backbone.embedding_dim}"
        )
    return run, network, read_manifest(run_dir / MANIFEST_FILE)


def _write_graph(folder: Path, network: Backbone, run: Run, plan: ExportPlan) -> None:
    size = run.backbone.image_size
    facts: dict[str, Any] = {
        "redshank.schema": 1,
        "redshank.run": run.run_id,
        "redshank.code_version": run.code_version,
        "redshank.data_sha256": run.data_sha256,
        "redshank.classes": run.classes,
        "redshank.source_domains": run.source_domains,
        "redshank.input": f"uint8 RGB [batch, {size}, {size}, 3]",
        "redshank.temperature": run.temperature.value,
    }
    metadata = {
        name: value if isinstance(value, str) else to_json(value).decode().strip()
        for name, value in facts.items()
    }
    write_onnx(
        network,
        folder / MODEL_FILE,
        height=size,
        width=size,
        max_batch=plan.max_batch,
        metadata=metadata,
    )


def _check_parity(
    network: Backbone,
    session: Any,
    run: Run,
    manifest: Manifest,
    plan: ExportPlan,
    say: Callable[[str], None],
) -> Parity:
    """Real images of every source domain, synthetic ones, and batches of 1, 2, 3 and the most."""
    size = run.backbone.image_size
    images: dict[str, Pixels] = {"synthetic": synthetic_images(GOLDEN_IMAGES, size, size)}
    share = max(1, plan.parity_images // len(run.source_domains))
    for domain in run.source_domains:
        items = held_items(manifest, domain, limit=share)
        if items:
            chunks = pixel_chunks(manifest, items, height=size, width=size)
            images[f"domain {domain}"] = np.concatenate(list(chunks))
    table = parity_table(
        network,
        session,
        images,
        temperature=run.temperature.value,
        batch_sizes=(1, 2, 3, plan.max_batch),
    )
    parity = checked_parity(table, tolerance=plan.tolerance)
    say("parity of torch and ONNX Runtime, largest differences:\n" + format_table(table))
    return parity


def _write_golden(folder: Path, network: Backbone, size: int) -> None:
    inputs_NHW3 = synthetic_images(GOLDEN_IMAGES, size, size)
    write_golden(folder, Golden(inputs_NHW3, *network_answers(network, inputs_NHW3)))


def _reference(
    session: Any, run_dir: Path, run: Run, manifest: Manifest, plan: ExportPlan
) -> Reference:
    answers = {
        domain: _domain_answers(session, run, manifest, domain, limit=plan.reference_images)
        for domain in run.source_domains
    }
    return build_reference(answers, read_held_out(run_dir), temperature=run.temperature.value)


def _domain_answers(
    session: Any, run: Run, manifest: Manifest, domain: str, *, limit: int
) -> DomainAnswers:
    items = held_items(manifest, domain, limit=limit)
    size = run.backbone.image_size
    parts = [
        run_session(session, pixels)
        for pixels in pixel_chunks(manifest, items, height=size, width=size)
    ]
    shapes = ((0, len(run.classes)), (0, run.backbone.embedding_dim))
    logits, embedding = (
        np.concatenate([np.zeros(shape, np.float32), *(part[i] for part in parts)])
        for i, shape in enumerate(shapes)
    )
    return DomainAnswers(
        logits_NC=logits,
        embedding_NE=embedding,
        label_N=np.array([manifest.class_index(item.label) for item in items], dtype=np.int64),
        scene_N=np.array([f"{domain} {scene_name(item, n)}" for n, item in enumerate(items)]),
        weight_N=scene_weights(items),
    )


def _manifest(
    folder: Path,
    bundle_id: str,
    now_s: float,
    run: Run,
    network: Backbone,
    parity: Parity,
    plan: ExportPlan,
) -> Bundle:
    size = run.backbone.image_size
    return Bundle(
        schema=1,
        bundle_id=bundle_id,
        model=plan.model,
        created_at=rfc3339(now_s),
        input=InputSpec(height=size, width=size),
        classes=run.classes,
        source_domains=run.source_domains,
        target_domains=run.target_domains,
        temperature=run.temperature.value,
        temperature_fitted_on=run.temperature.fitted_on,
        abstain_below=plan.abstain_below,
        embedding_dim=network.embedding_dim,
        parity=parity,
        domains=_domain_reports(run),
        provenance=Provenance(
            run_id=run.run_id,
            parent_bundle=plan.parent_bundle,
            code_version=run.code_version,
            data_sha256=run.data_sha256,
            torch_version=version("torch"),
            onnx_version=version("onnx"),
            opset=OPSET,
        ),
        files={
            name: sha256_file(folder / name) for name in (MODEL_FILE, GOLDEN_FILE, REFERENCE_FILE)
        },
    )


def _domain_reports(run: Run) -> tuple[DomainReport, ...]:
    """Per domain the figures of its val split, else of its test split."""
    reports: dict[str, DomainReport] = {}
    for split in ("val", "test"):
        for row in run.metrics:
            if row.split == split and row.domain not in reports:
                reports[row.domain] = DomainReport(
                    row.domain, row.role, row.n, row.accuracy, row.ece
                )
    return tuple(reports[domain] for domain in sorted(reports))
