import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from export.accuracy_map import (
    LEAST_IMAGES,
    POOL_IMAGES,
    RIDGE,
    SEVERITIES,
    LabelledImages,
    Pool,
    accuracy_line,
    corrupted,
    fitted,
    labelled_images,
    maps,
    ridge,
)
from export.assemble import export_run
from export.corruptions import FAMILIES
from export.plan import ExportPlan
from redshank.accuracy import mapped_accuracy
from redshank.dataset import read_manifest
from redshank.reference import read_reference

KINDS = len(FAMILIES) * len(SEVERITIES)


def images(n: int, classes: int = 3, size: int = 8) -> LabelledImages:
    pixels = np.random.default_rng(n).integers(0, 256, (n, size, size, 3), np.uint8)
    return LabelledImages(pixels, np.arange(n) % classes, np.ones(n))


def made_pools(seed: int = 0) -> list[Pool]:
    """Pools whose log odds of accuracy are 1 + 0.8 a - 0.5 b of their statistics a, b."""
    rng = np.random.default_rng(seed)
    pools = []
    for family in ("one", "two", "three", "four"):
        for _ in range(30):
            statistics_S = rng.normal(size=2)
            odds = 1 + float(statistics_S @ [0.8, -0.5])
            pools.append(Pool(family, statistics_S, 1e6 / (1 + math.exp(-odds)), 1e6))
    return pools


def test_ridge_against_the_normal_equations_written_out() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(40, 3)) * [1, 5, 0.1] + [0, 3, 1], rng.normal(size=40)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    best = np.linalg.inv(z.T @ z + RIDGE * 40 * np.eye(3)) @ z.T @ (y - y.mean())
    found = ridge(x, y)
    np.testing.assert_allclose(found[0] + x @ found[1:], y.mean() + z @ best, rtol=1e-10)


def test_a_statistic_that_never_varies_has_no_weight() -> None:
    x = np.column_stack([np.arange(9.0), np.full(9, 0.1)])
    found = ridge(x, 2 * x[:, 0])
    assert found[2] == 0
    assert np.isfinite(found).all()


def test_a_law_that_holds_in_all_families_is_found() -> None:
    pools = fitted(made_pools())
    np.testing.assert_allclose(pools.weights_MW[0], [1, 0.8, -0.5], atol=0.03)
    assert np.abs(pools.left_out_PM[:, 0] - pools.true_P).max() < 0.01
    assert pools.weights_MW[1, 2] == 0  # confidence alone
    assert np.abs(pools.left_out_PM[:, 1] - pools.true_P).max() > 0.05


def test_left_out_values_come_from_the_other_families_alone() -> None:
    made = made_pools()
    odd = [dataclasses.replace(p, right=0.0) if p.family == "two" else p for p in made]
    pools, others = fitted(odd), [p for p in odd if p.family != "two"]
    target = np.log([(p.right + 0.5) / (p.scenes - p.right + 0.5) for p in others])
    weights = maps(np.stack([p.statistics_S for p in others]), target)
    inside = np.array([p.family == "two" for p in odd])
    expected = mapped_accuracy(weights, pools.statistics_PS[inside])
    np.testing.assert_allclose(pools.left_out_PM[inside], expected)
    assert np.abs(pools.left_out_PM[:, 0] - pools.true_P)[inside].mean() > 0.4  # and it shows


def test_nothing_but_right_answers_is_finite() -> None:
    pools = fitted([Pool("one", np.zeros(2), 60.0, 60.0)])
    assert np.isfinite(pools.weights_MW).all()
    assert pools.left_out_PM[0] == pytest.approx(60.5 / 61)


def test_every_domain_meets_every_kind_while_the_budget_allows() -> None:
    domains = [images(POOL_IMAGES + 5), images(40)]
    made = list(corrupted(domains, limit=10**6))
    assert len(made) == 2 + 2 * KINDS
    assert [family for family, _ in made[:2]] == ["none", "none"]
    assert {len(pool.label_N) for _, pool in made[2:]} == {POOL_IMAGES, 40}


def test_a_small_budget_shares_kinds_among_domains() -> None:
    domains = [images(30, size=4 + n) for n in range(4)]
    made = list(corrupted(domains, limit=1))[4:]
    assert len(made) == KINDS
    sizes = [pool.images_NHW3.shape[1] for _, pool in made]
    assert {sizes.count(4 + n) for n in range(4)} <= {KINDS // 4, KINDS // 4 + 1}


def test_domains_with_few_labels_come_together(make_run: Any) -> None:
    manifest = read_manifest(make_run(val=20) / "manifest.jsonl")
    val = [
        [i for i in manifest.items if i.split == "val" and i.domain == d] for d in manifest.domains
    ]
    assert [len(group.label_N) for group in labelled_images(manifest, val, size=16)] == [40]
    enough = labelled_images(manifest, [val[0] + val[1], val[0]], size=16)
    assert [len(group.label_N) for group in enough] == [40]  # 20 left alone are too few
    train = [i for i in manifest.items if i.split == "train" and not i.label]
    assert labelled_images(manifest, [train], size=16) == []


@pytest.fixture(scope="module")
def with_map(make_run: Any, tmp_path_factory: pytest.TempPathFactory, plan: ExportPlan) -> Path:
    run_dir = make_run(val=LEAST_IMAGES)
    small = dataclasses.replace(plan, corrupted_images=1)
    return export_run(run_dir, tmp_path_factory.mktemp("mapped") / "bundles", small)


def test_an_exported_bundle_brings_its_map(with_map: Path) -> None:
    pools = read_reference(with_map / "reference.npz").accuracy
    assert pools is not None
    assert pools.statistics_PS.shape == (2 + KINDS, 2)
    ratios: list[npt.NDArray[Any]] = [pools.true_P, pools.left_out_PM]
    assert all(((ratio >= 0) & (ratio <= 1)).all() for ratio in ratios)
    again = mapped_accuracy(pools.weights_MW, pools.statistics_PS)[:, 0]
    assert np.abs(again - pools.true_P).mean() < 0.2
    assert f"map of {2 + KINDS} pools" in accuracy_line(pools)


def test_without_labels_or_images_there_is_no_map(exported: Path) -> None:
    assert read_reference(exported / "reference.npz").accuracy is None  # 24 labels in all
    assert "no map" in accuracy_line(None)
