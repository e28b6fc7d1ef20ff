from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from redshank import __version__
from redshank.cli import VERBS, main
from redshank.cli.doctor import examine
from redshank.settings import Settings

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([verb, "--help"])
    assert f"usage: redshank {verb}" in capsys.readouterr().out


def test_version_and_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"redshank {__version__}\n"
    with pytest.raises(SystemExit, match="2"):
        main(["trian"])
    assert "trian" in capsys.readouterr().err


def test_user_errors_are_one_sentence_and_a_next_step(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["train", str(tmp_path / "none.jsonl")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("redshank: manifest ")
    assert "redshank data scan" in error
    assert "Traceback" not in error


def test_bad_setting_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--set", "training.stepz=1"]) == 1
    assert "Did you mean 'steps'?" in capsys.readouterr().err


@pytest.mark.parametrize("place", [0, 1, 2])
def test_settings_may_stand_anywhere(
    place: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["models", "list"]
    arguments[place:place] = ["--set", f"home.root={tmp_path / 'here'}", "--set", "home.rot=1"]
    assert main(arguments) == 1
    assert "unknown key 'rot'. Did you mean 'root'?" in capsys.readouterr().err
    del arguments[place + 2 : place + 4]
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_doctor_finds_this_checkout_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    findings = {row["subject"]: row for row in json.loads(capsys.readouterr().out)}
    assert findings["stage serving"]["level"] == "ok"
    assert findings["onnxruntime"]["level"] == "ok"


def test_doctor_says_when_both_runtimes_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1", "tensorrt": "11.4.0"}
    monkeypatch.setattr("redshank.cli.doctor._version", versions.get)
    monkeypatch.setattr("redshank.cli.doctor.linked_tensorrt", lambda: "10")
    found = {finding.subject: finding for finding in examine(Settings())}
    assert found["onnxruntime"].level == "missing"
    assert "overwrite each other" in found["onnxruntime"].sentence
    assert "links TensorRT 10" in found["tensorrt"].sentence


def test_library_alone_says_that_stages_are_elsewhere(tmp_path: Path) -> None:
    """A wheel has only `redshank`: a verb that needs a stage must say so, without a traceback."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "redshank").symlink_to(ROOT / "redshank")
    packages = [path for path in sys.path if path.endswith("site-packages")]
    code = (
        f"import sys; sys.path[:0] = {[str(tmp_path / 'site'), *packages]!r}; "
        "from redshank.cli import main; raise SystemExit(main(['watch', '--once']))"
    )
    result = subprocess.run(  # without site, so that the checkout's .pth file is not read
        [sys.executable, "-I", "-S", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "the stage 'monitoring' is not here" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("number", "step"),
    [(errno.EACCES, "Give this user the right"), (errno.ENOSPC, "Free some space")],
)
def test_errors_of_the_system_have_a_next_step(
    number: int,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number), "/data/place")

    monkeypatch.setattr("redshank.cli.doctor.run", refuse)
    assert main(["doctor"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"redshank: /data/place: {os.strerror(number)}"
    assert second.strip().startswith(step)
