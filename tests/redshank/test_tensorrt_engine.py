from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from export.plan_cache import load_library
from redshank.errors import InputError, IntegrityError, MissingPartError, StageError
from redshank.plan_on_demand import CUDA, PlanBuild, load_runtime, planned_model
from redshank.tensorrt_engine import EngineError, TensorRTSession
from tests.colour_bundle import (
    WEIGHT_EC,
    mean_colour,
    random_images,
    write_colour_bundle,
)
from tests.tensorrt_runtime import TYPES, FakeCuda, FakeRuntime, write_plan


def test_a_plan_answers_in_pieces_of_its_largest_batch() -> None:
    cuda = FakeCuda()
    library = FakeRuntime(cuda)
    session = TensorRTSession(library, cuda, b"PLAN")
    assert (session.min_batch, session.max_batch) == (1, 8)
    images = random_images(19)
    logits, embedding = session.run(["logits", "embedding"], {"image": images})
    np.testing.assert_allclose(embedding, mean_colour(images), rtol=1e-6)
    np.testing.assert_allclose(logits, mean_colour(images) @ WEIGHT_EC, rtol=1e-5)
    shapes = [call[3][0] for call in library.calls if call[1] == "set_input_shape"]
    assert shapes == [8, 8, 3]
    assert session.get_providers() == ["tensorrt 11.4.0.106"]
    assert len(cuda.blocks) == 3
    session.close()
    assert (cuda.blocks, cuda.streams) == ({}, 0)


def test_failures_are_told_and_give_memory_back() -> None:
    cuda = FakeCuda()
    with pytest.raises(IntegrityError, match=r"does not fit tensorrt 11\.4"):
        TensorRTSession(FakeRuntime(cuda, fits=False), cuda, b"PLAN")
    full = FakeCuda(room=2)
    with pytest.raises(EngineError, match="CUDA: out of memory"):
        TensorRTSession(FakeRuntime(full), full, b"PLAN")
    assert (full.blocks, full.streams) == ({}, 0)
    with pytest.raises(EngineError, match="no execution context"):
        TensorRTSession(FakeRuntime(cuda, has_room=False), cuda, b"PLAN")
    strange = FakeRuntime(cuda, output_type=TYPES.INT64)
    with pytest.raises(IntegrityError, match="tensor 'logits' of the plan has type"):
        TensorRTSession(strange, cuda, b"PLAN")
    assert (cuda.blocks, cuda.streams) == ({}, 0)
    session = TensorRTSession(FakeRuntime(cuda, runs=False), cuda, b"PLAN")
    with pytest.raises(EngineError, match="did not run"):
        session.run(None, {"image": random_images(2)})
    with pytest.raises(InputError, match="a batch of 0"):
        session.run(None, {"image": random_images(0)})


def test_the_fake_has_no_name_that_cuda_bindings_lacks() -> None:
    cuda = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    for name in (n for n in vars(FakeCuda) if n.startswith("cuda")):
        assert hasattr(cuda, name)
    assert hasattr(cuda.cudaMemcpyKind, "cudaMemcpyHostToDevice")


def test_a_planned_model_must_give_the_golden_answers(tmp_path: Path) -> None:
    bundle = write_colour_bundle(tmp_path / "20261122T090000-aaaaaa")
    plan, cuda = write_plan(tmp_path / "plan"), FakeCuda()
    model = planned_model(bundle, plan, "fp32", library=FakeRuntime(cuda), cuda=cuda)
    assert model.providers == ("tensorrt 11.4.0.106",)
    images = random_images(20)
    np.testing.assert_allclose(model.predict(images).embedding_NE, mean_colour(images), rtol=1e-6)
    other = FakeCuda()
    with pytest.raises(IntegrityError, match="golden logits differ"):
        planned_model(bundle, plan, "fp32", library=FakeRuntime(other, gain=1.1), cuda=other)
    assert other.blocks == {}
    (plan / "model.plan").write_bytes(b"OTHER")
    with pytest.raises(IntegrityError, match="sha256"):
        planned_model(bundle, plan, "fp32", library=FakeRuntime(cuda), cuda=cuda)


def finished(build: PlanBuild) -> Path:
    while (folder := build.poll()) is None:
        pass
    return folder


def test_a_build_runs_beside_and_gives_its_folder(tmp_path: Path) -> None:
    code = (
        "import sys; print('talk', file=sys.stderr); print('first'); print(' '.join(sys.argv[1:]))"
    )
    program = (sys.executable, "-c", code)
    build = PlanBuild(tmp_path, "fp16", options=("--set", "a=b"), program=program)
    assert str(finished(build)) == f"export {tmp_path} --plan --precision fp16 --set a=b"


def test_a_failed_build_says_why(tmp_path: Path) -> None:
    program = (sys.executable, "-c", "import sys; sys.exit('redshank: no TensorRT library loads')")
    with pytest.raises(StageError, match="no TensorRT library loads") as caught:
        finished(PlanBuild(tmp_path, "fp32", program=program))
    assert "ONNX Runtime" in caught.value.hint


def test_a_build_can_be_ended(tmp_path: Path) -> None:
    build = PlanBuild(
        tmp_path, "fp32", program=(sys.executable, "-c", "import time; time.sleep(60)")
    )
    build.stop()
    with pytest.raises(StageError, match="exit status -15"):
        build.poll()


def test_server_and_builder_prefer_the_same_library(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"tensorrt": "10.3.0", "tensorrt_rtx": "1.7.1"}
    modules: dict[str, Any] = {
        name: SimpleNamespace(__name__=name, __version__=version)
        for name, version in versions.items()
    } | {CUDA: SimpleNamespace(__name__=CUDA)}

    def found(name: str) -> Any:
        if name not in modules:
            raise ImportError(f"No module named {name!r}")
        return modules[name]

    monkeypatch.setattr(importlib, "import_module", found)
    names = [library.__name__ for library in (load_runtime()[0], load_library())]
    assert names == ["tensorrt_rtx"] * 2, "the other is too old"
    modules["tensorrt"].__version__ = "10.16.1"
    names = [library.__name__ for library in (load_runtime()[0], load_library())]
    assert names == ["tensorrt"] * 2
    del modules[CUDA]
    with pytest.raises(MissingPartError, match=r"tensorrt_rtx: No module named 'cuda"):
        load_runtime()
