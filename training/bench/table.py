"""Many cells in one table: a row a method and number of labels, and the comparisons of rows."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from .cells import Cell
from .significance import compare, holm

CellsOf = Mapping[tuple[str, int], Cell]
"""Finished cells by (target, seed)."""


LATENT = (
    "class_probe",
    "class_probe_unseen",
    "domain_probe",
    "class_silhouette",
    "domain_silhouette",
)
"""Figures of `redshank.separability.Separability`."""


@dataclass(frozen=True)
class MeanSpread:
    """Mean and standard deviation over n values; no spread of fewer than two."""

    mean: float
    spread: float | None
    n: int


@dataclass(frozen=True)
class Row:
    """One method at one number of labels; ratios in [0, 1]."""

    method: str
    labels_per_class: int | None
    accuracy: dict[str, MeanSpread | None]
    """On each target, over seeds."""
    average: MeanSpread | None
    """Over targets: the mean of their means, and the spread over seeds of the average; None while
    a target has no cell."""
    worst: float | None
    """The lowest of the targets' means."""
    ece: float | None
    """Mean calibration error on the targets."""
    pseudo_label_precision: float | None
    """Mean over the source domains of all cells."""
    pseudo_label_coverage: float | None
    images_per_s: float | None
    seconds: float | None
    """Mean time of a training."""
    latent: dict[str, MeanSpread | None]
    """Each of `LATENT`, over all cells in which it was measured."""
    cells: int
    wanted: int
    """Cells that a whole row has."""


@dataclass(frozen=True)
class Comparison:
    """`first` minus `second`, paired over targets and seeds."""

    measure: str
    """`accuracy` on the unseen domain, or one of `LATENT`."""
    first: tuple[str, int | None]
    """Method and labels per class."""
    second: tuple[str, int | None]
    n: int
    difference: float
    low: float | None
    """Ends of the 95 % interval of the difference, each on its own."""
    high: float | None
    better: int
    """Cells in which the measure of `first` was higher."""
    p: float | None
    p_holm: float | None
    """Corrected for all comparisons of this measure."""


@dataclass(frozen=True)
class Table:
    """Everything that a bench found."""

    targets: tuple[str, ...]
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]


Pair = tuple[tuple[str, int | None], tuple[str, int | None]]
Found = Mapping[tuple[str, int | None], CellsOf]
"""Cells of each row, by method and labels per class, in the table's order."""


def build_table(
    found: Found,
    targets: Sequence[str],
    seeds: Sequence[int],
    *,
    against: Sequence[str] = (),
    fixed: Collection[str] = (),
) -> Table:
    """Sums up the cells.

    Args:
        found: what is there.
        targets: columns.
        seeds: the seeds that a whole row has.
        against: compare only pairs with one of these methods; none: all pairs.
        fixed: methods with a number of labels of their own, compared with every other row. All
            others meet rows with as many labels only.
    """
    wanted = len(targets) * len(seeds)
    return Table(
        targets=tuple(targets),
        seeds=tuple(seeds),
        rows=tuple(_row(*key, cells, targets, wanted) for key, cells in found.items()),
        comparisons=tuple(
            one
            for measure in ("accuracy", *LATENT)
            for one in _compare(found, _pairs(found, against, fixed), measure)
        ),
    )


def mean_spread(values: Sequence[float]) -> MeanSpread | None:
    """None of no values."""
    if not values:
        return None
    spread = statistics.stdev(values) if len(values) > 1 else None
    return MeanSpread(statistics.fmean(values), spread, len(values))


def _row(
    method: str, labels: int | None, cells: CellsOf, targets: Sequence[str], wanted: int
) -> Row:
    accuracy = {
        target: mean_spread([_accuracy(c) for (t, _), c in cells.items() if t == target])
        for target in targets
    }
    means = [column.mean for column in accuracy.values() if column is not None]
    average = _average(cells, targets, means)
    metrics = [m for cell in cells.values() for m in cell.metrics]
    source = [m for m in metrics if (m.role, m.split) == ("source", "train")]
    return Row(
        method=method,
        labels_per_class=labels,
        accuracy=accuracy,
        average=average,
        worst=min(means) if average else None,
        ece=_mean(cell.test.ece for cell in cells.values()),
        pseudo_label_precision=_mean(m.pseudo_label_precision for m in source),
        pseudo_label_coverage=_mean(m.pseudo_label_coverage for m in source),
        images_per_s=_mean(cell.images_per_s for cell in cells.values()),
        seconds=_mean(cell.seconds for cell in cells.values()),
        latent={
            name: mean_spread([v for c in cells.values() if (v := _value(c, name)) is not None])
            for name in LATENT
        },
        cells=len(cells),
        wanted=wanted,
    )


def _average(cells: CellsOf, targets: Sequence[str], means: Sequence[float]) -> MeanSpread | None:
    """Over targets; its spread tells how much it changes with the seed, all targets together."""
    if len(means) < len(targets):
        return None
    seeds = {seed for _, seed in cells}
    whole = [seed for seed in seeds if all((target, seed) in cells for target in targets)]
    of_seed = mean_spread(
        [statistics.fmean(_accuracy(cells[t, seed]) for t in targets) for seed in whole]
    )
    return MeanSpread(statistics.fmean(means), of_seed.spread if of_seed else None, len(whole))


def _pairs(found: Found, against: Sequence[str], fixed: Collection[str]) -> list[Pair]:
    pairs = []
    for first, second in itertools.combinations(found, 2):
        same_labels = first[1] == second[1] or first[0] in fixed or second[0] in fixed
        wanted = not against or first[0] in against or second[0] in against
        if same_labels and wanted and first[0] != second[0]:
            turned = second[0] in against and first[0] not in against
            pairs.append((first, second) if turned else (second, first))
    return pairs


def _compare(found: Found, pairs: Sequence[Pair], measure: str) -> list[Comparison]:
    results = [compare(_differences(found[one], found[two], measure)) for one, two in pairs]
    corrected = holm([result.p for result in results])
    return [
        Comparison(
            measure=measure,
            first=first,
            second=second,
            n=result.n,
            difference=result.mean,
            low=result.low,
            high=result.high,
            better=result.better,
            p=result.p,
            p_holm=p_holm,
        )
        for (first, second), result, p_holm in zip(pairs, results, corrected, strict=True)
        if result.n
    ]


def _differences(first: CellsOf, second: CellsOf, measure: str) -> list[float]:
    found = []
    for key in first:
        if key in second:
            one, two = _value(first[key], measure), _value(second[key], measure)
            if one is not None and two is not None:
                found.append(one - two)
    return found


def _value(cell: Cell, measure: str) -> float | None:
    if measure == "accuracy":
        return _accuracy(cell)
    value: float | None = getattr(cell.latent, measure) if cell.latent else None
    return value


def _accuracy(cell: Cell) -> float:
    accuracy = cell.test.accuracy
    assert accuracy is not None, "targets have labels"
    return accuracy


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
