"""The page that compares latent spaces of runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np

from redshank.files import Clock, rfc3339, write_atomic
from redshank.report import figures
from redshank.report.latent import FEWEST, lay_out
from redshank.report.run_latent import LatentStory, RunLatent
from redshank.separability import Separability, spread_images

TEMPLATE = "latent.html.j2"
DRAWN = 600
"""Images in a picture; more hide each other."""

ROWS = (
    ("class probe: accuracy, all domains", "class_probe", "{:.1%}"),
    ("class probe: fitted on seen, measured on unseen domains", "class_probe_unseen", "{:.1%}"),
    ("domain probe: accuracy", "domain_probe", "{:.1%}"),
    ("domain probe: what guessing reaches", "domain_chance", "{:.1%}"),
    ("silhouette of classes", "class_silhouette", "{:.3f}"),
    ("silhouette of domains inside a class", "domain_silhouette", "{:.3f}"),
)
"""Words, field of `Separability`, format."""


@dataclass(frozen=True)
class RunPanel:
    """What the page shows of one run."""

    name: str
    method: str
    separability: Separability
    by_class: str
    by_domain: str


def write_latent_page(story: LatentStory, out: Path, *, clock: Clock) -> None:
    """Draw every run and write one self-contained HTML file."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template(TEMPLATE).render(
        manifest=story.manifest,
        made_at=rfc3339(clock()),
        unseen=story.unseen,
        runs=[_panel(story, run) for run in story.runs],
        rows=[
            (words, [_shown(getattr(run.separability, name), form) for run in story.runs])
            for words, name, form in ROWS
        ],
    )
    write_atomic(out, html.encode())


def _panel(story: LatentStory, run: RunLatent) -> RunPanel:
    by_class = by_domain = ""
    if len(story.items) >= FEWEST:
        chosen = spread_images(story.items, DRAWN)
        feature_NE = run.feature_NE[chosen]
        length_N1 = np.linalg.norm(feature_NE, axis=1, keepdims=True)
        points_N2 = lay_out(feature_NE / np.maximum(length_N1, 1e-12))
        items = [story.items[place] for place in chosen]
        classes = [item.label or item.hidden_label for item in items]
        domains = [
            f"{item.domain} (unseen)" if item.domain in story.unseen else item.domain
            for item in items
        ]
        by_class = figures.scatter(points_N2, classes, "by class", of=run.name)
        by_domain = figures.scatter(points_N2, domains, "by domain", of=run.name)
    return RunPanel(run.name, run.method, run.separability, by_class, by_domain)


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
