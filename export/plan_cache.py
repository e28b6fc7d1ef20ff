"""TensorRT plans in a cache outside the bundles: a plan fits one library, one device, one spec.

    plans/<key>/model.plan        the serialized engine
    plans/<key>/plan.json         what it was built from and for
    plans/timing-<library>-<version>-<device>.cache     measured tactics, shared by builds

Bundles stay what export proved; plans can be deleted at any time and are built again.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from redshank.bundle import FP32, read_bundle
from redshank.errors import InputError, MissingPartError
from redshank.files import (
    check_sha256,
    publish_folder,
    read_json,
    sha256_bytes,
    to_json,
    write_atomic,
)
from redshank.plan_on_demand import PLAN_FILE, SIDECAR_FILE
from redshank.records import as_dict, from_dict
from redshank.sigterm import sigterm_interrupts
from redshank.tensorrt_engine import check_version

from .tensorrt_plan import BuildSpec, build_plan

EXTRAS = {"tensorrt": "gpu", "tensorrt_rtx": "tensorrt-rtx"}
"""Library -> the extra that brings it, in order of preference."""
NO_DEVICE = "none"


@dataclass(frozen=True)
class PlanRecord:
    """`plan.json`."""

    schema: int
    bundle_id: str
    onnx_sha256: str
    library: str
    version: str
    device: str
    """Compute capability like sm90; `none` when built without a device (TensorRT-RTX can)."""
    spec: BuildSpec
    plan_sha256: str
    bytes: int
    seconds: float


def load_library(name: str | None = None) -> ModuleType:
    """Import TensorRT, or TensorRT-RTX; by preference when `name` is None.

    Raises:
        MissingPartError: not installed, not loadable, or too old.
    """
    reasons = []
    for library in EXTRAS if name is None else (name,):
        try:
            found = importlib.import_module(library)
            check_version(found)
            return found
        except (ImportError, OSError, MissingPartError) as error:
            reasons.append(f"{library}: {error}")
    raise MissingPartError(
        f"no TensorRT library loads here ({'; '.join(reasons)})",
        hint="Install one: "
        + " or ".join(f"pip install 'redshank[{EXTRAS[x]}]'" for x in EXTRAS)
        + ". Without it the bundle runs on ONNX Runtime.",
    )


def cached_plan(
    library: ModuleType,
    bundle_dir: Path,
    plans: Path,
    spec: BuildSpec,
    *,
    precision: str = FP32,
    device: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """The folder of the plan that fits; built when the cache has none.

    Args:
        library: what `load_library` gave.
        bundle_dir: a bundle, whose digests are checked.
        plans: the cache.
        spec: see `BuildSpec`.
        precision: which graph of the bundle; `int8` is for CPUs, TensorRT refuses it.
        device: like `sm90`; None asks the driver.
        say: gets one line a step and TensorRT's messages.

    Raises:
        MissingPartError: TensorRT without a device.
        BuildError: TensorRT refuses the graph.
        IntegrityError: the bundle or the cached plan changed.
    """
    bundle = read_bundle(bundle_dir)
    graph = bundle.artefact(precision).file
    device = device or _device()
    if device == NO_DEVICE and library.__name__ == "tensorrt":
        raise MissingPartError(
            "TensorRT builds for the device it finds, and there is none here",
            hint="Build where the plan will run; TensorRT-RTX alone builds without a device.",
        )
    record = PlanRecord(
        schema=1,
        bundle_id=bundle.bundle_id,
        onnx_sha256=bundle.files[graph],
        library=library.__name__,
        version=library.__version__,
        device=device,
        spec=spec,
        plan_sha256="",
        bytes=0,
        seconds=0.0,
    )
    folder = plans / plan_key(record)
    if folder.exists():
        _check(folder)
        say(f"plan {folder.name} is in the cache")
        return folder
    say(f"building with {record.library} {record.version} for device {device}")
    return _build(library, bundle_dir / graph, folder, record, say)


def plan_key(record: PlanRecord) -> str:
    """Name of the plan's folder: equal for equal graph, library, version, device and spec."""
    parts = [record.onnx_sha256, record.library, record.version, record.device]
    return sha256_bytes(json.dumps([*parts, as_dict(record.spec)], sort_keys=True).encode())[:24]


def read_plan(folder: Path) -> PlanRecord:
    """The sidecar of a cached plan.

    Raises:
        InputError: no plan is there.
    """
    return from_dict(PlanRecord, read_json(folder / SIDECAR_FILE), source=str(folder))


def _build(
    library: ModuleType,
    onnx_path: Path,
    folder: Path,
    record: PlanRecord,
    say: Callable[[str], None],
) -> Path:
    timing_path = folder.parent / f"timing-{record.library}-{record.version}-{record.device}.cache"
    started_s = time.monotonic()
    plan, timing = build_plan(
        library, onnx_path, record.spec, timing_cache=_timing_cache(record, timing_path), say=say
    )
    done = dataclasses.replace(
        record,
        plan_sha256=sha256_bytes(plan),
        bytes=len(plan),
        seconds=round(time.monotonic() - started_s, 3),
    )
    if timing:
        write_atomic(timing_path, timing)
    try:
        with sigterm_interrupts(), publish_folder(folder) as scratch:
            (scratch / PLAN_FILE).write_bytes(plan)
            (scratch / SIDECAR_FILE).write_bytes(to_json(as_dict(done)))
    except (InputError, OSError):
        if not folder.exists():
            raise
        _check(folder)  # another process was faster; its plan is as good
    return folder


def _timing_cache(record: PlanRecord, path: Path) -> bytes | None:
    if record.library == "tensorrt_rtx":
        return None
    return path.read_bytes() if path.is_file() else b""


def _check(folder: Path) -> None:
    check_sha256(folder / PLAN_FILE, read_plan(folder).plan_sha256, source=str(folder))


def _device() -> str:
    import torch

    if not torch.cuda.is_available():
        return NO_DEVICE
    major, minor = torch.cuda.get_device_capability()
    return f"sm{major}{minor}"
