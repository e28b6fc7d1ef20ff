import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from redshank.cli import main


@pytest.fixture
def home(run_dir: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(run_dir, tmp_path / "runs" / run_dir.name)
    shutil.copytree(exported, tmp_path / "bundles" / exported.name)
    monkeypatch.setenv("REDSHANK_HOME__ROOT", str(tmp_path))
    monkeypatch.setenv("REDSHANK_EXPORT__MAX_BATCH", "16")
    return tmp_path


def test_run_by_id_to_bundle_on_the_last_line(
    home: Path, run_dir: Path, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", run_dir.name, "--parent-bundle", exported.name]) == 0
    printed = capsys.readouterr()
    folder = Path(printed.out.splitlines()[-1])
    assert folder.parent == home / "bundles"
    assert "batch of 16" in printed.err
    manifest = json.loads((folder / "bundle.json").read_text())
    assert manifest["provenance"]["parent_bundle"] == exported.name


@pytest.mark.usefixtures("home")
def test_json_holds_folder_and_manifest(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run_dir), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["provenance"]["run_id"] == run_dir.name
    assert Path(values["folder"]).name == values["bundle_id"]


@pytest.mark.usefixtures("home")
def test_plan_of_a_bundle_by_id(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed")
    arguments = ["export", exported.name, "--plan", "--library", "tensorrt_rtx", "--json"]
    assert main(arguments) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["spec"]["max_batch"] == 16
    assert (Path(values["folder"]) / "model.plan").stat().st_size == values["bytes"]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nothing"], 1, "holds no run"),
        (["nothing", "--library", "tensorrt"], 2, "--library goes with --plan"),
        (["nothing", "--precision", "fp16"], 2, "--set export.precision.further=fp16"),
        (["nothing", "--plan", "--parent-bundle", "x"], 2, "--parent-bundle is of a run"),
        (["nothing", "--plan", "--set", "export.max_batch=1"], 1, "max_batch is 1, expected 2 to"),
        (["RUN", "--parent-bundle", "nothing"], 1, "holds no bundle"),
        (["RUN", "--set", "export.model=No Name"], 1, "does not fit"),
        (["RUN", "--set", "export.tolerance=0"], 1, "does not answer as the network does"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str],
    status: int,
    message: str,
    run_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = [run_dir.name if a == "RUN" else a for a in arguments]
    assert main(["export", *named]) == status
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""


def test_sigterm_leaves_nothing_behind(
    home: Path, run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    before = sorted((home / "bundles").iterdir())
    monkeypatch.setattr("export.assemble.build_reference", stopped)
    assert main(["export", run_dir.name]) == 130
    assert "nothing half-done was published" in capsys.readouterr().err
    assert sorted((home / "bundles").iterdir()) == before
