"""Pages say what the code says: generated pages are fresh, links lead somewhere, blocks run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from redshank.cli import build_parser
from redshank.config import load_settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def _blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def _block(language: str, containing: str) -> str:
    return next(block for block in _blocks(language) if containing in block)


def test_generated_pages_are_what_the_code_says() -> None:
    result = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    lost = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert lost == []


def test_readme_shows_every_page() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [p.name for p in PAGES[1:] if f"docs/{p.name}" not in readme] == []


def _commands() -> list[str]:
    """Every `redshank ...` of the pages, without what a shell does with it."""
    pages = [page for page in PAGES if page.name != "cli.md"]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    found = re.findall(r"`(redshank [^`\n]+)`", text)
    for block in re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        found += re.findall(r"^(?:\w+=\$\()?(redshank .+)$", block, flags=re.MULTILINE)
    plain = (re.split(r"\s{3,}|\s#|\s&|[|>;\\]|\)$", command)[0] for command in found)
    return sorted({command.rstrip() for command in plain})


@pytest.mark.parametrize("command", _commands())
def test_commands_of_the_pages_are_commands(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.strip("[]") for word in shlex.split(command)[1:]]  # brackets: may be left out
    try:
        build_parser().parse_args(words)
    except SystemExit:
        problem = capsys.readouterr().err.splitlines()[-1]
        # prose names a verb without what it needs; a verb or option that is not there is wrong
        assert re.search(r"arguments are required|expected at least one argument", problem), problem


def test_readme_commands_are_make_targets() -> None:
    for line in _block("sh", "make demo").splitlines():
        target = line.split()[1]
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


def test_readme_settings_are_settings(tmp_path: Path) -> None:
    file = tmp_path / "redshank.toml"
    file.write_text(_blocks("toml")[0])
    assert load_settings(file, environment={}).training.image_size == 224


def test_readme_python_runs() -> None:
    for block in _blocks("python"):
        subprocess.run([sys.executable, "-c", block], check=True, cwd=ROOT)


def _photos(folder: Path) -> None:
    """Two small domains of two classes, and one unlabelled site."""
    rng = np.random.default_rng(0)
    for domain, colour in (("yard", (200, 60, 60)), ("gate", (60, 60, 200)), ("north", (9, 99, 9))):
        for number in range(64):
            image = Image.fromarray(rng.integers(0, 60, (40, 40, 3), dtype=np.uint8))
            shape = ("round", "square")[number % 2]
            draw = ImageDraw.Draw(image)
            box = tuple(int(v) for v in (4 + rng.integers(8), 4 + rng.integers(8), 30, 30))
            (draw.ellipse if shape == "round" else draw.rectangle)(box, fill=colour)
            place = folder / domain if domain == "north" else folder / domain / shape
            place.mkdir(parents=True, exist_ok=True)
            image.save(place / f"{number}.png")


def test_readme_goes_from_a_folder_of_images_to_predictions(tmp_path: Path) -> None:
    _photos(tmp_path / "photos")
    script = _block("sh", "redshank data scan").replace(". .venv/bin/activate\n", "")
    quick = {
        "REDSHANK_TRAINING__STEPS": "20",
        "REDSHANK_TRAINING__HELD_OUT_STEPS": "5",
        "REDSHANK_TRAINING__WIDTH": "8",
        "REDSHANK_TRAINING__THREADS": "1",
    }
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "redshank"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m redshank "$@"\n')
    program.chmod(0o755)
    bash = shutil.which("bash")
    assert bash is not None
    result = subprocess.run(
        [bash, "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={
            **os.environ,
            **quick,
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert len((tmp_path / "predictions.jsonl").read_text().splitlines()) == 192
    assert (tmp_path / "var" / "models" / "default" / "release.json").is_file()
