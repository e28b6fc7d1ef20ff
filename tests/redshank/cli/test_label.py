from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from redshank.bundle import read_bundle
from redshank.cli import main
from redshank.events import EventWriter
from redshank.fieldstore import FieldStore
from redshank.files import sha256_file
from redshank.store.control import open_control
from redshank.store.monitor import TickWrite, open_monitor
from redshank.store.monitor_rows import StreamKey
from tests.colour_bundle import write_colour_bundle
from tests.examples import make_event
from tests.monitoring.alarms import make_alarm

A, B, C, D = "a" * 64, "b" * 64, "c" * 64, "d" * 64


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REDSHANK_HOME__ROOT", str(tmp_path / "var"))
    return tmp_path / "var"


def publish(home: Path) -> tuple[str, ...]:
    """A live model; returns its classes."""
    bundle = write_colour_bundle(home / "bundles" / "20261122T090000-aaaaaa")
    assert main(["models", "publish", bundle.name]) == 0
    return read_bundle(bundle).classes


def labels_file(tmp_path: Path, *lines: str) -> str:
    file = tmp_path / "labels.csv"
    file.write_text("\n".join(["image_sha256,label", *lines]) + "\n")
    return str(file)


def keep(home: Path, *digests: str, domain: str = "pier") -> None:
    """Field images of a domain."""
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, "PNG")
    for number, digest in enumerate(digests):
        FieldStore(home / "field").add(
            domain, data.getvalue(), sha256=digest, received_at=1e9 + number, client=f"c{number}",
            sequence_id="", dhash="", confidence=0.5, novelty=0.5,
        )  # fmt: skip


def test_import_twice(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = labels_file(tmp_path, f"{A},gull", f"{B},tern")
    assert main(["label", "import", file, "--json", "--actor", "ann"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"new": 2, "changed": 0, "same": 0, "empty": 0, "deleted": 0, "unknown": 0}
    file = labels_file(tmp_path, f"{A.upper()},tern", f"{B},", f"{A},tern")
    assert main(["label", "import", file, "--picked"]) == 0
    told_err = capsys.readouterr().err
    assert "0 new, 1 changed, 0 known before; 1 without a label yet" in told_err
    assert "1 lines that repeat another one" in told_err
    store = open_control(f"sqlite:///{home}/control.db")
    assert store.labels([A, B]) == {A: "tern", B: "tern"}
    row = store.audit()[-1]
    assert (row.action, row.subject) == ("labels", sha256_file(Path(file)))
    assert store.verify_audit() == 2
    assert [given.is_sample for given in store.labels_given()] == [True, False]


def test_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label", "import", str(tmp_path / "none.csv")]) == 1
    assert "none.csv" in capsys.readouterr().err


def test_a_label_that_is_no_class_stops_the_import_unless_it_is_wanted(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = publish(home)[0]
    file = labels_file(tmp_path, f"{A},{known}", f"{B},{known}s")
    assert main(["label", "import", file]) == 1
    assert f"'{known}s' (1 image. Did you mean {known!r}?)" in capsys.readouterr().err
    store = open_control(f"sqlite:///{home}/control.db")
    assert store.labels([A, B]) == {}
    assert store.labels_given() == ()
    assert main(["label", "import", file, "--model", "defualt"]) == 1  # no way around the check
    assert (
        "no model 'defualt' was released here. Did you mean 'default'?" in capsys.readouterr().err
    )
    assert main(["label", "import", file, "--other-classes"]) == 0
    assert store.labels([A, B]) == {A: known, B: f"{known}s"}


def test_images_that_are_unknown_or_deleted_are_told(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(home, A, B)
    assert main(["label", "import", labels_file(tmp_path, f"{C},gull")]) == 1
    err = capsys.readouterr().err
    assert "none of the 1 images" in err
    assert "sha256sum" in err
    FieldStore(home / "field").delete(B)
    with EventWriter(home / "spool", "w0") as writer:
        writer.append([make_event(image_sha256=D)])
    file = labels_file(tmp_path, *(f"{digest},gull" for digest in (A, B, C, D)))
    assert main(["label", "import", file]) == 0
    err = capsys.readouterr().err
    assert "3 new" in err
    assert "1 deleted meanwhile" in err
    assert "1 of images that were neither answered nor kept here" in err
    store = open_control(f"sqlite:///{home}/control.db")
    assert set(store.labels([A, B, C, D])) == {A, C, D}


@pytest.mark.parametrize("name", ["queue.csv", "queue"])
def test_a_queue_is_imported_as_it_was_written(
    name: str, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes, out = publish(home), tmp_path / name
    keep(home, A, B, C)
    command = ["label", "queue", "--domain", "pier", "--images", "2", "--out", str(out), "--json"]
    capsys.readouterr()
    assert main(command) == 0
    captured = capsys.readouterr()
    (drawn,) = json.loads(captured.out)
    assert f"redshank label import {out}" in captured.err
    assert (len(drawn["images"]), drawn["labelled"]) == (2, 0)
    first, second = drawn["images"]
    if out.suffix:
        out.write_text(out.read_text().replace(f"{first},,", f"{first},{classes[0]},"))
    else:
        (out / f"{first}.png").rename(out / classes[0] / f"{first}.png")
    assert main(["label", "import", str(out)]) == 0
    assert "1 new, 0 changed, 0 known before; 1 without a label yet" in capsys.readouterr().err
    command[-2] = str(tmp_path / "second.csv")
    assert main(command) == 0
    (drawn,) = json.loads(capsys.readouterr().out)
    assert (drawn["images"], drawn["labelled"]) == ([second], 1)


def test_a_queue_without_images_says_what_to_do(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "queue.csv")]
    assert main(["label", "queue", "--domain", "pier", *out]) == 1
    assert "off by default" in capsys.readouterr().err
    assert main(["label", "queue", *out]) == 1
    assert "does not exist" in capsys.readouterr().err
    open_monitor(home / "monitor.db")
    assert main(["label", "queue", *out]) == 1
    assert "no domain of model 'default' has an open alarm" in capsys.readouterr().err
    assert main(["label", "queue", "--images", "0", *out]) == 1
    assert "expected 1 to 1000" in capsys.readouterr().err
    assert not (tmp_path / "queue.csv").exists()


def test_a_domain_that_is_misspelt(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(home, A)
    command = ["label", "queue", "--domain", "peir", "--out", str(tmp_path / "q.csv")]
    assert main(command) == 1
    assert "nothing is known of domain 'peir'. Did you mean 'pier'?" in capsys.readouterr().err


def test_every_domain_with_an_open_alarm_has_a_queue(
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    keep(home, A, B)
    alarms = (
        make_alarm(onset_s=1e9 + 0.5),
        make_alarm(alarm_id="2-b", key=StreamKey("default", "b1", "quay")),
    )
    open_monitor(home / "monitor.db").commit(TickWrite(tick=1, alarms=alarms))
    monkeypatch.setenv("REDSHANK_SERVING__CAPTURE_DOMAINS", '["pier", "quay"]')
    assert main(["label", "queue", "--out", str(tmp_path / "q.csv")]) == 0
    err = capsys.readouterr().err
    assert "pier: 0 of 50 labelled, 1 drawn" in err
    assert "quay: no image of 'quay' is kept yet; serving.capture_domains names it" in err
    assert B in (tmp_path / "q.csv").read_text()
