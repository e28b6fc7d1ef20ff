"""An ONNX file as a TensorRT plan, with TensorRT 10.12 and later, 11, or TensorRT-RTX.

The library is given, so that this module imports without one and tests can hand in a fake. Networks
are strongly typed: precision is what the ONNX file says (TensorRT 11 has removed every other way).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redshank.errors import StageError

OLDEST = (10, 12)
"""First TensorRT whose strongly typed networks take what we export."""


class BuildError(StageError):
    """TensorRT refused the graph or built nothing."""


@dataclass(frozen=True)
class BuildSpec:
    """Everything that changes a plan besides the graph, the library and the device."""

    min_batch: int = 1
    best_batch: int = 8
    """Batch that tactics are chosen for."""
    max_batch: int = 32
    workspace_bytes: int = 1 << 30
    optimization_level: int = 3
    """0 builds fastest, 5 runs fastest."""
    version_compatible: bool = False
    """Loads in later TensorRT versions too, a little slower."""
    refit: bool = False
    """Weights of a retrained network of the same shape can be put in later."""
    tf32: bool = False
    """Round to 10 bits of mantissa in matrix products: faster, but golden answers do not hold."""


def build_plan(
    library: Any,
    onnx_path: Path,
    spec: BuildSpec,
    *,
    timing_cache: bytes | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[bytes, bytes]:
    """Parse and build.

    Args:
        library: module `tensorrt` or `tensorrt_rtx`.
        onnx_path: the graph; only its batch axis may be free.
        spec: see `BuildSpec`.
        timing_cache: measured tactics of an earlier build, empty to start one; None does without
            (TensorRT-RTX has none).
        say: gets TensorRT's warnings and errors.

    Returns:
        The serialized plan and the timing cache, empty without one.

    Raises:
        BuildError: the graph is refused, an axis other than the batch is free, or nothing is built.
    """
    logger = _logger(library, say)
    builder = library.Builder(logger)
    network = builder.create_network(_strongly_typed(library))
    parser = library.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx_path)):
        reasons = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise BuildError(
            f"TensorRT {library.__version__} refuses {onnx_path.name}: {reasons}",
            hint="The bundle still runs on ONNX Runtime.",
        )
    config = _configured(library, builder, spec)
    if timing_cache is not None:
        cache = config.create_timing_cache(timing_cache)
        config.set_timing_cache(cache, ignore_mismatch=False)
    if config.add_optimization_profile(_profile(builder, network, spec)) < 0:
        raise BuildError(f"TensorRT refuses the batch sizes of {spec}")
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BuildError(
            f"TensorRT {library.__version__} built nothing of {onnx_path.name}",
            hint="Its own messages above say why.",
        )
    measured = b"" if timing_cache is None else bytes(config.get_timing_cache().serialize())
    return bytes(plan), measured


def _configured(library: Any, builder: Any, spec: BuildSpec) -> Any:
    config = builder.create_builder_config()
    config.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, spec.workspace_bytes)
    config.builder_optimization_level = spec.optimization_level
    config.profiling_verbosity = library.ProfilingVerbosity.DETAILED
    if spec.version_compatible:
        config.set_flag(library.BuilderFlag.VERSION_COMPATIBLE)
    if spec.refit:
        config.set_flag(library.BuilderFlag.REFIT)
    if not spec.tf32:
        config.clear_flag(library.BuilderFlag.TF32)
    return config


def _profile(builder: Any, network: Any, spec: BuildSpec) -> Any:
    profile = builder.create_optimization_profile()
    for number in range(network.num_inputs):
        tensor = network.get_input(number)
        shape = tuple(tensor.shape)
        if -1 in shape[1:]:
            raise BuildError(f"input {tensor.name!r} is {shape}: only the batch axis may be free")
        sizes = (spec.min_batch, spec.best_batch, spec.max_batch)
        profile.set_shape(tensor.name, *((size, *shape[1:]) for size in sizes))
    return profile


def _strongly_typed(library: Any) -> int:
    """Needed by 10.12 to 10.16, the only kind in 11, where the flag may be gone."""
    flag = getattr(library.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _logger(library: Any, say: Callable[[str], None]) -> Any:
    """A logger that passes warnings and errors on."""
    base, worst = library.ILogger, int(library.ILogger.Severity.WARNING)

    class Logger(base):  # type: ignore[misc, valid-type]  # the base comes with the library
        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if int(severity) <= worst:
                say(f"TensorRT: {message}")

    return Logger()
