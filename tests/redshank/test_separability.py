from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import silhouette_samples
from sklearn.preprocessing import StandardScaler

from redshank.dataset import Item
from redshank.separability import (
    measure_separability,
    probe_accuracy,
    silhouettes,
    spread_images,
)

Floats = npt.NDArray[np.float64]

DOMAINS = ("east", "north", "south")
CLASSES = ("cat", "dog")


def planted(
    *, class_gap: float, domain_gap: float, seed: int = 0
) -> tuple[Floats, list[str], list[str]]:
    """40 images a class and domain, far out on one axis; classes and domains move on others."""
    rng = np.random.default_rng(seed)
    features, classes, domains = [], [], []
    for place, domain in enumerate(DOMAINS):
        for number, name in enumerate(CLASSES):
            point_E = np.zeros(8)
            point_E[0] = 10.0
            point_E[1] = class_gap * number
            point_E[2 + place] = domain_gap
            features.append(point_E + rng.normal(0.0, 0.5, (40, 8)))
            classes += [name] * 40
            domains += [domain] * 40
    return np.concatenate(features), classes, domains


def test_islands_of_domains_are_seen() -> None:
    features, classes, domains = planted(class_gap=5.0, domain_gap=5.0)
    found = measure_separability(features, classes, domains, ["south"])
    assert found.n == 240
    assert found.domain_chance == pytest.approx(1 / 3)
    assert found.class_probe is not None
    assert found.class_probe > 0.99
    assert found.domain_probe is not None
    assert found.domain_probe > 0.99
    assert found.domain_silhouette is not None
    assert found.domain_silhouette > 0.6


def test_blurred_domains_are_chance_and_leave_the_classes() -> None:
    features, classes, domains = planted(class_gap=5.0, domain_gap=0.0)
    found = measure_separability(features, classes, domains, ["south"])
    assert found.class_probe_unseen is not None
    assert found.class_probe_unseen > 0.99
    assert found.class_silhouette is not None
    assert found.class_silhouette > 0.6
    assert found.domain_probe is not None
    assert 0.2 < found.domain_probe < 0.47  # chance and four standard deviations
    assert found.domain_silhouette == pytest.approx(0.0, abs=0.03)


def test_a_class_rule_that_turns_around_fails_on_the_unseen_domain_alone() -> None:
    features, classes, domains = planted(class_gap=5.0, domain_gap=5.0)
    south = np.array(domains) == "south"
    features[south, 1] = 5.0 - features[south, 1]
    found = measure_separability(features, classes, domains, ["south"])
    assert found.class_probe is not None
    assert found.class_probe_unseen is not None
    assert found.class_probe_unseen < 0.1


def test_silhouettes_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(50, 3))
    groups = rng.integers(0, 4, 50)
    groups[0] = 9  # alone in its group
    distances = np.linalg.norm(features[:, None] - features[None], axis=2)
    expected = silhouette_samples(distances, groups, metric="precomputed")
    np.testing.assert_allclose(silhouettes(distances, groups), expected, atol=1e-12)
    assert len(silhouettes(distances, np.zeros(50, np.int64))) == 0


def test_probe_is_scikit_learns_ridge_classifier() -> None:
    rng = np.random.default_rng(2)
    features, labels = rng.normal(size=(120, 6)), rng.integers(0, 3, 120)
    features[:, 0] += labels
    train, test = slice(0, 80), slice(80, 120)
    scaler = StandardScaler().fit(features[train])
    peer = RidgeClassifier(alpha=1.0).fit(scaler.transform(features[train]), labels[train])
    expected = peer.score(scaler.transform(features[test]), labels[test])
    found = probe_accuracy(features[train], labels[train], features[test], labels[test])
    assert found == pytest.approx(expected)
    assert 0.4 < expected < 1.0


def test_what_cannot_be_measured_is_none() -> None:
    features = np.random.default_rng(3).normal(size=(12, 4))
    found = measure_separability(features, ["cat"] * 12, ["north"] * 12)
    assert (found.class_probe, found.class_probe_unseen, found.domain_probe) == (None, None, None)
    assert (found.class_silhouette, found.domain_silhouette) == (None, None)
    assert found.domain_chance == 1.0
    dead = measure_separability(np.zeros((4, 3)), ["a", "b"] * 2, ["n", "n", "s", "s"])
    assert dead.class_silhouette == 0.0


def test_images_are_taken_evenly_of_every_domain() -> None:
    items = [Item(f"n{number}", "north", "cat") for number in range(30)]
    items += [Item(f"s{number}", "south", hidden_label="cat") for number in range(4)]
    items += [Item("x", "south")]
    assert spread_images(items, 12) == [0, 5, 10, 15, 20, 25, 30, 31, 32, 33]
    assert spread_images(items, 1) == [0, 30]
    assert spread_images([]) == []
