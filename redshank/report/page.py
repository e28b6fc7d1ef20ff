"""The page: figures and tables of a story in one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from redshank.errors import RedshankError
from redshank.files import Clock, rfc3339, write_atomic
from redshank.report import figures
from redshank.report.collect import RunStory, Story
from redshank.report.latent import Latent, latent_space
from redshank.report.wording import summary_rows, words

TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class DomainPanel:
    """What the page shows of one domain."""

    domain: str
    state: str
    sentence: str
    images: int
    figure: str


@dataclass(frozen=True)
class LatentPanel:
    """Latent space of one bundle."""

    bundle: str
    by_class: str
    by_domain: str


def write_report(story: Story, out: Path, *, latent_images: int, clock: Clock) -> None:
    """Draw everything and write the file.

    Args:
        story: what to show.
        out: the HTML file.
        latent_images: images a domain in the latent space; 0 leaves it out.
        clock: time printed on the page.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = words
    notes = list(story.notes)
    html = environment.get_template(TEMPLATE).render(
        story=story,
        made_at=rfc3339(clock()),
        curves=[(run.folder.name, figures.training_curves(run)) for run in _with_history(story)],
        accuracy=figures.accuracy_bars(story.runs) if _any_accuracy(story.runs) else "",
        latents=_latent_panels(story, latent_images, notes) if latent_images else [],
        domains=_domain_panels(story),
        healing_figure=_before_after(story),
        summary_rows=summary_rows(story.summary),
        notes=notes,
    )
    write_atomic(out, html.encode())


def _with_history(story: Story) -> list[RunStory]:
    return [run for run in story.runs if run.history]


def _any_accuracy(runs: Sequence[RunStory]) -> bool:
    return any(metric.accuracy is not None for run in runs for metric in run.run.metrics)


def _domain_panels(story: Story) -> list[DomainPanel]:
    panels = []
    for domain in sorted({window.key.domain for window in story.windows}):
        windows = [window for window in story.windows if window.key.domain == domain]
        now = [stream for stream in story.streams if stream.key.domain == domain][-1:]
        panels.append(
            DomainPanel(
                domain=domain,
                state=now[0].state if now else "",
                sentence=now[0].sentence if now else "",
                images=sum(window.events for window in windows),
                figure=figures.drift_evidence(domain, windows, story.alarms),
            )
        )
    return panels


def _latent_panels(story: Story, per_domain: int, notes: list[str]) -> list[LatentPanel]:
    """The first and the last bundle that was live; one that is gone becomes a note."""
    bundles = list(dict.fromkeys(release.live for release in story.releases))
    manifests = _manifests(story)
    panels = []
    for bundle in dict.fromkeys([*bundles[:1], *bundles[-1:]]):
        folder = story.home / "bundles" / bundle
        try:
            latent = latent_space(folder, manifests, per_domain=per_domain)
        except RedshankError as error:
            notes.append(f"latent space of {bundle}: {error.message}")
            continue
        if latent is None:
            notes.append(f"latent space of {bundle}: too few images of the last run are here")
        else:
            panels.append(_latent_panel(bundle, latent))
    return panels


def _manifests(story: Story) -> list[Path]:
    """The last run's data: it holds the first one's and the field images of a healing."""
    paths = [run.folder / "manifest.jsonl" for run in story.runs]
    return [path for path in paths if path.is_file()][-1:]


def _latent_panel(bundle: str, latent: Latent) -> LatentPanel:
    return LatentPanel(
        bundle,
        figures.scatter(latent.points_N2, latent.classes, "by class", of=bundle),
        figures.scatter(latent.points_N2, latent.domains, "by domain", of=bundle),
    )


def _before_after(story: Story) -> str:
    before, after = (story.summary.get(f"accuracy_{when}") for when in ("before", "after"))
    if before is None or after is None:
        return ""
    return figures.before_after({"before": float(before), "after": float(after)})
