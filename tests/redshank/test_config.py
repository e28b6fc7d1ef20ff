from __future__ import annotations

from pathlib import Path

import pytest

from redshank.config import load_settings
from redshank.errors import ConfigError
from redshank.settings import Settings


def _load(path: Path | None = None, **keywords: object) -> Settings:
    return load_settings(path, environment={}, **keywords)  # type: ignore[arg-type]  # overrides only


def test_later_source_wins(tmp_path: Path) -> None:
    file = tmp_path / "redshank.toml"
    file.write_text('[training]\nsteps = 10\nseed = 3\n[home]\nroot = "elsewhere"\n')
    settings = load_settings(
        file,
        overrides=["training.seed=5", "serving.capture_domains=a, b"],
        environment={"REDSHANK_TRAINING__SEED": "4", "REDSHANK_TRAINING__FIXCLR__WEIGHT": "0.25"},
    )
    assert (settings.training.steps, settings.training.seed) == (10, 5)
    assert settings.training.fixclr.weight == 0.25
    assert settings.serving.capture_domains == ("a", "b")
    assert settings.home.path("runs") == Path("elsewhere/runs")


def test_database_urls_default_to_files_in_root(tmp_path: Path) -> None:
    settings = _load(overrides=[f"home.root={tmp_path}", "home.control_url=postgresql://db/x"])
    assert settings.home.monitor_database == f"sqlite:///{tmp_path}/monitor.db"
    assert settings.home.control_database == "postgresql://db/x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training.fixmatch]\ntresholds = 1", "unknown key 'tresholds' in [training.fixmatch]"),
        ("[training.fixmatch]\nthreshol = 1", "Did you mean 'threshold'?"),
        ("[trainin]\nsteps = 1", "unknown key 'trainin'. Did you mean 'training'?"),
        ('[training]\nsteps = "many"', "steps: expected a whole number, found 'many'"),
        ('[training]\ndevice = "tpu"', "'tpu' is none of"),
        ("[training", "is not TOML"),
    ],
)
def test_wrong_file_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "redshank.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        _load(file)
    assert message in str(error.value)
    assert str(file) in str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.steps", "expected section.key=value"),
        ("training.step=3", "unknown key 'step'. Did you mean 'steps'?"),
        ("training.steps=x", "--set training.steps: expected a whole number, found 'x'"),
        ("training.fixclr.weight=x", "expected a number, found 'x'"),
        ("training.prefetch=x", "'x' is none of"),
        ("serving.trace=x", "unknown key 'trace'"),
        ("steps=3", "unknown key 'steps'. Did you mean training.steps or "),
        ("root=var", "unknown key 'root'. Did you mean home.root?"),
        ("home=var", "a section, expected one of its keys: root, monitor_url"),
        ("training.steps.more=1", "unknown key 'more'"),
        ("training.steps=1.5", "--set training.steps: expected a whole number, found 1.5"),
        ("training.method=foo", "--set training.method: 'foo' is none of 'fixmatch'"),
    ],
)
def test_wrong_override_is_one_clear_error(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        _load(overrides=[override])
    assert message in str(error.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        _load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"other\.toml does not exist"):
        load_settings(environment={"REDSHANK_CONFIG": str(tmp_path / "other.toml")})
