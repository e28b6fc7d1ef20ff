from __future__ import annotations

from pathlib import Path

import pytest

from monitoring.event_table import export_events
from redshank.cli import main
from redshank.errors import InputError
from redshank.events import Event, iter_spool
from tests.monitoring.field import START, Site, write_spool

parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")


def test_exports_that_follow_each_other_hold_every_event_once(tmp_path: Path) -> None:
    written = write_spool(tmp_path / "spool", [Site("home"), Site("fog")], 6)
    counts, rows = [], []
    for n, (since, until) in enumerate([(0, START + 2), (START + 2, START + 5), (START + 5, 2e9)]):
        out = tmp_path / f"{n}.parquet"
        counts.append(export_events(tmp_path / "spool", out, since_s=since, until_s=until))
        rows += parquet.read_table(out).to_pylist()
    assert counts == [40, 60, 20]
    assert len({row["event_id"] for row in rows}) == len(rows) == written
    assert sorted((Event(**row) for row in rows), key=lambda e: e.event_id) == sorted(
        iter_spool(tmp_path / "spool"), key=lambda e: e.event_id
    )


def test_one_domain_on_request_and_no_file_after_a_failure(tmp_path: Path) -> None:
    write_spool(tmp_path / "spool", [Site("home"), Site("fog")], 1)
    out = tmp_path / "fog.parquet"
    assert export_events(tmp_path / "spool", out, since_s=0, until_s=2e9, domain="fog") == 10
    assert set(parquet.read_table(out)["domain"].to_pylist()) == {"fog"}
    with pytest.raises(InputError, match="cannot be written"):
        export_events(tmp_path / "spool", tmp_path / "no" / "x.parquet", since_s=0, until_s=2e9)
    with pytest.raises(InputError, match="does not exist"):
        export_events(tmp_path / "nowhere", out, since_s=0, until_s=2e9)
    assert not list(tmp_path.glob(".*.part"))


def test_the_command_takes_days_and_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_spool(tmp_path / "spool", [Site("home")], 3)
    out = str(tmp_path / "home.parquet")
    home = ["--set", f"home.root={tmp_path}"]
    day = ["--since", "1970-01-12", "--until", "1970-01-12T13:46:42Z"]
    assert main(["watch", "export", "--out", out, *day, *home]) == 0
    assert capsys.readouterr().out.strip() == out
    assert parquet.read_metadata(out).num_rows == 20
    assert main(["watch", "export", "--out", out, "--since", "soon", *home]) == 1
    assert "time 'soon' is not RFC 3339" in capsys.readouterr().err
    assert main(["watch", "export", *home]) == 2
