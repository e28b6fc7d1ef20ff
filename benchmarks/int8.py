"""INT8 on the CPU: how much faster than fp32, and what it does to accuracy and confidence.

    python -m benchmarks.int8 speed --backbone resnet18 --pixels 224       # random weights
    python -m benchmarks.int8 speed --bundle var/bundles/ID                # a bundle with int8
    python -m benchmarks.int8 accuracy --bundle var/bundles/ID             # the table of its export

Times are CPU time of one thread, the median over interleaved rounds: every round runs each
precision once, so that a busy machine slows all of them alike. Random weights say nothing about
accuracy and do not change the speed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from redshank.bundle import FP32, INPUT_NAME, MODEL_FILE, precision_files, read_bundle
from redshank.onnx_session import CPU, open_session

BATCHES = (1, 8)
PRECISIONS = (FP32, "int8", "fp16", "int8_tensorrt")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("speed", "accuracy"))
    parser.add_argument("--bundle", type=Path, help="folder of a bundle that holds int8")
    parser.add_argument("--backbone", default="resnet18", help="without a bundle: random weights")
    parser.add_argument("--pixels", type=int, default=224, help="height and width (default 224)")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args(arguments)
    if options.what == "accuracy":
        if options.bundle is None:
            parser.error("accuracy needs --bundle")
        print(accuracy_table(options.bundle))
    elif options.bundle is not None:
        files = bundle_files(options.bundle)
        print(speed_table(files, read_bundle(options.bundle).input.height, options.rounds))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            files = write_random(Path(scratch), options.backbone, options.pixels)
            print(speed_table(files, options.pixels, options.rounds))
    return 0


def bundle_files(folder: Path) -> dict[str, Path]:
    """Graph of each precision in a bundle."""
    bundle = read_bundle(folder)
    held = {a.precision for a in bundle.artefacts} | {FP32}
    return {p: folder / bundle.artefact(p).file for p in PRECISIONS if p in held}


def write_random(folder: Path, backbone: str, pixels: int) -> dict[str, Path]:
    """Export and quantise a network with random weights, calibrated on synthetic images."""
    import torch

    from export.golden import synthetic_images
    from export.quantize import int8_for_cpu, int8_for_tensorrt
    from export.to_onnx import write_onnx
    from redshank.nn.backbones import build_backbone

    torch.manual_seed(0)
    network = build_backbone(backbone, 7, image_size=pixels)
    with torch.no_grad():
        network(torch.rand(8, 3, pixels, pixels))  # gives BatchNorm statistics
    source = folder / MODEL_FILE
    metadata: dict[str, str] = {}
    write_onnx(network.eval(), source, height=pixels, width=pixels, max_batch=64, metadata=metadata)
    files = {name: folder / precision_files(name)[0] for name in ("int8", "int8_tensorrt")}
    images = synthetic_images(16, pixels, pixels, seed=1)
    int8_for_cpu(source, files["int8"], [images])
    int8_for_tensorrt(source, files["int8_tensorrt"], [images])
    return {FP32: source, **files}


def cpu_ms(session: Any, images: Any) -> float:
    """CPU time of one run, an image."""
    started_s = time.thread_time()
    session.run(None, {INPUT_NAME: images})
    return (time.thread_time() - started_s) * 1000 / len(images)


def measure(files: Mapping[str, Path], pixels: int, rounds: int) -> dict[int, dict[str, float]]:
    """Median CPU-ms an image: batch -> precision -> figure."""
    sessions = {name: open_session(path, providers=[CPU]) for name, path in files.items()}
    rng = np.random.default_rng(0)
    found: dict[int, dict[str, float]] = {}
    for batch in BATCHES:
        images = rng.integers(0, 256, (batch, pixels, pixels, 3), np.uint8)
        times: dict[str, list[float]] = {name: [] for name in sessions}
        for number in range(rounds + 1):
            for name, session in sessions.items():
                took_ms = cpu_ms(session, images)
                if number:  # the first round warms up
                    times[name].append(took_ms)
        found[batch] = {name: float(np.median(values)) for name, values in times.items()}
    return found


def speed_table(files: Mapping[str, Path], pixels: int, rounds: int) -> str:
    """Markdown: size and CPU time of each precision."""
    found = measure(files, pixels, rounds)
    head = "".join(f" batch {batch}, CPU-ms an image | times fp32 |" for batch in found)
    lines = [f"| precision | MB |{head}", "|---|---|" + "---|---|" * len(found)]
    for name, path in files.items():
        cells = "".join(
            f" {row[name]:.3g} | {row[FP32] / row[name]:.2f} |" for row in found.values()
        )
        lines.append(f"| {name} | {path.stat().st_size / 1e6:.2f} |{cells}")
    return "\n".join(lines)


def accuracy_table(folder: Path) -> str:
    """Markdown: what export found for each further precision and domain."""
    lines = [
        "| precision | domain | images | accuracy fp32 | accuracy | same class "
        "| mean confidence fp32 | mean confidence | cells moved |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for artefact in read_bundle(folder).artefacts:
        for row in artefact.rows:
            accuracy = [
                "-" if ratio is None else f"{ratio:.4f}"
                for ratio in (row.accuracy_fp32, row.accuracy)
            ]
            lines.append(
                f"| {artefact.precision} | {row.domain} | {row.images} | {' | '.join(accuracy)} | "
                f"{row.agreement:.4f} | {row.confidence_fp32:.4f} | {row.confidence:.4f} | "
                f"{row.cells_moved:.4f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
