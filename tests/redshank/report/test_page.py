import json
import re
from pathlib import Path

import numpy as np
import pytest

from redshank.cells import NUM_CONFIDENCE_BINS, NUM_NOVELTY_BINS
from redshank.cli import main
from redshank.records import from_dict
from redshank.registry import Release
from redshank.report import page
from redshank.report.collect import collect
from redshank.report.figures import before_after, held_accuracy, scatter
from redshank.report.page import write_report
from redshank.run import DomainMetrics, HistoryRow, Run
from redshank.settings import Home
from redshank.store.control import open_control
from redshank.store.monitor import TickWrite, open_monitor
from redshank.store.monitor_rows import Alarm, Evidence, StreamKey, StreamRow, Window
from redshank.trigger import make_trigger

GOLDEN = Path(__file__).parents[2] / "golden"
BUNDLE = "20261122T091500-7f3a01"
KEY = StreamKey("default", BUNDLE, "ramp")


def golden(name: str) -> dict[str, object]:
    values: dict[str, object] = json.loads((GOLDEN / f"{name}.json").read_text())
    return values


def write_run_folder(home: Path) -> None:
    run = from_dict(Run, golden("run"), source="golden")
    folder = home / "runs" / run.run_id
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(golden("run")))
    rows = [HistoryRow(step, 2.0, 1.0, 0.7, 0.1, 0.5, 0.9, 0.03, 500.0) for step in (50, 100)]
    lines = [json.dumps(row.__dict__) for row in rows]
    (folder / "history.jsonl").write_text("\n".join(lines))


def write_release(home: Path) -> None:
    values = golden("release") | {"live": BUNDLE, "revision": 1, "model": "default"}
    from_dict(Release, values, source="golden")
    folder = home / "models" / "default"
    (folder / "history").mkdir(parents=True)
    for path in (folder / "release.json", folder / "history" / "1.json"):
        path.write_text(json.dumps(values))


def window(tick: int, confidence: float, evidence: float) -> Window:
    return Window(
        key=KEY,
        tick=tick,
        at_s=float(tick),
        events=40,
        errors=0,
        scenes=40,
        cells_CZ=np.ones((2, NUM_CONFIDENCE_BINS)),
        novelty_Q=np.ones(NUM_NOVELTY_BINS),
        mean_confidence=confidence,
        absolute=None,
        relative=Evidence(evidence, evidence, 5.0) if tick > 1 else None,
        state="healthy" if evidence < 5 else "degraded",
    )


def write_monitor(home: Home) -> None:
    sentence = "mean confidence fell from 0.98 to 0.52 <of course>"
    alarm = Alarm(
        alarm_id="a1",
        key=KEY,
        kind="degraded",
        cause="look",
        reference="relative",
        onset_s=2.0,
        raised_tick=3,
        raised_s=3.0,
        evidence=Evidence(9.0, 9.0, 5.0),
        images_since_onset=61,
        scenes_since_onset=61,
        sentence=sentence,
        trigger=None,
    )
    stream = StreamRow(KEY, 3, 3.0, "degraded", sentence, {}, {})
    windows = (window(1, 0.98, 0.0), window(2, 0.97, 0.5), window(3, 0.52, 9.0))
    store = open_monitor(home.monitor_database)
    store.commit(TickWrite(3, windows=windows, streams=(stream,), alarms=(alarm,)))
    store.engine.dispose()


def write_control(home: Home) -> None:
    trigger = make_trigger(
        kind="alarm",
        model="default",
        domains=["ramp"],
        onset_at_s=2.0,
        created_at_s=4.0,
        actor="evaluator",
        evidence={},
    )
    store = open_control(home.control_database, clock=lambda: 5.0)
    store.add_trigger(trigger)
    healing = store.healings()[0]
    store.transition(healing, "vetoed", reason="too few images", actor="loop", lease=None)
    store.close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(root=str(tmp_path / "var"))
    write_run_folder(Path(home.root))
    write_release(Path(home.root))
    write_monitor(home)
    write_control(home)
    return home


def test_the_page_tells_the_whole_story_in_one_file(home: Home, tmp_path: Path) -> None:
    summary = tmp_path / "summary.json"
    summary.write_text('{"accuracy_before": 0.81, "accuracy_after": 0.95, "failed_requests": 0}')
    story = collect(home, model="default", summary_file=summary)
    out = tmp_path / "report.html"
    write_report(story, out, latent_images=0, clock=lambda: 0.0)
    html = out.read_text()
    assert "1970-01-01T00:00:00.000Z" in html
    assert "20261122T090000-4f1c9a" in html
    assert BUNDLE in html
    assert "fell from 0.98 to 0.52 &lt;of course&gt;" in html
    assert '<td class="number">61</td>' in html
    assert "too few images" in html
    assert '<tr><th scope="row">requests that failed</th><td>0</td></tr>' in html
    assert html.count("<svg") == 4  # curves, accuracy, evidence, before and after
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids)) > 0
    used = re.findall(r'(?:url\(#|href="#)([^")]+)', html)
    assert set(used) <= set(ids)
    assert html.count('role="img" aria-label="') == 4
    assert 'aria-label="Accuracy before 81.0%, after 95.0%"' in html


def test_another_models_monitoring_stays_out(home: Home) -> None:
    story = collect(home, model="other")
    assert (story.windows, story.streams, story.alarms, story.releases) == ((), (), (), ())
    assert len(story.runs) == 1


def test_an_empty_home_still_gives_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "nothing"
    assert main(["report", "--set", f"home.root={root}"]) == 0
    assert capsys.readouterr().out.strip() == str(root / "report.html")
    assert "Nothing was trained or released here yet" in (root / "report.html").read_text()


def test_a_damaged_run_becomes_a_note(home: Home) -> None:
    path = next(Path(home.root).glob("runs/*/run.json"))
    path.write_text('{"schema": 99}')
    story = collect(home, model="default")
    assert story.runs == ()
    assert "schema 99" in story.notes[0]


def test_same_figures_twice(home: Home, tmp_path: Path) -> None:
    pages = []
    for name in ("a.html", "b.html"):
        story = collect(home, model="default")
        write_report(story, tmp_path / name, latent_images=0, clock=lambda: 0.0)
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]


def test_scatter_is_a_png_with_its_title() -> None:
    points = np.random.default_rng(0).normal(size=(30, 2))
    image = scatter(points, ["a", "b", "<c>"] * 10, "by class", of="b-1")
    alt = "Embeddings of b-1 in the plane, by class: &lt;c&gt;, a, b"
    assert image.startswith(f'<img alt="{alt}" src="data:image/png;base64,iVBOR')


def test_a_bundle_that_is_gone_becomes_a_note(home: Home, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    write_report(collect(home, model="default"), out, latent_images=10, clock=lambda: 0.0)
    assert f"latent space of {BUNDLE}: " in out.read_text()


def test_too_few_images_for_the_latent_space_become_a_note(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "latent_space", lambda *_arguments, **_named: None)
    out = tmp_path / "report.html"
    write_report(collect(home, model="default"), out, latent_images=10, clock=lambda: 0.0)
    assert f"latent space of {BUNDLE}: too few images" in out.read_text()


def test_a_damaged_control_database_becomes_a_note(home: Home) -> None:
    home.path("control.db").write_bytes(b"no database" * 100)
    story = collect(home, model="default")
    assert (story.triggers, len(story.runs)) == ((), 1)
    assert story.notes[0].startswith("control: ")


def test_names_of_domains_are_no_formulas() -> None:
    assert r"$\nothing$" in before_after({r"$\nothing$": 0.5, "after": 0.6})


def test_accuracy_is_the_test_split_s_where_there_is_one() -> None:
    rows = [("a", "test", 0.8), ("a", "train", 0.99), ("a", "val", 0.9), ("b", "val", 0.7)]
    metrics = [
        DomainMetrics(domain, "source", split, 10, accuracy, None, None, None)
        for domain, split, accuracy in rows
    ]
    metrics.append(DomainMetrics("c", "target", "train", 10, None, None, None, None))
    assert held_accuracy(metrics) == {"a": 0.8, "b": 0.7}
