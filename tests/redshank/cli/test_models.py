import json
from pathlib import Path

import pytest

from redshank.cli import main
from tests.colour_bundle import write_colour_bundle

FIRST, SECOND = "20261122T090000-aaaaaa", "20261122T100000-bbbbbb"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for bundle_id in (FIRST, SECOND):
        write_colour_bundle(tmp_path / "bundles" / bundle_id)
    monkeypatch.setenv("REDSHANK_HOME__ROOT", str(tmp_path))
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    capsys.readouterr()
    assert main(["models", "show", "default", "--json"]) == 0
    release = json.loads(capsys.readouterr().out)["release"]
    assert isinstance(release, dict)
    return release


def test_publish_and_rollback(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "publish", FIRST, "--reason", "start", "--actor", "mia"]) == 0
    assert main(["models", "publish", str(home / "bundles" / SECOND)]) == 0
    assert shown(capsys)["live"] == SECOND
    assert main(["models", "rollback", "default"]) == 0
    release = shown(capsys)
    assert (release["live"], release["previous"], release["revision"]) == (FIRST, SECOND, 3)
    assert main(["models", "show", "default"]) == 0
    assert "mia  start" in capsys.readouterr().out


def test_list(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    main(["models", "publish", FIRST])
    main(["models", "shadow", "default", SECOND])
    capsys.readouterr()
    assert main(["models", "list"]) == 0
    assert capsys.readouterr().out == f"default  r2  live {FIRST}  shadow {SECOND}\n"
    assert home.is_dir()


@pytest.mark.usefixtures("home")
def test_shadow_and_canary_start_and_end(capsys: pytest.CaptureFixture[str]) -> None:
    main(["models", "publish", FIRST])
    assert main(["models", "shadow", "default", SECOND]) == 0
    canary = ["models", "canary", "default", SECOND, "--domains", "reef, dock", "--share", "0.5"]
    assert main(canary) == 0
    release = shown(capsys)
    assert release["shadow"] == SECOND
    assert release["canary"] == {"bundle": SECOND, "domains": ["reef", "dock"], "share": 0.5}
    assert main(["models", "shadow", "default"]) == 0
    assert main(["models", "canary", "default"]) == 0
    release = shown(capsys)
    assert (release["shadow"], release["canary"]) == (None, None)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["publish", "20200101T000000-ffffff"], 1, "holds no bundle"),
        (["publish", "/elsewhere/20261122T090000-aaaaaa"], 2, "does not lie in"),
        (["rollback", "default"], 1, "has no release"),
        (["show", "default"], 1, "has no release"),
        (["rollback", "No Name"], 1, "does not fit"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", *arguments]) == status
    assert message in capsys.readouterr().err


def test_a_changed_bundle_is_not_published(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = home / "bundles" / FIRST / "model.onnx"
    model.write_bytes(model.read_bytes() + b"\0")
    assert main(["models", "publish", FIRST]) == 1
    assert "sha256" in capsys.readouterr().err
    assert not (home / "models" / "default" / "release.json").exists()
