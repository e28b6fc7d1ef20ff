import numpy as np
import numpy.typing as npt
import pytest

from export.corruptions import FAMILIES, corrupt


def pictures(n: int, height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A bright disc on a darker ground, a little noise, all different."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    discs = [
        60 + 150 * (np.hypot(y - rng.uniform(0.3, 0.7), x - rng.uniform(0.3, 0.7)) < 0.25)
        for _ in range(n)
    ]
    colours = np.stack(discs)[..., None] * np.array([1.0, 0.9, 0.8])
    return np.asarray(colours + rng.integers(0, 20, (n, height, width, 3)), dtype=np.uint8)


@pytest.mark.parametrize("family", FAMILIES)
def test_copies_are_images_that_differ_and_can_be_made_again(family: str) -> None:
    images = pictures(4, 20, 33)
    copies = corrupt(images, family, severity=0.6, seed=3)
    assert copies.shape == images.shape
    assert copies.dtype == np.uint8
    np.testing.assert_array_equal(copies, corrupt(images, family, severity=0.6, seed=3))
    np.testing.assert_array_equal(images, pictures(4, 20, 33))  # the originals stay
    assert (copies != images).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_more_severity_is_further_away(family: str) -> None:
    images = pictures(24, 32, 32).astype(float)
    distance = [
        np.abs(corrupt(images.astype(np.uint8), family, severity=s) - images).mean()
        for s in (0.0, 0.15, 0.9)
    ]
    assert distance[0] == 0
    assert distance[1] < distance[2]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [(8, 8), (64, 48)])
def test_every_size_works(family: str, size: tuple[int, int]) -> None:
    assert corrupt(pictures(2, *size), family, severity=1.0).shape == (2, *size, 3)


def test_another_seed_gives_other_noise_and_nothing_gives_nothing() -> None:
    images = pictures(2, 16, 16)
    first, second = (corrupt(images, "noise", severity=0.5, seed=s) for s in (0, 1))
    assert (first != second).any()
    assert corrupt(images[:0], "noise", severity=0.5).shape == (0, 16, 16, 3)


@pytest.mark.parametrize(
    ("family", "severity", "message"),
    [("rain", 0.5, "family 'rain', expected one of noise"), ("noise", 1.5, "severity 1.5")],
)
def test_impossible_wishes_are_refused(family: str, severity: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        corrupt(pictures(1, 8, 8), family, severity=severity)
