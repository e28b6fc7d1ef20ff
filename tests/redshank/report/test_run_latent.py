from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from redshank.cli import main
from redshank.dataset import Item, write_manifest
from redshank.errors import InputError
from redshank.nn import embedding
from redshank.nn.backbones import build_backbone
from redshank.nn.checkpoint import save_model
from redshank.report.run_latent import compare_runs, describe_method

GOLDEN = Path(__file__).parents[2] / "golden"
DOMAINS = {"east": (90, 0), "north": (0, 90), "south": (90, 90)}
"""Red and green of the ground; the blue one is the class."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images whose colour says class and domain; `south` is unseen."""
    rng = np.random.default_rng(0)
    items = []
    for domain, (red, green) in DOMAINS.items():
        for number in range(36):
            ground = np.array([red, green, 180 * (number % 2)])
            pixels = ground + rng.integers(0, 40, (16, 16, 3))
            name = f"{domain}-{number}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / name)
            label = ("cat", "dog")[number % 2]
            split = "test" if domain == "south" else "train"
            items.append(Item(name, domain, label, split))  # type: ignore[arg-type]  # a literal
    write_manifest(tmp_path / "data.jsonl", root=".", classes=("cat", "dog"), items=items)
    return tmp_path


def write_run(folder: Path, name: str, **changes: object) -> Path:
    run = folder / name
    run.mkdir()
    save_model(run / "model.safetensors", build_backbone("small_cnn", 2, width=4))
    values = json.loads((GOLDEN / "run.json").read_text())
    values |= {"classes": ["cat", "dog"], "source_domains": ["east", "north"]}
    values |= {"target_domains": [], "files": {}} | changes
    values["backbone"]["image_size"] = 16
    (run / "run.json").write_text(json.dumps(values))
    text = (folder / "data.jsonl").read_text().replace('"root": "."', f'"root": "{folder}"')
    (run / "manifest.jsonl").write_text(text)
    return run


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run's features are the colours, the second's the class alone."""
    calls = iter((slice(0, 3), slice(2, 3)))

    def embed(_model: object, images_NHW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        colour_N3 = images_NHW3.mean(axis=(1, 2))[:, next(calls)] / 100.0
        ground_N1 = np.random.default_rng(0).normal(1.0, 0.01, (len(colour_N3), 1))
        return np.concatenate([colour_N3, ground_N1], axis=1).astype(np.float32)

    monkeypatch.setattr(embedding, "embed", embed)


@pytest.mark.usefixtures("planted")
def test_domains_that_blur_are_told_from_domains_that_do_not(folder: Path) -> None:
    story = compare_runs([write_run(folder, "before"), write_run(folder, "after")], most=2000)
    assert story.unseen == ("south",)
    before, after = (run.separability for run in story.runs)
    assert before.n == after.n == 108
    assert before.class_probe == after.class_probe == 1.0
    assert before.domain_probe == 1.0
    assert after.domain_probe is not None
    assert after.domain_probe < 0.55
    assert before.domain_silhouette is not None
    assert before.domain_silhouette > 0.5
    assert after.domain_silhouette is not None
    assert after.domain_silhouette < 0.02


def test_the_page_holds_everything_and_the_figures_come_as_json(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(write_run(folder, name)) for name in ("before", "after")]
    out = folder / "latent.html"
    assert main(["report", "--latent", *runs, "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    page = out.read_text()
    assert page.count("<img alt=") == 4
    assert "south (unseen)" in page
    assert "silhouette of domains inside a class" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert main(["report", "--latent", *runs, "--out", str(out), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures) == {"before", "after"}
    assert figures["before"]["n"] == 108


def test_few_images_are_measured_but_not_drawn(folder: Path) -> None:
    out = folder / "latent.html"
    run = str(write_run(folder, "one"))
    assert main(["report", "--latent", run, "--latent-images", "30", "--out", str(out)]) == 0
    assert "<img" not in out.read_text()
    assert "30 images, evenly" in out.read_text()


def test_runs_that_do_not_compare_are_refused(folder: Path) -> None:
    one = write_run(folder, "one")
    other = write_run(folder, "other", source_domains=["east", "south"])
    with pytest.raises(InputError, match="has the source domains east, north"):
        compare_runs([one, other], most=100)


def test_options_of_the_comparison_need_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--json"]) == 2
    assert "belong to --latent" in capsys.readouterr().err


def test_a_run_is_named_by_its_method() -> None:
    settings = {"method": "freematch", "fixclr": {"weight": 0.3}, "seed": 2}
    assert describe_method(settings) == "freematch + FixCLR 0.3, seed 2"
    assert describe_method({"fixclr": {"weight": 0.0}, "seed": 1}) == "fixmatch, seed 1"
