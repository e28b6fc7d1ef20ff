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
            (TensorRT-RTX has none). One that TensorRT does not take is replaced by an empty one.
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
    # TensorRT wants it alive until the plan is built
    tactics = None if timing_cache is None else _tactics(config, timing_cache, say)
    if config.add_optimization_profile(_profile(builder, network, spec)) < 0:
        raise BuildError(
            f"TensorRT refuses batches of {spec.min_batch} to {spec.max_batch}, best "
            f"{spec.best_batch}"
        )
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BuildError(
            f"TensorRT {library.__version__} built nothing of {onnx_path.name}",
            hint="Its own messages above say why.",
        )
    return bytes(plan), b"" if tactics is None else bytes(tactics.serialize())


def _tactics(config: Any, measured: bytes, say: Callable[[str], None]) -> Any | None:
    """The timing cache that the builder uses: what was measured before where it fits, else anew.

    It does not fit when it is damaged or was measured on a device of other properties, which two
    devices of one compute capability may have.
    """
    for data in dict.fromkeys((measured, b"")):
        tactics = config.create_timing_cache(data)
        if tactics is not None and config.set_timing_cache(tactics, ignore_mismatch=False):
            return tactics
        say("TensorRT does not take the timing cache that is here: tactics are measured anew")
    return None


def _configured(library: Any, builder: Any, spec: BuildSpec) -> Any:
    config = builder.create_builder_config()
    config.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, spec.workspace_bytes)
    config.builder_optimization_level = spec.optimization_level
    config.profiling_verbosity = library.ProfilingVerbosity.DETAILED
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
