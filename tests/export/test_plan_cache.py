import dataclasses
import importlib
import os
import signal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from export.plan_cache import (
    PlanRecord,
    cached_plan,
    load_library,
    plan_key,
    read_plan,
)
from export.tensorrt_plan import BuildSpec
from redshank.errors import InputError, IntegrityError, MissingPartError
from redshank.files import sha256_bytes
from redshank.plan_on_demand import PLAN_FILE


def library(name: str = "tensorrt", version: str = "10.16.1.11") -> ModuleType:
    module = ModuleType(name)
    module.__dict__["__version__"] = version
    return module


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every build that was asked for; each gives another plan."""
    asked: list[dict[str, Any]] = []

    def build(
        library: ModuleType, path: Path, spec: BuildSpec, *, timing_cache: bytes | None, say: Any
    ) -> tuple[bytes, bytes]:
        say(f"{library.__name__} {path.name}")
        asked.append({"spec": spec, "timing_cache": timing_cache})
        return f"PLAN {len(asked)}".encode(), b"" if timing_cache is None else b"MEASURED"

    monkeypatch.setattr("export.plan_cache.build_plan", build)
    return asked


def test_a_plan_is_built_once_and_lies_outside_the_bundle(
    exported: Path, tmp_path: Path, builds: list[dict[str, Any]]
) -> None:
    before = sorted(exported.iterdir())
    first = cached_plan(library(), exported, tmp_path / "plans", BuildSpec(), device="sm90")
    again = cached_plan(library(), exported, tmp_path / "plans", BuildSpec(), device="sm90")
    assert first == again
    assert len(builds) == 1
    record = read_plan(first)
    assert (record.library, record.version, record.device) == ("tensorrt", "10.16.1.11", "sm90")
    assert record.plan_sha256 == sha256_bytes((first / PLAN_FILE).read_bytes())
    assert record.bundle_id == exported.name
    assert sorted(exported.iterdir()) == before


def test_library_device_and_spec_have_plans_of_their_own(
    exported: Path, tmp_path: Path, builds: list[dict[str, Any]]
) -> None:
    plans = tmp_path / "plans"
    folders = {
        cached_plan(library(), exported, plans, BuildSpec(), device="sm90"),
        cached_plan(library(), exported, plans, BuildSpec(), device="sm120"),
        cached_plan(library(version="11.4.0"), exported, plans, BuildSpec(), device="sm90"),
        cached_plan(library(), exported, plans, BuildSpec(max_batch=64), device="sm90"),
        cached_plan(library("tensorrt_rtx"), exported, plans, BuildSpec(), device="sm90"),
    }
    assert len(folders) == len(builds) == 5


def test_timing_cache_is_kept_for_the_next_build_and_not_used_by_rtx(
    exported: Path, tmp_path: Path, builds: list[dict[str, Any]]
) -> None:
    for best in (1, 2):
        spec = BuildSpec(best_batch=best)
        cached_plan(library(), exported, tmp_path / "plans", spec, device="sm90")
    rtx = library("tensorrt_rtx", "1.7.1.116")
    cached_plan(rtx, exported, tmp_path / "plans", BuildSpec(), device="none")
    assert [b["timing_cache"] for b in builds] == [b"", b"MEASURED", None]
    names = [p.name for p in (tmp_path / "plans").glob("timing-*")]
    assert names == ["timing-tensorrt-10.16.1.11-sm90.cache"]


def test_a_changed_plan_is_refused(
    exported: Path, tmp_path: Path, builds: list[dict[str, Any]]
) -> None:
    folder = cached_plan(library(), exported, tmp_path, BuildSpec(), device="sm90")
    (folder / PLAN_FILE).write_bytes(b"other")
    with pytest.raises(IntegrityError, match="sha256"):
        cached_plan(library(), exported, tmp_path, BuildSpec(), device="sm90")
    assert len(builds) == 1


def test_a_build_that_is_ended_while_it_publishes_leaves_nothing(
    exported: Path, tmp_path: Path, builds: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(_: Any) -> bytes:
        os.kill(os.getpid(), signal.SIGTERM)
        return b""

    monkeypatch.setattr("export.plan_cache.to_json", ended)
    with pytest.raises(KeyboardInterrupt):
        cached_plan(library(), exported, tmp_path, BuildSpec(), device="sm90")
    assert [path.name for path in tmp_path.iterdir()] == ["timing-tensorrt-10.16.1.11-sm90.cache"]
    assert len(builds) == 1


def test_of_two_builders_at_once_one_plan_stays(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: Any, **__: Any) -> tuple[bytes, bytes]:
        # the other builder is faster
        monkeypatch.setattr("export.plan_cache.build_plan", lambda *_, **__: (b"FIRST", b""))
        cached_plan(library(), exported, tmp_path, BuildSpec(), device="sm90")
        return b"SECOND", b""

    monkeypatch.setattr("export.plan_cache.build_plan", build)
    folder = cached_plan(library(), exported, tmp_path, BuildSpec(), device="sm90")
    assert (folder / PLAN_FILE).read_bytes() == b"FIRST"
    assert sorted(path.name for path in tmp_path.iterdir()) == [folder.name]


def test_tensorrt_without_a_device_says_so(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingPartError, match="there is none here"):
        cached_plan(library(), exported, tmp_path, BuildSpec(), device="none")


def test_no_bundle_no_plan(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no bundle"):
        cached_plan(library(), tmp_path, tmp_path / "plans", BuildSpec(), device="sm90")


def test_missing_and_old_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ModuleType:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingPartError, match=r"tensorrt: No module.*tensorrt_rtx: No") as caught:
        load_library()
    assert "redshank[gpu]" in caught.value.hint
    monkeypatch.setattr(importlib, "import_module", lambda name: library(name, "10.3.0"))
    with pytest.raises(MissingPartError, match=r"10\.3\.0 is too old, expected 10\.12"):
        load_library("tensorrt")
    assert load_library("tensorrt_rtx").__version__ == "10.3.0"


def test_the_key_names_all_that_matters_and_nothing_else() -> None:
    record = PlanRecord(1, "b", "0" * 64, "tensorrt", "11.4", "sm90", BuildSpec(), "", 0, 0.0)
    assert plan_key(record) == plan_key(dataclasses.replace(record, seconds=9.0, bundle_id="c"))
    assert plan_key(record) != plan_key(dataclasses.replace(record, onnx_sha256="1" * 64))


def test_the_exported_bundle_builds_with_the_real_library(exported: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed")
    folder = cached_plan(load_library("tensorrt_rtx"), exported, tmp_path, BuildSpec())
    record = read_plan(folder)
    assert record.bytes == (folder / PLAN_FILE).stat().st_size > 10_000
