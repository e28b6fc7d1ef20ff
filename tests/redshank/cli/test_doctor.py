from __future__ import annotations

import importlib.metadata
import json
import re
import tomllib
from pathlib import Path

import pytest

from redshank.cli import doctor, main
from redshank.cli.doctor import EXTRAS

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDSHANK_HOME__ROOT", str(tmp_path / "var"))


def findings(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    return {row["subject"]: row for row in json.loads(capsys.readouterr().out)}


def test_it_looks_for_what_the_extras_install() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra, packages in EXTRAS.items():
        declared = project["optional-dependencies"][extra]
        names = {re.split(r"[<>=\[]", text)[0] for text in declared} - {"redshank"}
        asked = {name for name in names if not name.startswith("fontpkg-")}
        inherited = {name for other in EXTRAS for name in EXTRAS[other] if other != extra}
        assert asked <= set(packages) | inherited, extra
        assert set(packages) <= asked, extra


def test_a_whole_machine(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["doctor", "--json"]) == 0
    found = findings(capsys)
    assert found["stage retraining"]["level"] == "ok"
    assert str(tmp_path) in found["home"]["sentence"]
    assert not (tmp_path / "var").exists(), "a look changes nothing"
    assert main(["doctor"]) == 0
    assert "stage retraining" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("installed", "sentence"),
    [
        ({"onnxruntime": "1.0", "onnxruntime-gpu": "1.1"}, "overwrite each other's files"),
        ({}, "install the extra cpu or gpu"),
    ],
)
def test_what_a_stage_cannot_do_without_is_status_3(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    installed: dict[str, str],
    sentence: str,
) -> None:
    def version(package: str) -> str:
        if package not in installed:
            raise importlib.metadata.PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr("importlib.metadata.version", version)
    assert main(["doctor", "--json"]) == 3
    found = findings(capsys)
    assert (found["onnxruntime"]["level"], found["extra watch"]["level"]) == ("missing", "note")
    assert sentence in found["onnxruntime"]["sentence"]
    assert "jinja2 missing" not in found["extra train"]["sentence"]
    assert "jinja2" in found["extra watch"]["sentence"]


def test_the_tensorrt_that_onnxruntime_links_is_read_from_its_library(tmp_path: Path) -> None:
    assert doctor.linked_tensorrt(tmp_path) is None
    library = tmp_path / "libonnxruntime_providers_tensorrt.so"
    library.write_bytes(b"\x7fELF\0libcudart.so.13\0libnvinfer.so.10\0libnvonnxparser.so.10\0")
    assert doctor.linked_tensorrt(tmp_path) == "10"


def tensorrt_findings(
    monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], engine: str = "onnxruntime"
) -> dict[str, doctor.Finding]:
    monkeypatch.setattr(doctor, "_version", versions.get)
    monkeypatch.setattr(doctor, "linked_tensorrt", lambda: "10")
    return {f.subject: f for f in doctor._tensorrt(engine)}


@pytest.mark.parametrize(
    ("package", "version", "level", "sentence"),
    [
        (
            "tensorrt-cu13",
            "11.4.0.106",
            "note",
            "11.4.0.106 does not fit onnxruntime-gpu 1.31.1, which links TensorRT 10",
        ),
        ("tensorrt-cu12", "11.0.0", "note", "does not fit"),
        ("tensorrt", "10.3.0", "note", "10.3.0 is too old for plans, from 10.12 on"),
        ("tensorrt", "10.16.1.11", "ok", "10.16.1.11"),
    ],
)
def test_tensorrt_fits_onnxruntime_and_redshank(
    monkeypatch: pytest.MonkeyPatch, package: str, version: str, level: str, sentence: str
) -> None:
    found = tensorrt_findings(monkeypatch, {"onnxruntime-gpu": "1.31.1", package: version})
    assert found["tensorrt"].level == level
    assert sentence in found["tensorrt"].sentence
    assert "serving.engine" not in found


def test_an_engine_that_is_set_and_cannot_run_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    found = tensorrt_findings(monkeypatch, {}, "tensorrt")["serving.engine"]
    assert "tensorrt and cuda-bindings missing, so ONNX Runtime answers" in found.sentence
    versions = {"tensorrt-rtx-cu13": "1.7.1"}
    found = tensorrt_findings(monkeypatch, versions, "tensorrt")["serving.engine"]
    assert "tensorrt is set, cuda-bindings missing" in found.sentence
    versions["cuda-bindings"] = "13.5.0"
    assert tensorrt_findings(monkeypatch, versions, "tensorrt") == {}
