from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from export.tensorrt_plan import BuildError, BuildSpec, build_plan
from export.to_onnx import write_onnx
from redshank.nn.backbones import build_backbone
from tests.tensorrt_names import SNAPSHOT, Enumeration, FakeLogger, Recorder

RTX_REASON = "tensorrt-rtx-cu13 is not installed (extra tensorrt-rtx)"


class FakeTensorRT:
    """Stands in for the module."""

    __version__ = "11.4.0.106"
    __name__ = "tensorrt"
    ILogger = FakeLogger

    def __init__(
        self,
        *,
        parses: bool = True,
        plan: bytes | None = b"PLAN",
        shape: tuple[int, ...] = (-1, 32, 32, 3),
        profile_index: int = 0,
        takes: tuple[bytes, ...] = (b"", b"OLD"),
    ) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.Builder, self.OnnxParser = self._builder, self._parser
        self.parses = parses
        self.plan = plan
        image = self._of("ITensor", name="image", shape=shape)
        self.network = self._of("INetworkDefinition", num_inputs=1, get_input=lambda _: image)
        self.config = self._of(
            "IBuilderConfig",
            create_timing_cache=self._cache,
            set_timing_cache=lambda cache, ignore_mismatch: (
                not ignore_mismatch and cache.data in takes
            ),
            add_optimization_profile=lambda _: profile_index,
        )

    def _builder(self, logger: Any) -> Recorder:
        self.logger = logger
        return self._of(
            "Builder",
            create_network=lambda _: self.network,
            create_builder_config=lambda: self.config,
            create_optimization_profile=lambda: self._of("IOptimizationProfile"),
            build_serialized_network=lambda *_: self._build(),
        )

    def _parser(self, *_: Any) -> Recorder:
        return self._of(
            "OnnxParser",
            parse_from_file=lambda _: self.parses,
            num_errors=1,
            get_error=lambda _: "node_x: type UInt8",
        )

    def __getattr__(self, name: str) -> Enumeration:
        if "enum" not in SNAPSHOT.get(name, {}):
            raise AttributeError(f"tensorrt 11.4 has no enumeration {name!r}")
        return Enumeration(name)

    def _cache(self, data: bytes) -> Any:
        """As the real one: nothing of damaged data; `serialize` says what it was made of."""
        cache = SimpleNamespace(data=data, serialize=lambda: b"MEASURED " + data)
        return None if data == b"DAMAGED" else cache

    def _of(self, kind: str, **members: Any) -> Recorder:
        return Recorder(kind, self.calls, **members)

    def _build(self) -> bytes | None:
        self.logger.log(FakeLogger.Severity.WARNING, "slow tactic")
        self.logger.log(FakeLogger.Severity.INFO, "chatter")
        return self.plan


def test_profile_workspace_and_typing() -> None:
    library = FakeTensorRT()
    spec = BuildSpec(min_batch=1, best_batch=4, max_batch=16, workspace_bytes=1 << 20)
    assert build_plan(library, Path("model.onnx"), spec, timing_cache=b"")[0] == b"PLAN"
    shapes = [(size, 32, 32, 3) for size in (1, 4, 16)]
    assert ("IOptimizationProfile", "set_shape", "image", *shapes) in library.calls
    pool = library.MemoryPoolType.WORKSPACE
    assert ("IBuilderConfig", "set_memory_pool_limit", pool, 1 << 20) in library.calls
    typed = 1 << library.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert ("Builder", "create_network", typed) in library.calls
    assert ("OnnxParser", "parse_from_file", "model.onnx") in library.calls
    assert ("IBuilderConfig", "clear_flag", library.BuilderFlag.TF32) in library.calls


def test_options_become_flags() -> None:
    library = FakeTensorRT()
    build_plan(library, Path("model.onnx"), BuildSpec(tf32=True, optimization_level=5))
    assert ("IBuilderConfig", "builder_optimization_level", 5) in library.calls
    assert not [call for call in library.calls if call[1] == "clear_flag"]


def test_timing_cache_goes_in_and_comes_out_or_is_left_alone() -> None:
    for before in (b"OLD", b""):
        found = build_plan(FakeTensorRT(), Path("model.onnx"), BuildSpec(), timing_cache=before)
        assert found == (b"PLAN", b"MEASURED " + before)
    without = FakeTensorRT()
    assert build_plan(without, Path("model.onnx"), BuildSpec())[1] == b""
    assert not [call for call in without.calls if "timing_cache" in call[1]]


@pytest.mark.parametrize("before", [b"DAMAGED", b"OTHER DEVICE"])
def test_a_timing_cache_that_is_not_taken_is_begun_anew(before: bytes) -> None:
    lines: list[str] = []
    library = FakeTensorRT()
    spec = BuildSpec()
    found = build_plan(library, Path("m.onnx"), spec, timing_cache=before, say=lines.append)
    assert found == (b"PLAN", b"MEASURED ")
    assert "measured anew" in lines[0]
    none = FakeTensorRT(takes=())
    assert build_plan(none, Path("m.onnx"), spec, timing_cache=before) == (b"PLAN", b"")


def test_warnings_are_passed_on_and_chatter_is_not() -> None:
    lines: list[str] = []
    build_plan(FakeTensorRT(), Path("model.onnx"), BuildSpec(), say=lines.append)
    assert lines == ["TensorRT: slow tactic"]


@pytest.mark.parametrize(
    ("library", "message"),
    [
        (FakeTensorRT(parses=False), "refuses model.onnx: node_x: type UInt8"),
        (FakeTensorRT(plan=None), "built nothing of model.onnx"),
        (FakeTensorRT(shape=(-1, -1, -1, 3)), "only the batch axis may be free"),
        (FakeTensorRT(profile_index=-1), "refuses batches of 1 to 32, best 8"),
    ],
)
def test_failures_are_told(library: FakeTensorRT, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        build_plan(library, Path("model.onnx"), BuildSpec())


@pytest.mark.parametrize(
    "removed",
    [
        "BuilderFlag.FP16",
        "BuilderFlag.INT8",
        "NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
        "QuantizationFlag.CALIBRATE_BEFORE_FUSION",
    ],
)
def test_the_fake_knows_what_11_has_removed(removed: str) -> None:
    kind, member = removed.split(".")
    with pytest.raises(AttributeError, match=r"11\.4"):
        getattr(getattr(FakeTensorRT(), kind), member)
    with pytest.raises(AttributeError, match="int8_calibrator"):
        _ = FakeTensorRT().config.int8_calibrator


def test_the_real_parser_and_builder_take_an_exported_network(tmp_path: Path) -> None:
    library = pytest.importorskip("tensorrt_rtx", reason=RTX_REASON)
    torch.manual_seed(0)
    network = build_backbone("small_cnn", 5, width=16).eval()
    path = tmp_path / "model.onnx"
    write_onnx(network, path, height=32, width=32, max_batch=32, metadata={})
    plan, _ = build_plan(library, path, BuildSpec())
    assert len(plan) > 4 * sum(p.numel() for p in network.parameters())


def test_the_real_parser_refuses_to_transpose_bytes(tmp_path: Path) -> None:
    library = pytest.importorskip("tensorrt_rtx", reason=RTX_REASON)
    nodes = [
        helper.make_node("Transpose", ["image"], ["y"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["y"], ["z"], to=TensorProto.FLOAT),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["b", 8, 8, 3])
    end = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["b", 3, 8, 8])
    graph = helper.make_graph(nodes, "bytes_transposed", [image], [end])
    opset = [helper.make_opsetid("", 20)]
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    with pytest.raises(BuildError, match="UInt8"):
        build_plan(library, path, BuildSpec())
