from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from redshank.errors import ConfigError, UsageError
from redshank.settings import TrainingSettings
from training.bench.variants import AS_ASKED, BUILT_IN, choose_variants, read_variants

BASE = dataclasses.replace(TrainingSettings(), steps=77)


def written(tmp_path: Path, text: str) -> dict[str, dict[str, object]]:
    path = tmp_path / "variants.toml"
    path.write_text(text)
    return read_variants(path)


def test_built_in_methods_start_from_the_settings() -> None:
    for variant in choose_variants(list(BUILT_IN), {}, BASE):
        assert variant.settings.steps == 77
        assert (variant.settings.fixclr.weight > 0) == variant.name.endswith("+fixclr")
    supervised, full = choose_variants(["supervised", "supervised-all-labels"], {}, BASE)
    assert full.settings == supervised.settings
    (soft,) = choose_variants(["softmatch+fixclr"], {}, BASE)
    assert (supervised.settings.method, soft.settings.method) == ("supervised", "softmatch")
    assert (supervised.labels_per_class, full.labels_per_class) == (AS_ASKED, None)


def test_a_variant_changes_its_base(tmp_path: Path) -> None:
    own = written(
        tmp_path,
        """
        [variants.hot]
        base = "fixmatch+fixclr"
        "training.fixclr.weight" = 0.4
        training.fixmatch.threshold = 0.9
        [variants.hotter]
        base = "hot"
        labels_per_class = 5
        [variants.hotter.training.fixclr]
        weight = 0.8
        """,
    )
    hotter, hot = choose_variants(["hotter", "hot", "hot"], own, BASE)
    assert (hot.settings.fixclr.weight, hot.settings.fixmatch.threshold) == (0.4, 0.9)
    assert (hotter.settings.fixclr.weight, hotter.settings.fixmatch.threshold) == (0.8, 0.9)
    assert (hotter.labels_per_class, hot.labels_per_class) == (5, AS_ASKED)
    assert hotter.settings.steps == 77


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[variants.a]\n"training.stepz" = 1',
            "unknown key 'training.stepz'. Did you mean 'steps'",
        ),
        ('[variants.a]\n"training.fixclr.x" = 1', "unknown key 'training.fixclr.x'"),
        ('[variants.a]\n"training.fixclt.weight" = 1', "no section 'training.fixclt'. Did you"),
        ('[variants.a]\n"training.steps" = "many"', "expected a whole number, found 'many'"),
        ('[variants.a]\n"serving.port" = 1', "unknown key 'serving.port'"),
        ("[variants.a]\nlabels_per_class = 0", "labels_per_class is 0"),
        ('[variants.a]\nbase = "fixmach"', "base 'fixmach' is unknown. Did you mean 'fixmatch'"),
        ('[variants.a]\nbase = "b"\n[variants.b]\nbase = "a"', "a -> b -> a is a circle"),
    ],
)
def test_a_bad_variant_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    own = written(tmp_path, text)
    with pytest.raises(ConfigError, match=message):
        choose_variants(["a"], own, BASE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training]\nsteps = 1", "unknown key 'training'"),
        ("[variants]\na = 1", "variants.a is 1, expected a table"),
        ("[variants.fixmatch]", "variants.fixmatch is built in"),
        ("x = ", "is not TOML"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        written(tmp_path, text)


def test_unknown_methods_are_named() -> None:
    with pytest.raises(UsageError, match=r"'fixmach' is unknown\. Did you mean 'fixmatch'"):
        choose_variants(["fixmach"], {}, BASE)
    with pytest.raises(ConfigError, match="does not exist"):
        read_variants(Path("none.toml"))
