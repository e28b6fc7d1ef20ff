"""The main flow: a run folder becomes a bundle folder, or nothing.

Read the run, write the graph, compare it with the network, store golden answers and the monitor's
references, write the manifest, load the result as a server would, and publish it in one rename.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from redshank.bundle import (
    FP32,
    MODEL_FILE,
    REFERENCE_FILE,
    SCHEMA,
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
from redshank.dataset import Item, Manifest, read_manifest
from redshank.errors import InputError, IntegrityError
from redshank.files import Clock, new_id, publish_folder, rfc3339, sha256_file, to_json
from redshank.infer import load_model
from redshank.nn.backbones import Backbone
from redshank.nn.checkpoint import load_model as load_network
from redshank.onnx_session import CPU, open_session
from redshank.reference import Reference, write_reference
from redshank.registry import checked_name
from redshank.run import MANIFEST_FILE, WEIGHTS_FILE, Run, read_held_out, read_run

from .accuracy_map import accuracy_line, accuracy_pools
from .answers import all_answers
from .golden import synthetic_images
from .images import Pixels, held_items, pixel_chunks
from .parity import checked_parity, format_table, network_answers, parity_table
from .plan import ExportPlan, check_plan
from .precisions import Fp32, add_precisions
from .references import DomainAnswers, build_reference
from .to_onnx import OPSET, write_onnx

GOLDEN_IMAGES = 8


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
        items = _items(run, manifest, plan)
        answers = all_answers(session, run, manifest, items)
        reference = _reference(run_dir, run, answers)
        limit = plan.corrupted_images
        pools = accuracy_pools(session, run, manifest, items, reference, limit=limit)
        say(accuracy_line(pools))
        write_reference(folder / REFERENCE_FILE, dataclasses.replace(reference, accuracy=pools))
        bundle = _manifest(target.name, now_s, run, network, parity, plan)
        artefacts = add_precisions(
            Fp32(folder, run, manifest, items, answers),
            plan.precision,
            lambda found: dataclasses.replace(_reference(run_dir, run, found), accuracy=pools),
            say=say,
        )
        bundle = dataclasses.replace(bundle, artefacts=artefacts)
        write_bundle(folder, dataclasses.replace(bundle, files=_digests(folder)))
        for precision in (FP32, *(a.precision for a in artefacts)):
            worst = load_model(folder, precision=precision, providers=[CPU]).self_test()
            say(f"golden answers of {precision} differ by {worst:.1e} at most")
    return target


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
    """Real images of every domain, synthetic ones, and batches of 1, 2, 3 and the most."""
    size = run.backbone.image_size
    images: dict[str, Pixels] = {"synthetic": synthetic_images(GOLDEN_IMAGES, size, size)}
    domains = (*run.source_domains, *run.target_domains)
    share = max(1, plan.parity_images // len(domains))
    for domain in domains:
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


def _items(run: Run, manifest: Manifest, plan: ExportPlan) -> dict[str, tuple[Item, ...]]:
    """Images that stand for each domain; of targets only where a further precision is judged."""
    targets = run.target_domains if plan.precision.further else ()
    return {
        domain: held_items(manifest, domain, limit=plan.reference_images)
        for domain in (*run.source_domains, *targets)
    }


def _reference(run_dir: Path, run: Run, answers: Mapping[str, DomainAnswers]) -> Reference:
    sources = {domain: answers[domain] for domain in run.source_domains}
    return build_reference(sources, read_held_out(run_dir), temperature=run.temperature.value)


def _digests(folder: Path) -> dict[str, str]:
    """sha256 of every file that is there."""
    return {path.name: sha256_file(path) for path in sorted(folder.iterdir())}


def _manifest(
    bundle_id: str,
    now_s: float,
    run: Run,
    network: Backbone,
    parity: Parity,
    plan: ExportPlan,
) -> Bundle:
    size = run.backbone.image_size
    return Bundle(
        schema=SCHEMA,
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
        files={},
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
