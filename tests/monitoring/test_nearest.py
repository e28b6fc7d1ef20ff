from __future__ import annotations

import math

import numpy as np
import pytest

from monitoring.nearest import known_domains


def test_the_most_alike_histogram_is_named_with_its_distance() -> None:
    known = known_domains({"bay": np.array([50.0, 50, 0]), "pond": np.array([0.0, 20, 80])})
    found = known.nearest(np.array([6.0, 14.0, 20.0]))
    assert found is not None
    name, distance = found
    assert name == "pond"
    overlap = math.sqrt(14 / 40 * 0.2) + math.sqrt(20 / 40 * 0.8)
    assert distance == pytest.approx(math.sqrt(1 - overlap))


def test_too_few_scenes_resemble_nothing() -> None:
    known = known_domains({"bay": np.array([50.0, 50]), "puddle": np.array([1.0, 1])})
    assert known.names == ("bay",)
    assert known.nearest(np.array([5.0, 5.0])) is None
    assert known_domains({}).nearest(np.array([50.0, 50])) is None


def test_equal_shares_are_at_no_distance() -> None:
    found = known_domains({"bay": np.array([50.0, 50])}).nearest(np.array([20.0, 20]))
    assert found is not None
    assert found[1] == pytest.approx(0.0, abs=1e-7)
