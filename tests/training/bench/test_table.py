from __future__ import annotations

import dataclasses
import statistics

import pytest

from redshank.run import DomainMetrics
from redshank.separability import Separability
from training.bench.cells import Cell
from training.bench.table import CellsOf, Found, build_table
from training.bench.table_text import as_markdown, as_text


def cell(target: str, seed: int, accuracy: float, *, precision: float | None = 0.9) -> Cell:
    return Cell(
        schema=1,
        method="",
        target=target,
        labels_per_class=10,
        seed=seed,
        data="",
        settings={},
        device="cpu",
        seconds=4.0 + seed,
        images_per_s=None if seed else 100.0,
        code_version="",
        finished_at="",
        metrics=(
            DomainMetrics(target, "unseen", "test", 20, accuracy, 0.1, None, None),
            DomainMetrics("other", "source", "train", 50, 0.8, 0.2, precision, 0.5),
            DomainMetrics("other", "source", "val", 50, 0.1, 0.9, None, None),
        ),
    )


def cells(accuracy: dict[tuple[str, int], float]) -> CellsOf:
    return {key: cell(*key, value) for key, value in accuracy.items()}


WHOLE = {("a", 0): 0.5, ("a", 1): 0.7, ("b", 0): 0.9, ("b", 1): 0.8}
BETTER = {key: value + 0.01 * (1 + key[1]) for key, value in WHOLE.items()}


def test_row_by_hand() -> None:
    table = build_table({("m", 10): cells(WHOLE)}, ["a", "b"], [0, 1])
    (row,) = table.rows
    assert row.accuracy["a"] is not None
    assert row.accuracy["a"].mean == pytest.approx(0.6)
    assert row.accuracy["a"].spread == pytest.approx(statistics.stdev([0.5, 0.7]))
    assert row.average is not None
    assert row.average.mean == pytest.approx(0.725)
    assert row.average.spread == pytest.approx(statistics.stdev([0.7, 0.75]))
    assert row.worst == pytest.approx(0.6)
    assert row.ece == pytest.approx(0.1)
    assert row.pseudo_label_precision == pytest.approx(0.9)
    assert row.pseudo_label_coverage == pytest.approx(0.5)
    assert (row.images_per_s, row.seconds, row.cells, row.wanted) == (100.0, 4.5, 4, 4)


def test_a_half_row_has_no_average() -> None:
    half = {("a", 0): 0.5}
    (row,) = build_table({("m", 10): cells(half)}, ["a", "b"], [0, 1]).rows
    assert row.accuracy["a"] is not None
    assert row.accuracy["a"].spread is None
    assert (row.accuracy["b"], row.average, row.worst) == (None, None, None)
    assert (row.cells, row.wanted) == (1, 4)
    (empty,) = build_table({("m", 10): {}}, ["a", "b"], [0, 1]).rows
    assert (empty.ece, empty.seconds) == (None, None)


def test_comparisons_pair_the_same_target_and_seed() -> None:
    one_less = {key: value for key, value in BETTER.items() if key != ("a", 1)}
    found: Found = {("base", 10): cells(WHOLE), ("mine", 10): cells(one_less)}
    (one,) = build_table(found, ["a", "b"], [0, 1]).comparisons
    assert one.measure == "accuracy"
    assert (one.first, one.second) == (("mine", 10), ("base", 10))
    assert (one.n, one.better) == (3, 3)
    assert one.difference == pytest.approx((0.01 + 0.01 + 0.02) / 3)
    assert one.p == one.p_holm == 2 / 8


def test_rows_meet_rows_with_as_many_labels_and_fixed_ones() -> None:
    found = {
        ("base", 5): cells(WHOLE),
        ("mine", 5): cells(BETTER),
        ("base", 10): cells(WHOLE),
        ("mine", 10): cells(BETTER),
        ("all", None): cells(WHOLE),
    }
    table = build_table(found, ["a", "b"], [0, 1], fixed=["all"])
    pairs = {(one.first, one.second) for one in table.comparisons}
    assert (("mine", 10), ("base", 5)) not in pairs
    assert len(pairs) == 2 + 4
    against = build_table(found, ["a", "b"], [0, 1], fixed=["all"], against=["all"])
    assert {one.second for one in against.comparisons} == {("all", None)}
    assert len(against.comparisons) == 4
    assert all(one.p_holm == min(1.0, 4 * (one.p or 0)) for one in against.comparisons[:1])


def test_text_and_markdown_show_the_same_figures() -> None:
    found: Found = {("base", 10): cells(WHOLE), ("mine", 10): cells({("a", 0): 0.511})}
    table = build_table(found, ["a", "b"], [0, 1])
    text, markdown = as_text(table), as_markdown(table)
    assert "| base | 10 | 60.0 ± 14.1 | 85.0 ± 7.1 | 72.5 ± 3.5 | 60.0 | 4 |" in markdown
    assert "| mine | 10 | 51.1 | - | - | - | 1 of 4 |" in markdown
    assert "| base | 10 | 10.0 | 90.0 | 50.0 | 100 | 4.5 |" in markdown
    assert "| mine - base | +1.1 | - | 1 of 1 | 1.0000 | 1.0000 |" in markdown
    for line in markdown.splitlines():
        if line.startswith("| mine"):
            figures = [part.strip() for part in line.strip("|").split("|")]
            assert any(row.split("  ")[0].strip() == figures[0] for row in text.splitlines())
    lines = text.splitlines()
    head = next(line for line in lines if line.startswith("method"))
    base = next(line for line in lines if line.startswith("base"))
    assert head.index("average") + len("average") == base.index("72.5 ± 3.5") + len("72.5 ± 3.5")


def test_labels_stand_beside_names_where_a_method_has_two_rows() -> None:
    found = {("m", 5): cells(WHOLE), ("m", 10): cells(BETTER), ("all", None): cells(WHOLE)}
    table = build_table(found, ["a", "b"], [0, 1], fixed=["all"])
    assert "| all (all) - m (5) |" in as_markdown(table)


def test_latent_figures_are_averaged_and_compared_where_they_were_measured() -> None:
    def measured(domain_probe: float) -> Separability:
        return Separability(9, 0.9, 0.7, domain_probe, 0.25, 0.3, None)

    one, two = cells(WHOLE), cells(WHOLE)
    some = {k: dataclasses.replace(c, latent=measured(0.5 + 0.2 * k[1])) for k, c in one.items()}
    less = {k: dataclasses.replace(c, latent=measured(0.4)) for k, c in two.items() if k[1]}
    table = build_table({("a", 1): some, ("b", 1): {**two, **less}}, ["a", "b"], [0, 1])
    row = table.rows[0].latent
    assert row["domain_probe"] is not None
    assert row["domain_probe"].mean == pytest.approx(0.6)
    assert row["domain_silhouette"] is None
    (compared,) = (c for c in table.comparisons if c.measure == "domain_probe")
    assert compared.n == 2
    assert compared.difference == pytest.approx(-0.3)
    markdown = as_markdown(table)
    assert "| a | 1 | 90.0 | 70.0 | 60.0 | 0.300 | - |" in markdown
    assert "| domain_probe: b - a | -30.0 | - | 0 of 2 | 0.5000 | 0.5000 |" in markdown
    assert "Latent" not in as_markdown(build_table({("a", 1): one}, ["a", "b"], [0, 1]))
